"""The index of a corpus finds documents by their text, in chunks of any size."""

import pytest

from pipeline.compute import Compute
from pipeline.corpus.tables import read_documents
from pipeline.corpus.text_index import TextIndexConfig, TooLongToFindError, find_text, index_texts
from pipeline.store import Store
from tests.evaluation.stand_ins import Documents, SmallCorpus


@pytest.mark.parametrize("chunk_bytes", [1, 10_000, 64_000_000])
def test_every_document_is_found_by_its_text_whatever_the_chunks(
    evaluation_store: Store,
    small_corpus: SmallCorpus,
    documents: Documents,
    compute: Compute,
    chunk_bytes: int,
) -> None:
    index = index_texts(evaluation_store, small_corpus, TextIndexConfig(chunk_bytes=chunk_bytes), compute)
    rows = [row for path in small_corpus.paths("train/") for row in read_documents(path)]
    assert index.record.counts["documents"] == len(rows)
    for row in rows[:10]:
        passage = row["text"][-120:]
        (found,) = find_text([index], passage)
        assert found.text == passage
        texts = {each["id"]: each["text"] for each in rows}
        assert found.count == sum(text.count(passage) for text in texts.values())
        for place in found.places:
            assert texts[place.document].encode()[place.byte :].startswith(passage.encode())


def test_held_out_text_is_not_found(evaluation_store, small_corpus, compute):
    index = index_texts(evaluation_store, small_corpus, TextIndexConfig(), compute)
    held_out = "Só este parágrafo.\n\nÉ novo — e não se repete, amanhã."
    assert not find_text([index], held_out, least_words=3)


def test_a_text_of_many_pages_is_refused(evaluation_store, small_corpus, compute):
    index = index_texts(evaluation_store, small_corpus, TextIndexConfig(), compute)
    with pytest.raises(TooLongToFindError, match="20,000"):
        find_text([index], "x" * 20_001)

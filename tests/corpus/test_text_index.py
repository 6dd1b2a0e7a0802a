"""The index of a corpus finds documents by their text, in chunks of any size."""

import pytest

from pipeline.compute import Compute
from pipeline.corpus.tables import read_documents
from pipeline.corpus.text_index import NotToBeFoundError, TextIndexConfig, as_asked, find_text, index_texts
from pipeline.store import Store
from tests.evaluation.stand_ins import Documents, SmallCorpus


@pytest.mark.parametrize("chunk_bytes", [pytest.param(1, marks=pytest.mark.everything), 64_000_000])
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
    texts = {row["id"]: row["text"] for row in rows}
    for row in rows:
        passage = row["text"].strip()[-120:]
        (found,) = find_text([index], as_asked(passage), most_places=1_000)
        assert found.text == passage
        assert found.times == sum(text.count(passage) for text in texts.values())
        assert {place.document for place in found.places} == {
            id for id, text in texts.items() if passage in text
        }
        assert found.documents == len(found.places)
        for place in found.places:
            text = texts[place.document]
            assert place.byte == text.encode().index(passage.encode())
            assert place.times == text.count(passage)


def test_held_out_text_is_not_found(evaluation_store, small_corpus, compute):
    index = index_texts(evaluation_store, small_corpus, TextIndexConfig(), compute)
    held_out = as_asked("Só este parágrafo.\n\nÉ novo — e não se repete, amanhã.")
    assert not find_text([index], held_out, least_words=3)


@pytest.mark.parametrize(
    ("text", "why"), [("x" * 20_001, "20,000"), ("…", "has no word"), ("a\udce9b", "character 1")]
)
def test_what_cannot_be_looked_for_is_refused(text, why):
    with pytest.raises(NotToBeFoundError, match=why):
        as_asked(text)

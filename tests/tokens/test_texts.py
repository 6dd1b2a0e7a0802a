"""Texts within a corpus: each document is of one, and no row has documents of two."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.compute import Compute
from pipeline.store import Store
from pipeline.tokens.encode import Tokens, TokensConfig, tokenize
from pipeline.tokens.texts import REST, TextConfig, text_of
from pipeline.tokens.vocabulary import Vocabulary
from tests.tokens.conftest import SmallCorpus

TEXTS = (TextConfig(name="portuguese", languages=("pt",)), TextConfig(name="papers", sources=("papers",)))
DOCUMENT: dict[str, Any] = {
    "url": "https://www.example.org/a",
    "language": "pt-BR",
    "source": "crawl",
    "kind": "web",
    "quality": 0.6,
}


@pytest.fixture(scope="module")
def tokens(shared_store: Store, corpus: SmallCorpus, vocabulary: Vocabulary, compute: Compute) -> Tokens:
    return tokenize(shared_store, corpus, vocabulary, TokensConfig(row_tokens=64, texts=TEXTS), compute)


@pytest.mark.parametrize(
    ("conditions", "takes"),
    [
        ({"languages": ("pt",)}, True),
        ({"languages": ("pt-BR", "en")}, True),
        ({"languages": ("pt-PT",)}, False),
        ({"hosts": ("example.org",)}, True),
        ({"hosts": ("ample.org",)}, False),
        ({"kinds": ("web",), "sources": ("crawl",)}, True),
        ({"kinds": ("web",), "sources": ("papers",)}, False),
        ({"least_quality": 0.5}, True),
        ({"least_quality": 0.7}, False),
    ],
)
def test_a_document_must_meet_every_condition(conditions: dict[str, Any], takes: bool) -> None:
    text = TextConfig(name="wanted", **conditions)
    assert text_of(DOCUMENT, [text]) == ("wanted" if takes else REST)
    assert text_of(DOCUMENT | {"quality": None}, [TextConfig(name="good", least_quality=0.0)]) == REST


def test_a_text_that_takes_everything_or_has_no_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="takes every document"):
        TextConfig(name="all")
    with pytest.raises(ValidationError, match="what all texts leave"):
        TextConfig(name=REST, languages=("pt",))
    with pytest.raises(ValidationError, match="two texts are called portuguese"):
        TokensConfig(texts=(TEXTS[0], TEXTS[0]))


def test_the_rows_of_a_text_hold_its_documents_alone(tokens: Tokens, corpus: SmallCorpus) -> None:
    documents = {row["id"]: row for path in corpus.paths("train/") for row in pq.read_table(path).to_pylist()}
    rows, sizes = tokens.rows("train"), tokens.text_rows()
    assert list(sizes) == ["portuguese", "papers", REST]
    assert all(sizes.values())
    assert sum(sizes.values()) == len(rows) == tokens.record.counts["train.rows"]
    first = 0
    for name, size in sizes.items():
        for origins in rows.origins(range(first, first + size)).values():
            assert {text_of(documents[origin.document], TEXTS) for origin in origins} == {name}
        first += size


def test_every_token_is_in_one_row_all_the_same(tokens: Tokens) -> None:
    rows = tokens.rows("train")
    batch = rows.batch(np.arange(len(rows)))
    inside = batch.documents_BT >= 0
    assert inside.sum() == tokens.record.counts["train.tokens"]
    files = [tokens.path(name) for name in tokens.names("train/") if name.endswith("tokens.npy")]
    every = np.concatenate([np.load(path) for path in files])
    np.testing.assert_array_equal(np.sort(batch.tokens_BT[inside]), np.sort(every))

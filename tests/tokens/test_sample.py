from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.tables import document_id
from pipeline.store import Attempt, Made, Store
from pipeline.tokens.sample import Sample
from pipeline.tokens.vocabulary import VocabularyConfig

LANGUAGES = ("en", "en", "en", "pt-BR", "es")
DOCUMENTS = [
    {
        "id": document_id(f"http://a.test/{number}", ""),
        "language": LANGUAGES[number % 5],
        "text": f"{number:09} ",
    }
    for number in range(4000)
]
"""Of ten bytes each: 24,000 of English, 8,000 each of Portuguese and Spanish."""


class Sharded(Config):
    shards: int


class ShardedCorpus(Corpus):
    """The same documents in as many files as are asked for."""


def sharded(store: Store, shards: int, documents: Sequence[dict[str, str]] = DOCUMENTS) -> ShardedCorpus:
    def build(attempt: Attempt) -> Made:
        files = {}
        for shard in range(shards):
            path: Path = attempt.path(name := f"train/{shard:05}.parquet")
            own = sorted(documents[shard::shards], key=lambda document: document["id"])
            pq.write_table(pa.Table.from_pylist(own), path)
            files[name] = attempt.publish(path)
        return Made(files, {"train.bytes": sum(len(each["text"]) for each in documents)})

    return store.make(ShardedCorpus, Sharded(shards=shards), {}, build)


@pytest.mark.parametrize("shares", [None, {"en": 0.5, "pt-BR": 0.5}])
def test_the_sample_is_the_same_however_the_corpus_is_cut(store: Store, shares: dict[str, float] | None):
    config = VocabularyConfig(sample_bytes=8_000, language_shares=shares)
    found = [list(Sample(sharded(store, shards), config)) for shards in (1, 3, 50)]
    assert found[0] == found[1] == found[2]
    assert 0 < len(found[0]) < len(DOCUMENTS)


def test_about_as_much_is_drawn_as_was_asked_for_and_evenly(store: Store):
    texts = list(Sample(sharded(store, 3), VocabularyConfig(sample_bytes=8_000)))
    assert 700 < len(texts) < 900
    english = sum(int(text) % 5 < 3 for text in texts)
    assert 0.54 < english / len(texts) < 0.66


def test_languages_are_drawn_to_their_shares(store: Store):
    shares = {"en": 0.25, "pt-BR": 0.75, "de": 0.0001}
    texts = list(Sample(sharded(store, 3), VocabularyConfig(sample_bytes=8_000, language_shares=shares)))
    languages = [LANGUAGES[int(text) % 5] for text in texts]
    assert 150 < languages.count("en") < 250
    assert 540 < languages.count("pt-BR") < 660
    assert languages.count("es") == 0


def test_a_corpus_that_is_small_is_taken_whole(store: Store):
    assert len(list(Sample(sharded(store, 3), VocabularyConfig()))) == len(DOCUMENTS)


def test_another_seed_draws_others(store: Store):
    corpus = sharded(store, 2)
    one, other = (set(Sample(corpus, VocabularyConfig(sample_bytes=8_000, seed=seed))) for seed in (0, 1))
    assert len(one & other) < 0.4 * len(one)


@pytest.mark.parametrize("shares", [{}, {"en": 0.5}, {"en": 1.5, "pt-BR": -0.5}])
def test_shares_that_are_not_parts_of_one_are_refused(shares: dict[str, float]):
    with pytest.raises(ValidationError, match="all are 1 together"):
        VocabularyConfig(language_shares=shares)

"""A small corpus in the shape that hold-out leaves it, and a vocabulary learned from it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentencepiece import SentencePieceProcessor

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.store import Attempt, Made, Store
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from tests.tokens.texts import AWKWARD, PORTUGUESE, documentation


class SmallCorpus(Corpus):
    """A corpus of given texts, made without a crawl."""


class SmallCorpusConfig(Config):
    held_out: int = 8
    """Documents set apart."""


def small_corpus(store: Store, texts: list[str], config: SmallCorpusConfig | None = None) -> SmallCorpus:
    config = config or SmallCorpusConfig()

    def build(attempt: Attempt) -> Made:
        splits = {"train": texts[config.held_out :], "held-out": texts[: config.held_out]}
        files = {}
        for split, own in splits.items():
            for shard in range(2):
                name = f"{split}/{shard:05}.parquet"
                path = attempt.path(name)
                _write(path, split, own[shard::2], shard)
                files[name] = attempt.publish(path)
        counts = {f"{split}.bytes": sum(len(text.encode()) for text in own) for split, own in splits.items()}
        return Made(files, counts)

    return store.make(SmallCorpus, config, {}, build)


def _write(path: Path, split: str, texts: list[str], shard: int) -> None:
    ids = [f"{split}-{shard}-{number}" for number in range(len(texts))]
    columns = {
        "id": ids,
        "url": [f"http://docs.moinho.test/{id}" for id in ids],
        "language": ["pt-BR" if "ção" in text else "en" for text in texts],
        "source": ["papers" if number % 3 == 2 else "crawl" for number in range(len(texts))],
        "kind": ["documentation"] * len(texts),
        "text": texts,
    }
    schema = pa.schema([(name, pa.string()) for name in columns])
    table = pa.table(columns, schema=schema)
    pq.write_table(table.append_column("quality", pa.nulls(len(texts), pa.float64())), path)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [*AWKWARD[:4], PORTUGUESE, *documentation(), PORTUGUESE * 3, *AWKWARD]


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("tokens") / "store"))


@pytest.fixture(scope="session")
def corpus(shared_store: Store, texts: list[str]) -> SmallCorpus:
    return small_corpus(shared_store, texts)


@pytest.fixture(scope="session")
def vocabulary(shared_store: Store, corpus: SmallCorpus) -> Vocabulary:
    return train_vocabulary(shared_store, corpus, VocabularyConfig(pieces=2048))


def processor_of(vocabulary: Vocabulary) -> SentencePieceProcessor:
    """SentencePiece itself, with the vocabulary's model: the reference for its ids."""
    return SentencePieceProcessor(model_file=str(vocabulary.path("tokenizer/tokenizer.model")))

"""One small corpus, vocabulary and random model for all tests of evaluation and generation."""

import pytest

from pipeline.compute import Compute
from pipeline.store import Store
from pipeline.tokens.encode import Tokens, TokensConfig, tokenize
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from tests.evaluation.stand_ins import (
    Documents,
    SmallConversations,
    SmallCorpus,
    SmallModel,
    publish_model,
    random_model,
    write_conversations,
    write_corpus,
)
from tests.tokens.texts import PORTUGUESE, documentation

HELD_OUT = 5


@pytest.fixture(scope="session")
def evaluation_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("evaluation") / "store"))


@pytest.fixture(scope="session")
def documents() -> Documents:
    return [("en", text) for text in documentation()]


@pytest.fixture(scope="session")
def small_corpus(evaluation_store: Store, documents: Documents) -> SmallCorpus:
    """Two held-out documents are Portuguese; the first English one repeats a training document."""
    train, held_out = documents[HELD_OUT:], documents[:HELD_OUT]
    repeated = ("en", held_out[0][1] + "\n\n" + train[0][1])
    portuguese = [("pt", PORTUGUESE), ("pt", "Só este parágrafo.\n\nÉ novo — e não se repete, amanhã.")]
    return write_corpus(evaluation_store, train, [repeated, *held_out[1:], *portuguese])


@pytest.fixture(scope="session")
def small_vocabulary(evaluation_store: Store, small_corpus: SmallCorpus) -> Vocabulary:
    return train_vocabulary(evaluation_store, small_corpus, VocabularyConfig(pieces=1024))


@pytest.fixture(scope="session")
def small_tokens(
    evaluation_store: Store, small_corpus: SmallCorpus, small_vocabulary: Vocabulary, compute: Compute
) -> Tokens:
    return tokenize(evaluation_store, small_corpus, small_vocabulary, TokensConfig(row_tokens=64), compute)


@pytest.fixture(scope="session")
def small_model(evaluation_store: Store, small_vocabulary: Vocabulary) -> SmallModel:
    return publish_model(evaluation_store, random_model(1024), small_vocabulary)


@pytest.fixture(scope="session")
def small_conversations(evaluation_store: Store) -> SmallConversations:
    pairs = [(f"What is number {number}?", f"It is the answer {number}.") for number in range(6)]
    return write_conversations(evaluation_store, pairs)

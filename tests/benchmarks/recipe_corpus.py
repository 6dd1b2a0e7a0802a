"""The corpus that recipes are compared on: documentation, tokenized and packed, with documents held out."""

import json
import random
from pathlib import Path

from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt, Store
from pipeline.tokens.encode import TokensConfig, tokenize
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from pipeline.training.pretrain import Job
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.worker import Data
from tests.benchmarks.texts import docstrings_of, texts
from tests.corpus.conftest import InThisProcess
from tests.tokens.conftest import SmallCorpusConfig, small_corpus

PACKAGES = ("scipy", "sympy", "sklearn")
"""Beside those that all benchmarks read: some 20 MB in all, so that no run sees a document twice."""
HELD_OUT_SHARE = 0.04
PIECES = 2048
ROW_TOKENS = 256


def recipe_data(folder: Path) -> Data:
    """The packed rows of both splits, made in `folder` the first time (a minute or two).

    Documents are shuffled once by a fixed seed, so that the held-out ones are of all kinds.
    """
    store, documents = Store(str(folder / "store")), _documents(folder / "documents.json")
    corpus = small_corpus(store, documents, SmallCorpusConfig(held_out=int(HELD_OUT_SHARE * len(documents))))
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=PIECES))
    compute = InThisProcess(ComputeConfig())
    tokens = tokenize(store, corpus, vocabulary, TokensConfig(row_tokens=ROW_TOKENS), compute)
    attempt = Attempt(store.storage, "pretrain", "recipes", "none")
    return Data.of(Job(attempt, tokens, vocabulary, PretrainConfig(), compute.config))


def _documents(kept: Path) -> list[str]:
    """Each once; kept in a file, since reading them out of modules takes half a minute."""
    if not kept.exists():
        found = sorted({*texts(), *(text for package in PACKAGES for text in docstrings_of(package))})
        random.Random(0).shuffle(found)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    documents: list[str] = json.loads(kept.read_text())
    return documents

"""The road from rows of JSONL to tokens, each stage as a run makes it, without a cluster."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.compute_config import ComputeConfig
from pipeline.corpus.clean import CleanConfig, clean
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.hold_out import Corpus, HoldOutConfig, hold_out
from pipeline.corpus.sources import SourceConfig, take_in
from pipeline.store import Store
from pipeline.tokens.encode import Tokens, TokensConfig, tokenize
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from tests.corpus.conftest import InThisProcess

HERE = InThisProcess(ComputeConfig())


def write_rows(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A source of one file."""
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pages.jsonl").write_text(text, encoding="utf-8")
    return folder


def corpus_and_tokens(store: Store, folder: Path, shards: int = 2) -> tuple[Corpus, Tokens]:
    """What the stages make of a folder of rows, as of documentation."""
    source = SourceConfig(name="manual", path=str(folder), kind="documentation")
    raw = extract(store, None, take_in(store, [source], HERE), ExtractConfig(shards=shards), HERE)
    corpus = hold_out(store, clean(store, raw, CleanConfig(), HERE), HoldOutConfig(), HERE)
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=1024))
    return corpus, tokenize(store, corpus, vocabulary, TokensConfig(), HERE)

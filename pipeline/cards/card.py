"""The stage that describes a corpus on a page: what is in it, what was left out, and why."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.hold_out import Corpus
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, Record, Storage, Store, Work
from pipeline.store.artifacts import read_record
from pipeline.tokens.encode import Tokens

A = TypeVar("A", bound=Artifact)
PAGE, FACTS, HOSTS = "card.html", "card.json", "hosts.parquet"


class CardConfig(Config):
    """How much of the corpus is shown."""

    samples: int = Field(default=10, ge=0, le=200)
    """Kept documents that are shown, drawn by chance."""
    samples_dropped: int = Field(default=3, ge=0, le=20)
    """The same of dropped ones, for each reason."""


class DataCard(Artifact):
    """A page about a corpus (`card.html`), its facts (`card.json`) and all its hosts (`hosts.parquet`)."""

    stage, role, revision = "card", "card", 1

    def facts(self) -> dict[str, Any]:
        """What the page shows, as cards/facts.py has it."""
        found: dict[str, Any] = json.loads(self.path(FACTS).read_bytes())
        return found


@dataclass(frozen=True)
class Described:
    """A corpus with all that it was made from; None of what is no longer in the store."""

    tokens: Tokens
    corpus: Corpus
    documents: Documents | None
    raw: RawDocuments | None
    pages: Record | None

    @classmethod
    def of(cls, tokens: Tokens, corpus: Corpus) -> "Described":
        """What is there of it, found by the records."""
        documents = _input(corpus, "documents", Documents)
        raw = _input(documents, "raw", RawDocuments)
        return cls(tokens, corpus, documents, raw, _record(corpus.storage, raw, "pages"))


def _input(artifact: Artifact | None, name: str, kind: type[A]) -> A | None:
    record = None if artifact is None else _record(artifact.storage, artifact, name)
    return None if artifact is None or record is None else kind(artifact.storage, record.key)


def _record(storage: Storage, artifact: Artifact | None, name: str) -> Record | None:
    given = None if artifact is None else artifact.record.inputs.get(name)
    found = None if given is None else read_record(storage, f"{given.stage}/{given.key}")
    return found if found is not None and given is not None and found.digest == given.digest else None


def describe(store: Store, tokens: Tokens, corpus: Corpus, config: CardConfig, compute: Compute) -> DataCard:
    """Read the corpus once, a Ray task for each shard, and draw its page."""
    return store.make(
        DataCard,
        config,
        {"tokens": tokens, "corpus": corpus},
        partial(_build, tokens=tokens, corpus=corpus, config=config, compute=compute),
        work=partial(_work, corpus),
    )


def _work(corpus: Corpus) -> Work:
    counts = corpus.counts()
    return {"bytes": counts["train.bytes"] + counts["held-out.bytes"]}


def _build(attempt: Attempt, tokens: Tokens, corpus: Corpus, config: CardConfig, compute: Compute) -> Made:
    from pipeline.cards import card_shards as shards

    described = Described.of(tokens, corpus)
    measured = compute.map_shards(
        attempt,
        "measure",
        {
            name.removesuffix(".parquet").replace("/", "-"): shards.Measuring(described, name, config)
            for name in [*corpus.names("train/"), *corpus.names("held-out/")]
        },
        shards.measure,
    )
    left_out: list[str] = described.documents.names("dropped/") if described.documents is not None else []
    dropped = compute.map_shards(
        attempt,
        "dropped",
        {
            name.removesuffix(".parquet").replace("/", "-"): shards.Measuring(described, name, config)
            for name in left_out
        },
        shards.measure_dropped,
    )
    drawn = compute.map_shards(
        attempt,
        "draw",
        {"card": shards.Drawing(attempt, described, tuple(measured), tuple(dropped), config)},
        shards.draw,
    )
    return Made(
        files=files_of(drawn), counts=counts_of(drawn), incomplete=any_lost([*measured, *dropped, *drawn])
    )

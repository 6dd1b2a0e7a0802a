"""The stage that makes a corpus searchable: documents → an index that finds any stretch of their text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.compute import Compute, any_lost, counts_of, files_of
from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError
from pipeline.store import Artifact, Attempt, Made, Store, Work

if TYPE_CHECKING:
    import pyarrow

    from pipeline.corpus.suffixes import Stretch

TEXT, STARTS, DOCUMENTS = ".text", ".starts.npy", ".documents.parquet"
MOST_ASKED_BYTES = 20_000
"""Of a text that is looked for: a few pages."""


class TextIndexConfig(Config):
    """How much is sorted at once."""

    chunk_bytes: int = Field(default=64_000_000, ge=1, le=2_000_000_000)
    """UTF-8 bytes of text; a task needs seven bytes of memory for each."""


class TooLongToFindError(InputError):
    """A text of many pages is looked for in an index."""

    remedy = "Look for a passage of it."


@dataclass(frozen=True)
class Place:
    """Where a stretch stands in a document."""

    document: str
    url: str
    byte: int
    """Of the document's UTF-8 text."""


@dataclass(frozen=True)
class Found:
    """A stretch of the text that was looked for, and the documents that have it."""

    start: int
    """First byte of the stretch in what was looked for (UTF-8)."""
    end: int
    text: str
    count: int
    """Times that it stands in the corpus."""
    places: tuple[Place, ...]
    """Some of them, by document."""


class TextIndex(Artifact):
    """The documents that a model learned from as one long text, and the places at which words begin, sorted.

    `chunks/` has for each part of the text itself (.text), the sorted places (.starts.npy) and which document
    begins where (.documents.parquet).
    """

    stage, role, revision = "index", "index", 1

    def chunks(self) -> "list[Chunk]":
        """Its parts, opened."""
        names = [name.removesuffix(TEXT) for name in self.names("chunks/") if name.endswith(TEXT)]
        return [Chunk(self, name) for name in names]


class Chunk:
    """A part of the text, opened."""

    def __init__(self, index: TextIndex, name: str) -> None:
        from pipeline.corpus.suffixes import SearchedText

        self.text = SearchedText(index.path(f"{name}{TEXT}"), index.path(f"{name}{STARTS}"))
        self._documents = index.path(f"{name}{DOCUMENTS}")

    @cached_property
    def documents(self) -> "pyarrow.Table":
        """Columns id, url, offset: the byte of the chunk at which the document begins."""
        import pyarrow.parquet as pq

        return pq.read_table(self._documents)

    def place(self, at: int) -> Place:
        """Of a byte of the chunk."""
        import numpy as np

        offsets = self.documents["offset"].to_numpy()
        row = int(np.searchsorted(offsets, at, "right")) - 1
        document = self.documents.slice(row, 1).to_pylist()[0]
        return Place(document["id"], document["url"], at - document["offset"])


def find_text(
    indexes: Sequence[TextIndex], text: str, *, least_words: int = 1, most: int = 10, most_places: int = 5
) -> list[Found]:
    """The `most` longest stretches of `text` that stand in the documents, the longest first, none within
    another. In each begin `least_words` words, or as many as `text` has.

    Letters and spaces are compared as they are. Raises TooLongToFindError.
    """
    import numpy as np

    from pipeline.corpus.suffixes import outermost, word_starts

    asked = text.encode()
    if len(asked) > MOST_ASKED_BYTES:
        raise TooLongToFindError(
            f"the text has {len(asked):,} bytes, and at most {MOST_ASKED_BYTES:,} are looked for at once"
        )
    chunks = [chunk for index in indexes for chunk in index.chunks()]
    words = word_starts(asked)
    long_enough = [
        (start, end)
        for start, end in outermost(stretch for chunk in chunks for stretch in chunk.text.longest(asked))
        if np.count_nonzero((words >= start) & (words < end)) >= min(least_words, len(words))
    ]
    longest = sorted(long_enough, key=lambda stretch: (stretch[0] - stretch[1], stretch[0]))[:most]
    return [_found(asked, stretch, chunks, most_places) for stretch in longest]


def _found(asked: bytes, stretch: "Stretch", chunks: Sequence[Chunk], most_places: int) -> Found:
    start, end = stretch
    here = [(chunk, at) for chunk in chunks for at in chunk.text.places(asked[start:end])]
    places = tuple(chunk.place(at) for chunk, at in here[:most_places])
    return Found(start, end, asked[start:end].decode(), len(here), places)


def index_texts(store: Store, corpus: Corpus, config: TextIndexConfig, compute: Compute) -> TextIndex:
    """Make what a model learned from searchable: the documents for training, a Ray task for each shard."""
    return store.make(
        TextIndex,
        config,
        {"corpus": corpus},
        partial(_build, corpus=corpus, config=config, compute=compute),
        work=partial(_work, corpus),
    )


def _work(corpus: Corpus) -> Work:
    return {
        name: corpus.counts().get(f"train{part}", 0)
        for name, part in (("documents", ""), ("bytes", ".bytes"))
    }


def _build(attempt: Attempt, corpus: Corpus, config: TextIndexConfig, compute: Compute) -> Made:
    from pipeline.corpus import text_index_shards as shards

    names = {name.removeprefix("train/").removesuffix(".parquet"): name for name in corpus.names("train/")}
    payloads = {shard: shards.Indexing(corpus, name, config.chunk_bytes) for shard, name in names.items()}
    indexed = compute.map_shards(attempt, "index", payloads, shards.index)
    return Made(files=files_of(indexed), counts=counts_of(indexed), incomplete=any_lost(indexed))

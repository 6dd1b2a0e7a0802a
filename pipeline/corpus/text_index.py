"""The stage that makes a corpus searchable: documents → an index that finds any stretch of their text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, Store, Work

TEXT, STARTS, DOCUMENTS = ".text", ".starts.npy", ".documents.parquet"
MOST_ASKED_BYTES = 20_000
"""Of a text that is looked for: a few pages."""


class TextIndexConfig(Config):
    """How much is sorted at once."""

    chunk_bytes: int = Field(default=64_000_000, ge=1, le=2_000_000_000)
    """UTF-8 bytes of text; a task needs seven bytes of memory for each."""


class NotToBeFoundError(InputError):
    """A text is looked for that has no word, is as long as a book, or is not UTF-8."""

    remedy = "Look for a passage of some words."


@dataclass(frozen=True)
class Place:
    """A document that has a stretch of text."""

    document: str
    url: str
    byte: int
    """Of the document's UTF-8 text, at which it first stands there."""
    times: int


@dataclass(frozen=True)
class Found:
    """A stretch of the text that was looked for, and the documents that have it."""

    start: int
    """First byte of the stretch in what was looked for (UTF-8)."""
    end: int
    text: str
    times: int
    """How often it stands in the documents."""
    documents: int
    """In how many of them."""
    places: tuple[Place, ...]
    """Some of them."""


class TextIndex(Artifact):
    """The documents that a model learned from as one long text, and the places at which words begin, sorted.

    `chunks/` has for each part of the text itself (.text), the sorted places (.starts.npy) and which document
    begins where (.documents.parquet).
    """

    stage, role, revision = "index", "index", 1

    def chunks(self) -> "Iterator[Chunk]":
        """Its parts, opened one by one."""
        for name in self.names("chunks/"):
            if name.endswith(TEXT):
                yield Chunk(self, name.removesuffix(TEXT))


class Chunk:
    """A part of the text, opened."""

    def __init__(self, index: TextIndex, name: str) -> None:
        from pipeline.corpus.suffixes import SearchedText

        self.text = SearchedText(index.path(f"{name}{TEXT}"), index.path(f"{name}{STARTS}"))
        self._documents = index.path(f"{name}{DOCUMENTS}")

    def count(self, stretch: bytes, most_places: int) -> tuple[int, int, list[Place]]:
        """How often it stands there, in how many documents, and the first of them."""
        import numpy as np
        import pyarrow.parquet as pq

        at = self.text.places(stretch).astype(np.int64)
        if not len(at):
            return 0, 0, []
        offsets = pq.read_table(self._documents, columns=["offset"])["offset"].to_numpy()
        rows, first, times = np.unique(
            np.searchsorted(offsets, at, "right") - 1, return_index=True, return_counts=True
        )
        shown = rows[:most_places]
        documents = pq.read_table(self._documents, columns=["id", "url"]).take(shown).to_pylist()
        places = [
            Place(document["id"], document["url"], int(at[place] - offsets[row]), int(count))
            for document, row, place, count in zip(
                documents, shown, first[:most_places], times[:most_places], strict=True
            )
        ]
        return len(at), len(rows), places


def as_asked(text: str) -> bytes:
    """What is looked for, in UTF-8. Raises NotToBeFoundError."""
    from pipeline.corpus.suffixes import word_starts

    try:
        asked = text.encode()
    except UnicodeEncodeError as error:
        raise NotToBeFoundError(f"character {error.start} of the text is no UTF-8") from None
    if len(asked) > MOST_ASKED_BYTES:
        raise NotToBeFoundError(
            f"the text has {len(asked):,} bytes, and at most {MOST_ASKED_BYTES:,} are looked for at once"
        )
    if not len(word_starts(asked)):
        raise NotToBeFoundError(f"the text {text!r} has no word")
    return asked


def words_in(asked: bytes) -> int:
    from pipeline.corpus.suffixes import word_starts

    return len(word_starts(asked))


def find_text(
    indexes: Sequence[TextIndex],
    asked: bytes,
    *,
    least_words: int = 1,
    most: int = 10,
    most_places: int = 5,
) -> list[Found]:
    """The `most` longest stretches of `asked` that stand in the documents, the longest first, none within
    another. In each begin `least_words` words, or as many as there are.

    Letters and spaces are compared as they are.
    """
    from pipeline.corpus.suffixes import outermost

    least = min(least_words, words_in(asked))
    stretches = outermost(
        stretch
        for index in indexes
        for chunk in index.chunks()
        for stretch in chunk.text.longest(asked, least)
    )
    longest = sorted(stretches, key=lambda stretch: (stretch[0] - stretch[1], stretch[0]))[:most]
    times, documents = [0] * len(longest), [0] * len(longest)
    places: list[list[Place]] = [[] for _ in longest]
    for index in indexes if longest else ():
        for chunk in index.chunks():
            for number, (start, end) in enumerate(longest):
                room = most_places - len(places[number])
                more, in_documents, some = chunk.count(asked[start:end], room)
                times[number] += more
                documents[number] += in_documents
                places[number] += some
    return [
        Found(start, end, asked[start:end].decode(), times[n], documents[n], tuple(places[n]))
        for n, (start, end) in enumerate(longest)
    ]


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

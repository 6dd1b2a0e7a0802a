"""What training text shares with held-out documents, told document by document.

Near duplicates are in one split, but a paragraph of a held-out document may stand in a page for
training too. The evaluation leaves such passages out of its scores; the tables that are written
here say which they are. Compared are runs of words as against evaluation sets
(contamination_shards.py); of held-out documents that have the same run, that with the smallest id
is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.contamination_shards import Runs, overlaps
from pipeline.corpus.tables import outputs_of, read_documents, read_rows, write_rows
from pipeline.corpus.word_runs import WORDS_IN_A_ROW, text_grams
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord

OVERLAP = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("share", pa.float64()),
        ("held_out", pa.string()),
        ("held_out_url", pa.string()),
        ("runs", pa.int64()),
        ("words", pa.string()),
    ]
)
"""A row for each document for training and held-out document that share a run of 13 words: which share of
the former's words lies in any shared run, how many runs the two share, and the first of them."""
HELD_OUT = pa.schema([("id", pa.string()), ("url", pa.string())])


@dataclass(frozen=True)
class Indexing:
    """The held-out documents of all shards."""

    attempt: Attempt
    divided: tuple[ShardRecord, ...]


@dataclass(frozen=True)
class Searching:
    """One shard's documents for training, to be compared with the held-out ones."""

    attempt: Attempt
    divided: ShardRecord
    index: ShardRecord


def index(work: Indexing, output: ShardOutput) -> dict[str, int]:
    """Write the held-out documents' runs, 24 bytes for each, and whose they are."""
    paths = outputs_of(work.attempt, work.divided, "held-out/")
    documents = sorted(_documents(paths, HELD_OUT.names), key=itemgetter("id"))
    places = {document["id"]: place for place, document in enumerate(documents)}
    parts: list[Runs] = [np.empty((3, 0), np.uint64)]
    for row in _documents(paths):
        grams = text_grams(row["text"])
        part = np.empty((3, len(grams)), np.uint64)
        part[0], part[1], part[2] = grams, 0, places[row["id"]]
        parts.append(part)
    together = np.concatenate(parts, axis=1)
    together = together[:, np.argsort(together[2], kind="stable")]
    _, first = np.unique(together[0], return_index=True)
    np.save(output.path("runs.npy"), np.ascontiguousarray(together[:, first]))
    write_rows(output.path("held-out.parquet"), documents, HELD_OUT)
    return {}


def search(part: Searching, output: ShardOutput) -> dict[str, int]:
    """Write which of the shard's documents share what with which held-out ones."""
    (runs,) = outputs_of(part.attempt, [part.index], "runs.npy")
    whose = read_rows(outputs_of(part.attempt, [part.index], "held-out.parquet"))
    known = np.load(runs, mmap_mode="r")
    rows: list[dict[str, Any]] = []
    sharing = 0
    for document in _documents(outputs_of(part.attempt, [part.divided], "train/")):
        share, found = overlaps(document["text"], known, WORDS_IN_A_ROW)
        sharing += bool(found)
        about = {"id": document["id"], "url": document["url"], "share": share}
        for each in found:
            other = whose[each.example]
            rows.append(
                {
                    **about,
                    "held_out": other["id"],
                    "held_out_url": other["url"],
                    "runs": each.runs,
                    "words": each.words,
                }
            )
    write_rows(output.path(f"overlap/{part.divided.identity}.parquet"), rows, OVERLAP)
    return {"train.overlapping": sharing}


def _documents(
    paths: Sequence[Path], columns: Sequence[str] = ("id", "url", "text")
) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield from read_documents(path, columns)

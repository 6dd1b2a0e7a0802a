"""The Ray tasks that count n-grams: by shard of tokens, then by range of first tokens.

An n-gram is a row of a table, its tokens in columns t1, t2, …, so DuckDB groups and sorts them, on disk if
they do not fit into memory. N-grams of one length are sorted by their tokens, which is the order of
`Level.keys`: the index of a context grows with its tokens. Those of a range of first tokens therefore stand
in one stretch, and so do their contexts; ranges one behind the other are the whole.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from pipeline.corpus.duplicates import connect
from pipeline.models.ngram import ABOUT, PARTS, Level, discounts_of, level_path, smoothed
from pipeline.shards import ShardOutput
from pipeline.store import File, ShardRecord, Storage
from pipeline.tokens.encode import Tokens
from pipeline.tokens.rows import open_tokens

BLOCK_TOKENS = 4_000_000
"""Of a shard, so many are in a table at a time."""
FIRST, SECOND = "first", "second"
"""Counts lie by the range of their first token, and again of their second: of its left neighbours are counted
those that differ."""


@dataclass(frozen=True)
class CountShard:
    """A shard of tokens, and the first tokens at which ranges begin."""

    tokens: Tokens
    name: str
    order: int
    begin: int
    ranges: tuple[int, ...]


def count_shard(work: CountShard, output: ShardOutput) -> dict[str, int]:
    """How often each n-gram occurs in the shard, of each length up to the order. Counts: n-grams by length,
    one for each block that they were found in."""
    ids, shard = open_tokens(work.tokens.path(work.name)), work.name.replace("/", "-")
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as database:
        for block, start in enumerate(range(0, len(ids), BLOCK_TOKENS)):
            for length in range(1, work.order + 1):
                block_ids = ids[start : start + BLOCK_TOKENS + length - 1]
                database.register("grams", _grams(block_ids, length, work.begin))
                counted = database.sql("SELECT *, count(*) AS count FROM grams GROUP BY ALL").to_arrow_table()
                found[f"grams.{length}"] = found.get(f"grams.{length}", 0) + len(counted)
                for by, column in ((FIRST, "t1"), (SECOND, "t2")):
                    if column in counted.column_names:
                        for number, part in _by_range(counted, column, work.ranges):
                            name = f"range-{number:04d}/{by}-{length}/{shard}-{block}.parquet"
                            pq.write_table(part, output.path(name))
    return found


def _grams(ids: NDArray[np.unsignedinteger[Any]], length: int, begin: int) -> pa.Table:
    """All stretches of so many tokens within a document."""
    if len(ids) < length:
        return pa.table({f"t{number + 1}": pa.array([], pa.int32()) for number in range(length)})
    windows = np.lib.stride_tricks.sliding_window_view(ids, length)
    inside = ~(windows[:, 1:] == begin).any(1)
    columns = (windows[inside, number].astype(np.int32) for number in range(length))
    return pa.table({f"t{number + 1}": column for number, column in enumerate(columns)})


def _by_range(table: pa.Table, column: str, ranges: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
    part = np.searchsorted(np.array(ranges), table[column].to_numpy(), "right") - 1
    for number in np.unique(part).tolist():
        yield number, table.filter(pa.array(part == number))


@dataclass(frozen=True)
class MergeRange:
    """What all shards counted of one range."""

    storage: Storage
    base: str
    name: str
    files: Mapping[str, File]
    order: int
    begin: int
    vocabulary: int

    def paths(self, by: str, length: int) -> list[str]:
        """Local files with counts of this length."""
        start = f"{self.name}/{by}-{length}/"
        return [
            str(self.storage.download(f"{self.base}/{file.path}", file.sha256))
            for name, file in sorted(self.files.items())
            if name.startswith(start)
        ]


def merge_range(work: MergeRange, output: ShardOutput) -> dict[str, int]:
    """Of each length: the n-grams' keys within the range, and their counts, which for all but the longest
    are counts of different tokens before them. Counts: n-grams, and how many have a count of 1 to 4, by
    length."""
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as database:
        for length in range(1, work.order + 1):
            _merge(database, work, length)
            table = database.sql(f"SELECT key, count FROM grams_{length} ORDER BY place").to_arrow_table()
            keys, counts = table["key"].to_numpy(), table["count"].to_numpy()
            if length == 1:
                counts = np.where(keys == work.begin, 0, counts)
            np.save(output.path(f"{work.name}/{length}.keys.npy"), keys)
            np.save(output.path(f"{work.name}/{length}.counts.npy"), counts)
            found[f"grams.{length}"] = len(keys)
            found |= {f"{length}.{count}": int((counts == count).sum()) for count in (1, 2, 3, 4)}
    return found


def _merge(database: DuckDBPyConnection, work: MergeRange, length: int) -> None:
    """A table `grams_<length>`: tokens, place in their order, key, count."""
    columns = [f"t{number}" for number in range(1, length + 1)]
    tokens, behind = ", ".join(columns), [f"t{number + 1}" for number in range(1, length + 1)]
    neighbours = work.paths(SECOND, length + 1) if length < work.order else []
    as_before = ", ".join(f"{each} AS {column}" for each, column in zip(behind, columns, strict=True))
    context = ("0", "")
    if length > 1:
        shared = ", ".join(columns[:-1])
        context = "context.place", f"JOIN grams_{length - 1} AS context USING ({shared})"
    database.execute(f"""
        CREATE TABLE grams_{length} AS
        WITH seen AS (
            SELECT {tokens}, sum(count)::BIGINT AS count
            FROM {_source(work.paths(FIRST, length), columns)} GROUP BY ALL
        ), before AS (
            SELECT {as_before}, count(DISTINCT t1) AS different
            FROM {_source(neighbours, ["t1", *behind])} GROUP BY {", ".join(behind)}
        )
        SELECT {tokens}, row_number() OVER (ORDER BY {tokens}) - 1 AS place,
            {context[0]} * {work.vocabulary}::BIGINT + {columns[-1]} AS key,
            coalesce(different, seen.count) AS count
        FROM seen LEFT JOIN before USING ({tokens}) {context[1]}
    """)


def _source(paths: Sequence[str], columns: Sequence[str]) -> str:
    """The files as a table of SQL; without files one that is empty."""
    if paths:
        return f"read_parquet([{', '.join(map(_quoted, paths))}])"
    empty = ", ".join(f"NULL::INT AS {column}" for column in columns)
    return f"(SELECT {empty}, 0::BIGINT AS count WHERE false)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class SmoothRange:
    """The merged counts of one range, and counts of counts of all."""

    storage: Storage
    base: str
    merged: ShardRecord
    order: int
    vocabulary: int
    counts_of_counts: tuple[tuple[int, ...], ...]
    one_discount: bool

    def load(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys within the range, and counts."""
        found = []
        for part in ("keys", "counts"):
            file = self.merged.files[f"{self.merged.identity}/{length}.{part}.npy"]
            found.append(np.load(self.storage.download(f"{self.base}/{file.path}", file.sha256)))
        return found[0], found[1]

    def smoothed(
        self, length: int, keys: NDArray[np.int64], counts: NDArray[np.int64], contexts: int
    ) -> Level:
        taken = discounts_of(self.counts_of_counts[length - 1], self.one_discount)
        return smoothed(keys, counts, contexts, self.vocabulary, taken)


def smooth_range(work: SmoothRange, output: ShardOutput) -> dict[str, int]:
    """The shares of all n-grams of two tokens and more, whose contexts are in the same range."""
    for length in range(2, work.order + 1):
        contexts = work.merged.counts[f"grams.{length - 1}"]
        level = work.smoothed(length, *work.load(length), contexts)
        for part in PARTS:
            np.save(output.path(f"{work.merged.identity}/{length}.{part}.npy"), getattr(level, part))
    return {}


def write_model(
    folder: Path, works: Mapping[str, SmoothRange], smoothed: Sequence[ShardRecord], begin: int
) -> None:
    """The ranges one behind the other, as NGramModel opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    ranges = [(works[record.identity], record) for record in smoothed]
    any_work = ranges[0][0]
    single = [work.load(1) for work, _ in ranges]
    keys, counts = (np.concatenate(part) for part in zip(*single, strict=True))
    level = any_work.smoothed(1, keys, counts, 1)
    for part in PARTS:
        np.save(level_path(folder, 1, part), getattr(level, part))
    for length in range(2, any_work.order + 1):
        for part in PARTS:
            _join(level_path(folder, length, part), length, part, ranges)
    about = {"order": any_work.order, "vocabulary": any_work.vocabulary, "begin": begin}
    (folder / ABOUT).write_text(json.dumps(about))


def _join(path: Path, length: int, part: str, ranges: Sequence[tuple[SmoothRange, ShardRecord]]) -> None:
    """One array of all ranges, a range in memory at a time. Keys count contexts from the first range's on."""
    counted = length - 1 if part == "left_over" else length
    sizes = [work.merged.counts[f"grams.{counted}"] for work, _ in ranges]
    kind = np.int64 if part == "keys" else np.float64
    joined = np.lib.format.open_memmap(path, "w+", dtype=kind, shape=(sum(sizes),))
    start = contexts = 0
    for (work, record), size in zip(ranges, sizes, strict=True):
        file = record.files[f"{work.merged.identity}/{length}.{part}.npy"]
        own = np.load(work.storage.download(f"{work.base}/{file.path}", file.sha256))
        joined[start : start + size] = own + contexts * work.vocabulary if part == "keys" else own
        start, contexts = start + size, contexts + work.merged.counts[f"grams.{length - 1}"]
    joined.flush()

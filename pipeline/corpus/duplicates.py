"""Which documents say the same: exactly, under the same URL, or nearly (MinHash and bands).

Documents are numbered in the order in which a rule prefers them, so that the keeper of a group, or of
a chain of groups, is its smallest number. The outcome depends neither on the order in which documents
come nor on how they are spread over files. DuckDB groups what is in their signatures within a fixed
limit of memory; beside it there are some 50 bytes for each document.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.corpus.clean import Keeper

MEMORY_LIMIT = "512MB"
THREADS = 1
EDGE_ROWS = 1_000_000
"""Pairs in memory at a time, or as many as there are documents, if those are more."""

DUPLICATES = pa.schema([("id", pa.string()), ("reason", pa.string()), ("keeper", pa.string())])
REPEATED = pa.schema([("id", pa.string()), ("hash", pa.int64())])
"""Paragraphs of documents that are no duplicates, which a document before them has too."""
PREFERRED: Mapping[Keeper, str] = {
    "smallest-id": "replaced, id",
    "longest": "replaced, bytes DESC, id",
    "newest": "replaced, date DESC NULLS LAST, id",
    "best-quality": "replaced, quality DESC NULLS LAST, id",
}
"""The orders by which documents are numbered: first always those that lost the fewest characters."""
KEYS = {"duplicate-exact": "text_hash", "duplicate-url": "url", "duplicate-near": "unnest(bands)"}
"""What documents have in common that are duplicates in one way or another."""

DROPPED = """
CREATE TABLE dropped AS
SELECT document.shard, document.id, keeper.id AS keeper,
    gone.reason || if(keeper.shard IS NULL, '-earlier', '') AS reason
FROM gone JOIN document USING (number) JOIN document AS keeper ON keeper.number = gone.keeper
WHERE document.shard IS NOT NULL ORDER BY document.shard, document.id
"""
"""Of this run's documents those that are gone."""
AGAIN = """
CREATE TABLE again AS
WITH piece AS (
    SELECT number, unnest(paragraphs) AS hash FROM document ANTI JOIN gone USING (number)
),
first AS (SELECT hash, min(number) AS number FROM piece GROUP BY hash HAVING count(*) > 1)
SELECT document.shard, document.id, piece.hash
FROM piece JOIN first USING (hash) JOIN document ON document.number = piece.number
WHERE piece.number <> first.number AND document.shard IS NOT NULL
ORDER BY document.shard, document.id, piece.hash
"""
"""Of those that are left the paragraphs that one before them has too, if paragraphs were signed."""

Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class Found:
    """What others stand for in one shard, each table sorted by its columns."""

    shard: str
    duplicates: pa.Table
    """Columns as in DUPLICATES."""
    repeated: pa.Table
    """Columns as in REPEATED."""


def find_duplicates(
    shards: Mapping[str, Path], keeper: Keeper, scratch: Path, earlier: Sequence[Path] = ()
) -> Iterator[Found]:
    """For each shard, given by the file of its signatures, the documents that others stand for.

    A keeper is never dropped for the same reason, but may go for a later one: same text first, then same
    URL, then near. Documents whose signatures are in `earlier` are kept before all others, and the reason
    tells so.
    """
    with connect(scratch) as database:
        count = _number(database, shards, PREFERRED[keeper], earlier)
        database.execute("CREATE TABLE gone (number INTEGER, reason VARCHAR, keeper INTEGER)")
        for reason, key in KEYS.items():
            keepers = _smallest_alike(database, key, count)
            numbers = np.flatnonzero(keepers != np.arange(count))
            database.register("found", pa.table({"number": numbers, "keeper": keepers[numbers]}))
            database.execute("INSERT INTO gone SELECT number, ?, keeper FROM found", [reason])
        database.execute(DROPPED)
        database.execute(AGAIN)
        for shard in shards:
            yield Found(
                shard,
                _of_shard(database, DUPLICATES, "dropped", shard),
                _of_shard(database, REPEATED, "again", shard),
            )


def near(paths: Sequence[Path], scratch: Path) -> dict[str, str]:
    """Document → smallest id, for all documents joined to a smaller one by a chain of shared bands."""
    with connect(scratch) as database:
        count = _number(database, {str(path): path for path in paths}, "id")
        database.execute("CREATE TABLE gone (number INTEGER)")
        keepers = _smallest_alike(database, KEYS["duplicate-near"], count)
        ids = database.sql("SELECT id FROM document ORDER BY number").to_arrow_table()["id"]
        numbers = np.flatnonzero(keepers != np.arange(count))
        return dict(zip(ids.take(numbers).to_pylist(), ids.take(keepers[numbers]).to_pylist(), strict=True))


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that moves to `scratch` what is over the limit."""
    database = duckdb.connect(
        config={"memory_limit": MEMORY_LIMIT, "threads": THREADS, "temp_directory": str(scratch)}
    )
    database.execute("SET enable_progress_bar = false")
    return database


def smallest_joined(count: int, edges: Iterable[tuple[Numbers, Numbers]]) -> Numbers:
    """For each of the numbers below `count` the smallest that a chain of edges joins it to."""
    smallest = np.arange(count, dtype=np.int32)
    for one, other in edges:
        ends = smallest[one], smallest[other]
        graph = coo_array((np.ones(len(one), np.bool_), ends), (count, count))
        parts, part = connected_components(graph, directed=False)
        least = np.empty(parts, np.int32)
        least[part[::-1]] = np.arange(count, dtype=np.int32)[::-1]  # of several the last stays: the smallest
        smallest = least[part[smallest]]
    return smallest


def _number(
    database: duckdb.DuckDBPyConnection, shards: Mapping[str, Path], order: str, earlier: Sequence[Path] = ()
) -> int:
    """Make the table `document` of the rows of all files, numbered in this order, those of no shard first.

    Says how many there are.
    """
    files = {"filename": list(map(str, shards.values())), "shard": list(shards)}
    database.register("files", pa.table(files, pa.schema(dict.fromkeys(files, pa.string()))))
    rows = (
        "SELECT * EXCLUDE (filename) FROM read_parquet($shards, filename = true) JOIN files USING (filename)"
    )
    given = {"shards": files["filename"]}
    if earlier:
        rows += " UNION ALL BY NAME SELECT * FROM read_parquet($earlier)"
        given["earlier"] = list(map(str, earlier))
    database.execute(
        f"""
        CREATE TABLE document AS
        SELECT (row_number() OVER (ORDER BY shard IS NOT NULL, {order}) - 1)::INTEGER AS number, *
        FROM ({rows})
        """,
        given,
    )
    return int(database.execute("SELECT count(*) FROM document").fetchall()[0][0])


def _of_shard(database: duckdb.DuckDBPyConnection, schema: pa.Schema, name: str, shard: str) -> pa.Table:
    query = f"SELECT {', '.join(schema.names)} FROM {name} WHERE shard = ?"
    return database.sql(query, params=[shard]).to_arrow_table().cast(schema)


def _smallest_alike(database: duckdb.DuckDBPyConnection, key: str, count: int) -> Numbers:
    """For each number the smallest that a chain of common keys joins it to, without those that are gone."""
    found = database.sql(
        f"""
        WITH part AS (SELECT number, {key} AS key FROM document ANTI JOIN gone USING (number)),
        first AS (SELECT key, min(number) AS smallest FROM part GROUP BY key HAVING count(*) > 1)
        SELECT number, smallest FROM part JOIN first USING (key) WHERE number <> smallest
        """
    ).to_arrow_reader(max(EDGE_ROWS, count))
    return smallest_joined(count, ((batch[0].to_numpy(), batch[1].to_numpy()) for batch in found))

"""Which documents say the same: exactly, under the same URL, or nearly (MinHash and bands).

The keeper of a group is its smallest id, so the outcome depends neither on order nor on how the
documents are spread over files. Bands and keys go through Parquet, and DuckDB groups them within
a fixed limit of memory.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import rensa

SHINGLE_WORDS = 5
SEED = 42
WORD = re.compile(r"\w+")
MEMORY_LIMIT = "1GB"
THREADS = 1


def words_of(text: str) -> list[str]:
    """What documents are compared by: their words, in which case does not count."""
    return WORD.findall(text.lower())


def normalized_hash(text: str, words: Sequence[str]) -> int:
    """64 bits over the words alone: punctuation and layout do not count, unless there is nothing else."""
    joined = " ".join(words)
    digest = hashlib.blake2b((joined or text).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def band_hashes(words: Sequence[str], bands: int, rows: int) -> list[int]:
    """One 64-bit hash per band of the MinHash signature over a text's 5-word shingles.

    Two documents of similarity s (Jaccard, over shingles) share a band with probability
    1 - (1 - s^rows)^bands: 14 bands of 8 rows find half of the pairs of similarity .72.
    """
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    signature = rensa.RMinHash(num_perm=bands * rows, seed=SEED)
    signature.update([" ".join(words[start : start + SHINGLE_WORDS]) for start in range(count)])
    values = np.asarray(signature.digest(), dtype="<u4").reshape(bands, rows)
    return [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little", signed=True)
        for row in values
    ]


def band_rows(identity: str, words: Sequence[str], bands: int, rows: int) -> Iterable[dict[str, Any]]:
    """The document's rows for a table of bands."""
    for band, value in enumerate(band_hashes(words, bands, rows)):
        yield {"id": identity, "band": band, "hash": value}


def same_key(paths: Sequence[Path], key: str, leave_out: Iterable[str], scratch: Path) -> dict[str, str]:
    """Document → keeper, for all documents that share the value of column `key` with a smaller id."""
    with connect(scratch) as database:
        _register(database, "left_out", leave_out)
        found = database.execute(
            f"""
            SELECT id, keeper FROM (
                SELECT id, min(id) OVER (PARTITION BY "{key}") AS keeper
                FROM read_parquet(?) ANTI JOIN left_out USING (id)
            ) WHERE id <> keeper
            """,
            [_names(paths)],
        ).fetchall()
    return dict(found)


def near(paths: Sequence[Path], leave_out: Iterable[str], scratch: Path) -> dict[str, str]:
    """Document → keeper, for all documents joined to a smaller id by a chain of shared bands."""
    with connect(scratch) as database:
        _register(database, "left_out", leave_out)
        edges = database.execute(
            """
            SELECT DISTINCT id, keeper FROM (
                SELECT id, min(id) OVER (PARTITION BY band, hash) AS keeper
                FROM read_parquet(?) ANTI JOIN left_out USING (id)
            ) WHERE id <> keeper
            """,
            [_names(paths)],
        ).fetchall()
    return components(edges)


def components(edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Document → smallest id of its connected component, for all but the smallest."""
    parent: dict[str, str] = {}

    def root_of(identity: str) -> str:
        root = identity
        while parent.get(root, root) != root:
            root = parent[root]
        while identity != root:
            parent[identity], identity = root, parent.get(identity, identity)
        return root

    for one, other in edges:
        small, large = sorted((root_of(one), root_of(other)))
        parent.setdefault(small, small)
        parent[large] = small
    return {identity: root for identity in parent if (root := root_of(identity)) != identity}


def find_duplicates(
    documents: Sequence[Path], bands: Sequence[Path], scratch: Path
) -> dict[str, tuple[str, str]]:
    """Document → (reason, keeper) for every document that another one stands for.

    `documents` are Parquet files with id, url and text_hash; `bands` with id, band and hash. A
    keeper is never dropped for the same reason, but may go for a later one: same text first,
    then same URL, then near.
    """
    found: dict[str, tuple[str, str]] = {}

    def add(reason: str, keepers: Mapping[str, str]) -> None:
        found.update({identity: (reason, keeper) for identity, keeper in keepers.items()})

    add("duplicate-exact", same_key(documents, "text_hash", found, scratch))
    add("duplicate-url", same_key(documents, "url", list(found), scratch))
    add("duplicate-near", near(bands, list(found), scratch))
    return found


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that moves to `scratch` what is over the limit."""
    return duckdb.connect(
        config={"memory_limit": MEMORY_LIMIT, "threads": THREADS, "temp_directory": str(scratch)}
    )


def _register(database: duckdb.DuckDBPyConnection, name: str, ids: Iterable[str]) -> None:
    database.register(name, pa.table({"id": pa.array(list(ids), pa.string())}))


def _names(paths: Sequence[Path]) -> list[str]:
    return [str(path) for path in paths]

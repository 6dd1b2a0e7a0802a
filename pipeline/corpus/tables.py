"""The tables of the corpus: their columns, and how they are written so that equal rows give equal bytes."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StageError
from pipeline.store import Attempt, File, ShardRecord

if TYPE_CHECKING:
    import datasets

ROW_GROUP_ROWS = 1_000
TEXT_ROWS = 64
"""Documents in memory at a time where only their text is wanted."""

IDENTITY = [("id", pa.string()), ("source", pa.string()), ("url", pa.string()), ("title", pa.string())]
STATED = [("author", pa.string()), ("date", pa.string()), ("licence", pa.string())]
"""What the document says of itself; null where it says nothing. Dates are ISO 8601, as much as is known."""

RAW = pa.schema(
    [
        *IDENTITY,
        *STATED,
        ("html_language", pa.string()),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("bytes", pa.int64()),
        ("quality", pa.float64()),
    ]
)
DROPPED = pa.schema(
    [
        *IDENTITY,
        ("text", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("detail", pa.string()),
    ]
)
KEPT_COLUMNS = [
    *IDENTITY,
    *STATED,
    ("kind", pa.string()),
    ("text", pa.string()),
    ("quality", pa.float64()),
    ("language", pa.string()),
    ("language_score", pa.float64()),
]
KEPT = pa.schema(KEPT_COLUMNS)
DOCUMENTS = pa.schema(
    [
        *KEPT_COLUMNS,
        ("page_id", pa.string()),
        ("cluster", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
    ]
)
"""`start` and `end` are the document's span of UTF-8 bytes in its page's kept text."""
Row = Mapping[str, Any]


class PagesLostError(StageError):
    """More or fewer pages came out of a stage than went in."""

    remedy = "This is a fault of moinho, not of your input: report it with the stage's log."


def require_all(stage: str, given: int, found: int) -> None:
    """Raises PagesLostError unless each page that went in is a document kept or a drop with its reason."""
    if given != found:
        raise PagesLostError(
            f"{stage}: {given:,} pages went in, {found:,} came out as kept or dropped; nothing was "
            "published. This is a fault of moinho: please report it with the stage's log"
        )


def document_id(name: str, text: str) -> str:
    """32 hexadecimal digits: the first 128 bits of SHA-256 over the text and what it is called: its
    canonical URL, or for a row without a name what else is said in it."""
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:32]


def bucket_of(identity: str, buckets: int) -> int:
    """Which of so many shards a document belongs to. Ids are hashes, so their first bits do."""
    return int(identity[:8], 16) % buckets


def shard_name(number: int) -> str:
    return f"{number:05d}.parquet"


def write_rows(path: Path, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Write the rows sorted by all their columns (so by id first); the same rows give the same bytes."""
    names = schema.names
    ordered = sorted(rows, key=lambda row: [_order(row[name]) for name in names])
    table = pa.Table.from_pylist([{name: row[name] for name in names} for row in ordered], schema=schema)
    write_table(path, table)


def write_table(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP_ROWS, write_statistics=True)


def read_rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in paths:
        rows += pq.read_table(path).to_pylist()
    return rows


def read_documents(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows with these columns, or all, in file order, a few documents in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(
            batch_size=TEXT_ROWS, columns=None if columns is None else list(columns)
        ):
            yield from batch.to_pylist()


def read_texts(path: Path) -> Iterator[str]:
    """The `text` column alone, in file order, a few documents at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=TEXT_ROWS, columns=["text"]):
            yield from batch.column(0).to_pylist()


def local_path(attempt: Attempt, file: File) -> Path:
    """A file on this machine with what an earlier step of the attempt's stage wrote."""
    return attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)


def outputs_of(attempt: Attempt, records: Iterable[ShardRecord], prefix: str = "") -> list[Path]:
    """Files on this machine that earlier steps wrote under that prefix, in the order of records and names."""
    return [
        local_path(attempt, file)
        for record in records
        for name, file in sorted(record.files.items())
        if name.startswith(prefix)
    ]


def _order(value: Any) -> tuple[bool, Any]:
    """Sorts None before everything else."""
    return (value is not None, value)


def as_dataset(paths: list[Path]) -> "datasets.Dataset":
    """The rows of Parquet files, memory-mapped by way of `datasets`' cache."""
    import datasets

    with _without_progress_bars():
        # Without a size it takes that of a file's first group of rows, which fails where there is none.
        found = datasets.Dataset.from_parquet([str(path) for path in paths], batch_size=ROW_GROUP_ROWS)
    assert isinstance(found, datasets.Dataset)
    return found


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """`datasets` draws bars on whatever terminal there is; progress is shown by the command line alone."""
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()

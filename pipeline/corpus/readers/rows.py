"""JSONL and Parquet: a row is a document, its columns say what it is called and what is known of it."""

import io
import json
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.corpus.candidates import Candidate, Refused, Stated
from pipeline.corpus.canonical import canonical_url
from pipeline.corpus.markdown import one_line
from pipeline.corpus.metadata import iso_date, names_of, stated
from pipeline.corpus.readers.read import Reading
from pipeline.corpus.readers.unreadable import NoTextColumnError

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.corpus.readers.files import SourcePart

PLAIN = Reading("text", "utf-8")
ROWS_IN_MEMORY = 64
SKIPPED_BYTES = 1 << 20
"""Read at a time of a line that is too long."""
BESIDE_BYTES = 1 << 20
"""Of a row, what other columns than its text may have."""


def json_rows(part: "SourcePart", url: str, path: Path) -> Iterator[Candidate | Refused]:
    """Every line of a part of a JSONL file. A file packed by gzip or zstd is read as a whole.

    A row's place is the byte that its line begins at, in the unpacked file.
    Raises UnreadableFileError if a packed file breaks before its first line.
    """
    limit = part.config.page_bytes
    at = part.start
    with _opened(path) as file:
        if part.start:
            file.seek(part.start - 1)
            at += _skip_line(file) - 1
        while part.end is None or at < part.end:
            try:
                line = file.readline(limit + 1)
                size = len(line)
                if size > limit and not line.endswith(b"\n"):
                    size += _skip_line(file)
            except OSError as error:
                if not at:
                    raise part.unreadable(url, f"cannot be unpacked: {error}") from error
                yield part.refused(f"{url}#{at}", "broken-record", f"the file breaks here: {error}")
                return
            if not line:
                return
            if size > limit:
                yield part.refused(f"{url}#{at}", "too-large", f"a line of {size} bytes", limit)
            elif line.strip():
                yield _json_row(part, url, at, line)
            at += size


def _json_row(part: "SourcePart", url: str, at: int, line: bytes) -> Candidate | Refused:
    place = f"{url}#{at}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return part.refused(place, "broken-record", f"not JSON in UTF-8: {error}")
    if not isinstance(row, dict):
        return part.refused(place, "broken-record", f"not an object but {type(row).__name__}")
    return row_candidate(part, row, place)


def _opened(path: Path) -> IO[bytes]:
    import pyarrow as pa

    if path.name.endswith((".gz", ".zst")):
        return io.BufferedReader(pa.input_stream(str(path), compression="detect"))
    return path.open("rb")


def _skip_line(file: IO[bytes]) -> int:
    """Bytes up to and with the end of the line."""
    size = 0
    while block := file.readline(SKIPPED_BYTES):
        size += len(block)
        if block.endswith(b"\n"):
            break
    return size


def parquet_rows(part: "SourcePart", url: str, path: Path) -> Iterator[Candidate | Refused]:
    """Every row of the row groups that begin in a part of a Parquet file. A row's place is its number.

    Of a row group that is damaged the rows that cannot be read are refused. Raises
    UnreadableFileError if the file's end, where it says what it holds, is torn off or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise part.unreadable(url, f"not a whole Parquet file: {str(error).rstrip('.')}") from error
    with file:
        known = set(file.schema_arrow.names)
        columns = part.settings.columns
        if columns.text not in known:
            raise NoTextColumnError(
                f"{url}: there is no column {columns.text!r}, only {', '.join(sorted(known))}; set "
                f"columns.text of source {part.settings.name!r}"
            )
        wanted = [name for name in columns.model_dump().values() if name in known]
        first = 0
        for group in range(file.num_row_groups):
            described = file.metadata.row_group(group)
            if part.start <= _begins(described) < (part.end or 1 << 62):
                yield from _group_rows(part, url, file, group, first, wanted)
            first += described.num_rows


def _begins(group: Any) -> int:
    column = group.column(0)
    offsets = (column.dictionary_page_offset, column.data_page_offset)
    return min(int(at) for at in offsets if at is not None)


def _group_rows(
    part: "SourcePart", url: str, file: Any, group: int, first: int, wanted: list[str]
) -> Iterator[Candidate | Refused]:
    import pyarrow as pa

    rows, done = file.metadata.row_group(group).num_rows, 0
    try:
        for batch in file.iter_batches(ROWS_IN_MEMORY, row_groups=[group], columns=wanted):
            for number in range(batch.num_rows):
                yield _parquet_row(part, batch.slice(number, 1), f"{url}#{first + done}")
                done += 1
    except (pa.ArrowException, OSError) as error:
        for number in range(done, rows):
            yield part.refused(f"{url}#{first + number}", "broken-record", f"{type(error).__name__}: {error}")


def _parquet_row(part: "SourcePart", row: "pa.RecordBatch", place: str) -> Candidate | Refused:
    """Of a batch of one row, of which what is far too long is not even unpacked."""
    limit = part.config.page_bytes
    if row.nbytes > limit + BESIDE_BYTES:
        return part.refused(place, "too-large", f"a row of {row.nbytes} bytes", limit)
    try:
        (values,) = row.to_pylist()
    except UnicodeDecodeError as error:
        return part.refused(place, "broken-record", f"not UTF-8: {error}")
    return row_candidate(part, values, place)


def row_candidate(part: "SourcePart", row: dict[str, Any], place: str) -> Candidate | Refused:
    """The document in a row, called by its URL, else by its id, else by its place.

    One that is called by its place is still identified by what it holds, so that the same rows are the
    same documents however they are spread over files.
    """
    columns = part.settings.columns
    named = stated(str(row.get(columns.url) or ""))
    identity = row.get(columns.id)
    nameless = False
    if named and named.startswith(("http://", "https://")):
        place = canonical_url(named)
    elif named or identity not in (None, ""):
        place = f"{part.settings.name}#{named or one_line(str(identity))}"
    else:
        nameless = True
    text = row.get(columns.text)
    if not isinstance(text, str):
        found = f"column {columns.text!r} holds {one_line(repr(text))}, which is no text"
        if columns.text not in row:
            found = f"no column {columns.text!r}, found {', '.join(row)}; set the source's columns.text"
        return part.refused(place, "no-text", found)
    beside = Stated(
        stated(row.get(columns.title)) or "",
        stated("; ".join(names_of(row.get(columns.author)))),
        iso_date(row.get(columns.date)),
        stated("; ".join(names_of(row.get(columns.licence)))),
        stated(row.get(columns.language)),
    )
    content = "\n".join([part.settings.name, *(value or "" for value in astuple(beside))])
    data = text.encode("utf-8", "replace")
    return part.candidate(place, data, PLAIN, beside, content if nameless else None)

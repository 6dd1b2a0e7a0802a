"""The extract stage's Ray tasks: read pages of a crawl or files of a source, then gather a bucket."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fastwarc.warc import ArchiveIterator, WarcRecordType

from pipeline.corpus.candidates import Candidate, Refused, write_documents
from pipeline.corpus.canonical import canonical_url
from pipeline.corpus.extract import ExtractConfig, limit_of
from pipeline.corpus.extractor_process import Failure
from pipeline.corpus.formats import CONTENT_TYPES
from pipeline.corpus.readers.files import KINDS_WITH_THREADS, SourcePart
from pipeline.corpus.readers.read import Reading
from pipeline.corpus.tables import DROPPED, RAW, local_path, read_rows, shard_name, write_rows
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, File, ShardRecord

if TYPE_CHECKING:
    from pipeline.corpus.pages import Archive, PageEntry, Pages

CRAWL = "crawl"
"""The source of crawled pages."""
IDENTITY_CHARACTERS = 8
"""Of the digest of a slice's pages."""


@dataclass(frozen=True)
class Slice:
    """What one task reads: some of a WARC file's pages."""

    archive: "Archive"
    entries: "tuple[PageEntry, ...]"
    config: ExtractConfig


@dataclass(frozen=True)
class Bucket:
    """What one task gathers: the parts of all slices that hold documents of one bucket."""

    attempt: Attempt
    number: int
    files: Sequence[File]


@dataclass(frozen=True)
class Response:
    """A page as it was received."""

    body: bytes
    charset: str | None
    """The encoding that the HTTP header names."""


def slices(pages: "Pages", config: ExtractConfig, size: int) -> Iterator[tuple[str, Slice]]:
    """Identity and content of every slice of at most `size` pages, in the order of the files: this crawl's,
    and those of earlier crawls that pages were taken over from."""
    ordered = sorted(pages.entries(), key=lambda entry: (entry.crawl, entry.warc, entry.offset, entry.url))
    for (crawl, warc), group in groupby(ordered, key=lambda entry: (entry.crawl, entry.warc)):
        made_by = pages.of_crawl(crawl)
        name = warc if made_by is pages else f"{crawl}-{warc}"
        yield from slices_of(name, made_by.archive(warc), group, config, size)


def slices_of(
    name: str, archive: "Archive", entries: "Iterable[PageEntry]", config: ExtractConfig, size: int
) -> Iterator[tuple[str, Slice]]:
    """Of one WARC file. The identity tells which pages it has: while a crawl goes on, they are read before
    its log is written."""
    plain, left, number = re.sub(r"[^A-Za-z0-9.]+", "-", name), iter(entries), 0
    while part := tuple(islice(left, size)):
        told = "".join(f"{entry.url} {entry.offset}\n" for entry in part)
        digest = hashlib.sha256(told.encode()).hexdigest()[:IDENTITY_CHARACTERS]
        yield f"{plain}-{number:06d}-{digest}", Slice(archive, part, config)
        number += 1


def parts(records: Sequence[ShardRecord], number: int) -> list[File]:
    """The files that hold documents of one bucket, among what the slices wrote."""
    suffix = f"/{shard_name(number)}"
    return [file for record in records for name, file in record.files.items() if name.endswith(suffix)]


def read_slice(part: Slice, output: ShardOutput) -> dict[str, int]:
    """Write the slice's raw documents and dropped pages, in files for each bucket."""
    return write_documents(_pages(part), part.config, output)


def read_part(part: SourcePart, output: ShardOutput) -> dict[str, int]:
    """Write the raw documents and the dropped ones of a source's files, or of a part of a file.

    Raises UnreadableFileError if there is nothing in a file that its format allows.
    """
    return write_documents(part.candidates(), part.config, output)


def write_bucket(bucket: Bucket, output: ShardOutput) -> dict[str, int]:
    """Gather one bucket from all slices: `raw/` and `dropped/`, each sorted by id."""
    raw, dropped = (
        read_rows(
            [
                local_path(bucket.attempt, file)
                for file in bucket.files
                if PurePosixPath(file.path).parent.name == folder
            ]
        )
        for folder in ("raw", "dropped")
    )
    write_rows(output.path(f"raw/{shard_name(bucket.number)}"), raw, RAW)
    write_rows(output.path(f"dropped/{shard_name(bucket.number)}"), dropped, DROPPED)
    counts = Counter(f"dropped.{row['reason']}" for row in dropped)
    for row in raw:
        counts.update({f"raw.{row['kind']}": 1, f"bytes.{row['kind']}": row["bytes"]})
    size = sum(row["bytes"] for row in raw)
    return {"pages": len(raw) + len(dropped), "raw": len(raw), "bytes": size, **counts}


def read_response(path: Path, entry: "PageEntry", limit: int) -> Response | Failure:
    """The page in a WARC record, of which `limit` bytes at most are read."""
    offset = entry.offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(entry.length)
    try:
        records = ArchiveIterator(
            io.BytesIO(data), record_types=WarcRecordType.response, parse_http=True, auto_decode="all"
        )
        for record in records:
            body = record.reader.read(limit + 1)
            if len(body) > limit:
                return Failure("too-large", f"over {limit} bytes", limit)
            if entry.sha256 is not None and hashlib.sha256(body).hexdigest() != entry.sha256:
                return Failure(
                    "broken-record", f"{path.name} at {offset}: not the body that the log tells of"
                )
            return Response(body, record.http_charset)
    except Exception as error:
        # The reader raises what its decoders raise, of many types; all mean a damaged record.
        return Failure("broken-record", f"{path.name} at {offset}: {type(error).__name__}: {error}"[:500])
    return Failure("broken-record", f"{path.name} at {offset}: no response record")


def _pages(part: Slice) -> Iterator[Candidate | Refused]:
    path = part.archive.path()
    for entry in part.entries:
        url = canonical_url(entry.url)
        format = CONTENT_TYPES.get((entry.content_type or "").partition(";")[0].strip().lower(), "html")
        response = read_response(path, entry, limit_of(format, part.config))
        if isinstance(response, Failure):
            yield Refused(url, CRAWL, response)
        else:
            reading = Reading(format, response.charset, part.config.kind in KINDS_WITH_THREADS)
            yield Candidate(url, CRAWL, part.config.kind, response.body, reading)

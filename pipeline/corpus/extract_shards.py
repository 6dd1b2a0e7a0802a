"""The extract stage's Ray tasks: read a slice of a WARC file, then gather a bucket of documents."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import w3lib.url
from fastwarc.warc import ArchiveIterator, WarcRecordType

from pipeline.compute import ShardOutput
from pipeline.corpus.extract import ExtractConfig
from pipeline.corpus.extractor_process import ExtractorProcess, Failure, Limits, Page
from pipeline.corpus.tables import (
    DROPPED,
    RAW,
    bucket_of,
    document_id,
    local_path,
    read_rows,
    shard_name,
    write_rows,
)
from pipeline.store import Attempt, File, ShardRecord

if TYPE_CHECKING:
    from pipeline.corpus.pages import PageEntry, Pages

TRIED_AGAIN = {"extractor-timeout", "extractor-crash", "extractor-memory"}
"""What may be the fault of the machine or of the page before; tried once more in a fresh process."""


@dataclass(frozen=True)
class Slice:
    """What one task reads: some of a WARC file's pages."""

    pages: "Pages"
    """The crawl whose archive they are read from."""
    warc: str
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

    html: bytes
    charset: str | None
    """The encoding that the HTTP header names."""


def slices(pages: "Pages", config: ExtractConfig, size: int) -> Iterator[tuple[str, Slice]]:
    """Identity and content of every slice of at most `size` pages, in the order of the files: this crawl's,
    and those of earlier crawls that pages were taken over from."""
    ordered = sorted(pages.entries(), key=lambda entry: (entry.crawl, entry.warc, entry.offset, entry.url))
    for (crawl, warc), group in groupby(ordered, key=lambda entry: (entry.crawl, entry.warc)):
        archive = pages.of_crawl(crawl)
        name = re.sub(r"[^A-Za-z0-9.]+", "-", warc if archive is pages else f"{crawl}-{warc}")
        number = 0
        while part := tuple(islice(group, size)):
            yield f"{name}-{number:06d}", Slice(archive, warc, part, config)
            number += 1


def parts(records: Sequence[ShardRecord], number: int) -> list[File]:
    """The files that hold documents of one bucket, among what the slices wrote."""
    suffix = f"/{shard_name(number)}"
    return [file for record in records for name, file in record.files.items() if name.endswith(suffix)]


def read_slice(part: Slice, output: ShardOutput) -> dict[str, int]:
    """Write the slice's raw documents and dropped pages, in one pair of files for each bucket."""
    path = part.pages.path(part.warc)
    raw: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    for entry, size, found in _read_pages(path, part.entries, part.config):
        url = w3lib.url.canonicalize_url(entry.url)
        if isinstance(found, Failure):
            dropped.append(_dropped(url, "", found, part.config))
        elif not found.text.strip():
            dropped.append(_dropped(url, found.title, Failure("empty", "no main text found"), part.config))
        else:
            raw.append(_raw(url, found, size, part.config.kind))
    for folder, rows, schema in (("raw", raw, RAW), ("dropped", dropped, DROPPED)):
        by_bucket: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_bucket.setdefault(bucket_of(row["id"], part.config.shards), []).append(row)
        for number, inside in by_bucket.items():
            write_rows(output.path(f"{folder}/{shard_name(number)}"), inside, schema)
    return {"pages": len(part.entries)}


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
    reasons = Counter(f"dropped.{row['reason']}" for row in dropped)
    return {
        "pages": len(raw) + len(dropped),
        "raw": len(raw),
        "bytes": sum(row["bytes"] for row in raw),
        **reasons,
    }


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
            html = record.reader.read(limit + 1)
            if len(html) > limit:
                return Failure("too-large", f"over {limit} bytes of HTML")
            if entry.sha256 is not None and hashlib.sha256(html).hexdigest() != entry.sha256:
                return Failure(
                    "broken-record", f"{path.name} at {offset}: not the body that the log tells of"
                )
            return Response(html, record.http_charset)
    except Exception as error:
        # The reader raises what its decoders raise, of many types; all mean a damaged record.
        return Failure("broken-record", f"{path.name} at {offset}: {type(error).__name__}: {error}"[:500])
    return Failure("broken-record", f"{path.name} at {offset}: no response record")


def _read_pages(
    path: Path, entries: "Iterable[PageEntry]", config: ExtractConfig
) -> "Iterator[tuple[PageEntry, int, Page | Failure]]":
    """Every entry with its HTML's size and what was found; failures that may be chance are tried again."""
    limits = Limits(config.cpu_seconds, config.memory_bytes)
    again: list[PageEntry] = []
    with ExtractorProcess(config.extractor, limits) as process:
        for entry in entries:
            response = read_response(path, entry, config.page_bytes)
            if isinstance(response, Failure):
                yield entry, 0, response
                continue
            found = process.extract(response.html, response.charset)
            if isinstance(found, Failure) and found.reason in TRIED_AGAIN:
                again.append(entry)
            else:
                yield entry, len(response.html), found
    for entry in again:
        response = read_response(path, entry, config.page_bytes)
        assert isinstance(response, Response)
        with ExtractorProcess(config.extractor, limits) as process:
            yield entry, len(response.html), process.extract(response.html, response.charset)


def _raw(url: str, page: Page, size: int, kind: str) -> dict[str, Any]:
    return {
        "id": document_id(url, page.text),
        "url": url,
        "title": page.title,
        "text": page.text,
        "html_language": page.language,
        "kind": kind,
        "bytes": size,
    }


def _dropped(url: str, title: str, failure: Failure, config: ExtractConfig) -> dict[str, Any]:
    thresholds = {
        "too-large": config.page_bytes,
        "extractor-timeout": config.cpu_seconds,
        "extractor-memory": config.memory_bytes,
    }
    return {
        "id": document_id(url, ""),
        "url": url,
        "title": title,
        "text": "",
        "reason": failure.reason,
        "value": None,
        "threshold": thresholds.get(failure.reason),
        "detail": failure.detail,
    }

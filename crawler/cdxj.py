"""A CDXJ index of an archive: where each capture of a URL lies, sorted by URL, found by binary search.

A line is a key, a time stamp and JSON: `org,example)/a 20260101000000 {"url": …}`. The key is the
URL with its host reversed (SURT), so that a site stands together. Fields as pywb and Common Crawl
have them, all strings: url, mime, status, digest, length, offset, filename.
"""

import dataclasses
import io
import json
import mmap
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from crawler.line_sort import merge_lines, sort_lines
from crawler.members import members
from pipeline.compute import Compute
from pipeline.shards import ShardOutput, files_of
from pipeline.store import Attempt, File

INDEX = "index.cdxj"
"""Logical name of the index in an artifact."""
INDEXED = (
    WarcRecordType.response | WarcRecordType.revisit | WarcRecordType.resource | WarcRecordType.conversion
)
HEAD_BYTES = 64 << 10
"""Of a record, as many as its headers may have; the rest is not looked at."""
WWW = re.compile(r"www\d*\.")
DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE = "!\"$&'()*+,/:;=?@[\\]^`{|}~"
"""Stands in a key as it is; all else but letters, digits and -._ is percent-encoded."""


@dataclass(frozen=True)
class Capture:
    """One capture of a URL."""

    timestamp: str
    """UTC, 14 digits."""
    url: str
    filename: str
    offset: int
    """Of the record's gzip member, in bytes."""
    length: int
    mime: str | None = None
    status: str | None = None
    digest: str | None = None
    """Of the payload, such as `sha1:…` in base 32."""


def key_of(url: str) -> str:
    """The URL's key: host reversed, without scheme, `www.`, default port and fragment, in lower case,
    its query sorted.

    The same that the Internet Archive's tools make, but that these also take out session ids, which a
    crawl's URLs have none of. What is no URL is its own key.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if not parts.netloc:
            return _escaped(url)
        host = host if host.isascii() else host.encode("idna").decode()
        port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
        path = posixpath.normpath("/" + _escaped(parts.path).lstrip("/"))
        query = "&".join(sorted(_escaped(parts.query).split("&")))
    except ValueError:
        return _escaped(url.encode("utf-8", "replace"))
    if match := WWW.match(host):
        host = host[match.end() :]
    reversed_host = ",".join(reversed(_escaped(host).split(".")))
    return f"{reversed_host}{port}){path}{'?' if query else ''}{query}"


def index_archive(compute: Compute, attempt: Attempt, files: Mapping[str, File]) -> dict[str, File]:
    """The index of all WARC files among `files` (logical names): a Ray task each, then one that merges."""
    warcs = {name: file for name, file in files.items() if name.startswith("warc/")}
    shards = {name.removeprefix("warc/"): Archived(attempt, file, name) for name, file in warcs.items()}
    indexed = compute.map_shards(attempt, "index", shards, index_warc)
    pieces = Pieces(attempt, tuple(files_of(indexed).values()))
    return files_of(compute.map_shards(attempt, "merge-index", {"index": pieces}, merge_pieces))


@dataclass(frozen=True)
class Archived:
    """What the task gets that indexes one WARC file."""

    attempt: Attempt
    file: File
    name: str


@dataclass(frozen=True)
class Pieces:
    """What the task gets that merges the files' indexes."""

    attempt: Attempt
    files: tuple[File, ...]


def index_warc(archived: Archived, output: ShardOutput) -> dict[str, int]:
    """In a Ray task: the sorted index of one WARC file."""
    name = PurePosixPath(archived.name).name
    sort_lines(lines_of(local(archived.attempt, archived.file), name), output.path(f"index/{name}.cdxj"))
    return {}


def merge_pieces(pieces: Pieces, output: ShardOutput) -> dict[str, int]:
    """In a Ray task: the index of the whole archive."""
    merge_lines([local(pieces.attempt, file) for file in pieces.files], output.path(INDEX))
    return {}


def local(attempt: Attempt, file: File) -> Path:
    return attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)


def lines_of(warc: Path, filename: str) -> Iterator[bytes]:
    """A line for every capture in a WARC file with a gzip member per record, in the order of the file."""
    for member in members(warc, HEAD_BYTES):
        records = ArchiveIterator(io.BytesIO(member.plain), record_types=INDEXED, strict_mode=False)
        for record in records:
            url = target_of(record.headers.get("WARC-Target-URI"))
            if url:
                timestamp = re.sub(r"\D", "", record.headers.get("WARC-Date") or "")[:14]
                where = {"length": str(member.length), "offset": str(member.offset), "filename": filename}
                fields = {"url": url} | _described(record) | where
                yield f"{key_of(url)} {timestamp} {json.dumps(fields)}\n".encode()
            break


def target_of(field: str | None) -> str:
    """The URL of a WARC-Target-URI field, which some write in angle brackets, as WARC 1.0 had it."""
    return (field or "").strip().removeprefix("<").removesuffix(">")


class Index:
    """A CDXJ file that is open, to look up URLs in. Use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        self._size = path.stat().st_size
        with path.open("rb") as file:
            self._view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._size else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view is not None:
            self._view.close()

    def captures(self, url: str) -> Iterator[Capture]:
        """Every capture under the URL's key, the earliest first; those of other spellings, too."""
        key = f"{key_of(url)} ".encode()
        at = self._first(key)
        while at < self._size:
            line = self._line(at)
            if not line.startswith(key):
                return
            yield _capture(line)
            at += len(line) + 1

    def _first(self, key: bytes) -> int:
        """Where the first line begins that is not before `key`."""
        low, high = 0, self._size
        while low < high:
            assert self._view is not None
            middle = self._view.rfind(b"\n", low, (low + high) // 2) + 1 or low
            line = self._line(middle)
            if line < key:
                low = middle + len(line) + 1
            else:
                high = middle
        return low

    def _line(self, start: int) -> bytes:
        assert self._view is not None
        return self._view[start : self._view.find(b"\n", start)]


def _capture(line: bytes) -> Capture:
    _, timestamp, fields = line.split(b" ", 2)
    told: dict[str, Any] = json.loads(fields)
    known = {field.name for field in dataclasses.fields(Capture)}
    given = {name: value for name, value in told.items() if name in known}
    where = {"offset": int(told["offset"]), "length": int(told["length"])}
    return Capture(**given | where, timestamp=timestamp.decode())


def _described(record: WarcRecord) -> dict[str, str]:
    http = record.http_headers if record.is_http_parsed else None
    kind = http.get("Content-Type") if http is not None else record.headers.get("Content-Type")
    status = str(http.status_code) if http is not None and http.status_code else None
    found = {
        "mime": "warc/revisit" if record.record_type == WarcRecordType.revisit else _mime(kind),
        "status": status,
        "digest": record.headers.get("WARC-Payload-Digest"),
    }
    return {name: value for name, value in found.items() if value}


def _mime(content_type: str | None) -> str | None:
    """`text/html` of `text/html; charset=utf-8`."""
    return re.split(r"[;\s]", content_type.strip(), maxsplit=1)[0] if content_type else None


def _escaped(text: str | bytes) -> str:
    return quote_from_bytes(unquote_to_bytes(text), SAFE).lower()

"""Writing WARC 1.1, one gzip member per record, so that a kill loses no complete record.

A record counts only once `sync` has returned and its place was committed to the frontier. What
lies beyond the last committed place is cut off when the writer is opened again.
"""

import io
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warcio.recordbuilder import RecordBuilder
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

FILE_BYTES = 16 << 20
"""Compressed bytes after which a new file is begun: small enough to share among extracting tasks."""
GZIP_LEVEL = 6
GZIP_WINDOW = 31
"""zlib's way of saying: the largest window, in a gzip wrapper (whose time stamp is 0)."""
CODED_HEADERS = {"content-encoding", "transfer-encoding", "content-length"}
"""Headers about how the body travelled. It is stored decoded, so they would mislead a reader."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Place:
    """Where a record lies: the file's name, and the gzip member's offset and length in bytes."""

    warc: str
    offset: int
    length: int


@dataclass(frozen=True)
class Exchange:
    """One request and its response, as they are archived."""

    url: str
    fetched: str
    """UTC, ISO 8601."""
    address: str | None
    request_headers: Headers
    protocol: str
    status: str
    """Code and reason, such as `200 OK`."""
    response_headers: Headers
    body: bytes
    """The page, without transfer and content encoding."""


class Archive:
    """Appends records to size-bounded files `<partition>-<number>.warc.gz` in one folder."""

    def __init__(self, folder: Path, partition: str, software: str, number: int, offset: int) -> None:
        """Continue at the last committed place: file `number`, `offset` bytes into it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.partition, self.software = folder, partition, software
        self.number, self.offset = number, offset
        for leftover in folder.glob(f"{partition}-*.warc.gz"):
            if leftover.name > self.name:
                leftover.unlink()
        self._file = self._open()
        self._file.truncate(offset)
        self._builder = RecordBuilder(warc_version="WARC/1.1")

    @property
    def name(self) -> str:
        return f"{self.partition}-{self.number:05d}.warc.gz"

    def write(self, exchange: Exchange) -> Place:
        """Append the request and the response; the place is that of the response."""
        if self.offset >= FILE_BYTES:
            self._next_file()
        if not self.offset:
            self._append(self._warcinfo())
        response, request = self._records(exchange)
        start = self.offset
        self._append(response)
        place = Place(self.name, start, self.offset - start)
        self._append(request)
        return place

    def sync(self) -> None:
        """Return when everything that was written would survive a crash of the machine."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _open(self) -> io.FileIO:
        return io.FileIO(self.folder / self.name, "ab")

    def _next_file(self) -> None:
        self.close()
        self.number, self.offset = self.number + 1, 0
        self._file = self._open()
        self._file.truncate(0)

    def _append(self, record: Any) -> None:
        data = memoryview(_gzipped(record))
        self.offset += len(data)
        while data:
            data = data[self._file.write(data) :]

    def _warcinfo(self) -> Any:
        fields = {"software": self.software, "format": "WARC File Format 1.1"}
        return self._builder.create_warcinfo_record(self.name, fields)

    def _records(self, exchange: Exchange) -> tuple[Any, Any]:
        """The response record, and the request record that names it."""
        date = {"WARC-Date": exchange.fetched}
        address = {"WARC-IP-Address": exchange.address} if exchange.address else {}
        response = self._builder.create_warc_record(
            exchange.url,
            "response",
            payload=io.BytesIO(exchange.body),
            length=len(exchange.body),
            http_headers=StatusAndHeaders(
                exchange.status, list(_decoded(exchange)), protocol=exchange.protocol
            ),
            warc_headers_dict=date | address,
        )
        path = exchange.url.split("/", 3)[3] if exchange.url.count("/") > 2 else ""
        request = self._builder.create_warc_record(
            exchange.url,
            "request",
            http_headers=StatusAndHeaders(
                f"GET /{path} {exchange.protocol}", list(exchange.request_headers), is_http_request=True
            ),
            warc_headers_dict=date
            | {"WARC-Concurrent-To": response.rec_headers.get_header("WARC-Record-ID")},
        )
        return response, request


def _decoded(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """The response's headers with those about the body's encoding corrected."""
    for name, value in exchange.response_headers:
        if name.lower() not in CODED_HEADERS:
            yield name, value
    yield "Content-Length", str(len(exchange.body))


def _gzipped(record: Any) -> bytes:
    """One gzip member. warcio's own compression is fixed at level 9: half the speed for 1 % less."""
    plain = io.BytesIO()
    WARCWriter(plain, gzip=False, warc_version="WARC/1.1").write_record(record)
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return compressor.compress(plain.getbuffer()) + compressor.flush()

"""Writing WARC 1.1 (ISO 28500:2017), one gzip member per record, so that a kill loses no complete record.

A record counts only once `sync` has returned and its place was committed to the frontier. What
lies beyond the last committed place is cut off when the writer is opened again; a writer that is
given no place continues behind the last whole record.
"""

import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from warcio.recordbuilder import RecordBuilder
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawler.members import members

FILE_BYTES = 16 << 20
"""Compressed bytes after which a new file is begun: small enough to share among extracting tasks."""
GZIP_LEVEL = 6
GZIP_WINDOW = 31
"""zlib's way of saying: the largest window, in a gzip wrapper (whose time stamp is 0)."""
CODED_HEADERS = {"content-encoding", "transfer-encoding", "content-length"}
"""Headers about how the body travelled. It is stored decoded, so they would mislead a reader."""
URL_CHARACTERS = "!\"#$%&'()*+,/:;=?@[\\]^`{|}"
"""What may stand in WARC-Target-URI beside letters, digits and -._~: all that is printed in ASCII but
space and angle brackets. The crawler's URLs (w3lib) are of these alone."""
NO_BREAKS = bytes.maketrans(b"\x00\r\n", b"   ")
"""What would end a header's line early. No server can send it; a careless caller could."""
NO_TOKEN = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]|^$")
"""What a header's name may not have in it (RFC 9110, 5.6.2). Some servers do, and readers stumble."""
NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
SAME_PAYLOAD = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
"""Profiles of revisit records (section 6.7)."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Place:
    """Where a record lies: the file's name, and the gzip member's offset and length in bytes."""

    warc: str
    offset: int
    length: int
    record_id: str | None = None
    digest: str | None = None
    """Of the payload, as CDX files have it: `sha1:` and 32 letters and digits (base 32)."""


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
    opt_outs: Headers = ()
    """What was said against the page's use, by where it was said, such as ("X-Robots-Tag", "noai")."""


@dataclass(frozen=True)
class Original:
    """An archived response that a revisit record stands on."""

    url: str
    fetched: str
    """Its WARC-Date."""
    record_id: str | None = None
    digest: str | None = None
    """Of its payload."""


class Archive:
    """Appends records to size-bounded files `<prefix>-<number>.warc.gz` in one folder.

    No file is written to by two rounds, since a finished round's files are published: the prefix
    names crawl, partition and round. So files of several crawls can lie in one folder, as the standard's
    annex on names wants it; a time stamp, which it suggests as well, would give a file that a killed round
    goes on with another name. Its warcinfo record has the time.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        software: str,
        number: int = 0,
        offset: int | None = None,
        file_bytes: int | None = None,
    ) -> None:
        """Continue at the last committed place: file `number`, `offset` bytes into it.

        Without an offset: behind the last whole record of the last file that is there, from
        `number` on. Raises OSError if the committed bytes are not all there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.prefix, self.software = folder, prefix, software
        self.number, self.file_bytes = number, file_bytes or FILE_BYTES
        there = sorted(path.name for path in folder.glob(f"{prefix}-*.warc.gz") if path.name >= self.name)
        if offset is None:
            if there:
                self.number = int(there[-1].removeprefix(f"{prefix}-").removesuffix(".warc.gz"))
            offset = whole_bytes(folder / self.name)
        for name in there:
            if name > self.name:
                (folder / name).unlink()
        self.offset = offset
        self._file = self._open()
        self._builder = RecordBuilder(warc_version="WARC/1.1")

    @property
    def name(self) -> str:
        return f"{self.prefix}-{self.number:05d}.warc.gz"

    def write(self, exchange: Exchange) -> Place:
        """Append response, request and, if there are opt-outs, their metadata; the response's place."""
        response = self._response(exchange)
        return self._append_all(response, self._companions(exchange, response))

    def write_revisit(self, exchange: Exchange, original: Original) -> Place:
        """Append that the page is what `original` was, and the request; the revisit record's place.

        By the status, either the server said so (304) or the same payload came, which is not stored again.
        """
        revisit = self._revisit(exchange, original)
        return self._append_all(revisit, self._companions(exchange, revisit))

    def copy(self, member: bytes) -> Place:
        """Append a record that is a gzip member already."""
        self._make_room()
        return self._append(member)

    def sync(self) -> None:
        """Return when everything that was written would survive a crash of the machine."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _open(self) -> io.FileIO:
        """The current file, cut off at the offset. Its name, too, is to survive a crash."""
        file = io.FileIO(self.folder / self.name, "ab")
        size = os.fstat(file.fileno()).st_size
        if size < self.offset:
            file.close()
            raise OSError(
                f"{file.name} has {size} bytes, but {self.offset} were committed: the disk lost some, or it "
                "was copied too early; remove the folder it lies in to crawl anew"
            )
        file.truncate(self.offset)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return file

    def _make_room(self) -> None:
        if self.offset >= self.file_bytes:
            self.close()
            self.number, self.offset = self.number + 1, 0
            (self.folder / self.name).unlink(missing_ok=True)
            self._file = self._open()
        if not self.offset:
            fields = {"software": self.software, "format": "WARC File Format 1.1"}
            self._append(_gzipped(self._builder.create_warcinfo_record(self.name, fields)))

    def _append_all(self, record: Any, companions: Iterator[Any]) -> Place:
        self._make_room()
        place = self._append(_gzipped(record))
        for companion in companions:
            self._append(_gzipped(companion))
        header = record.rec_headers.get_header
        return Place(
            place.warc,
            place.offset,
            place.length,
            header("WARC-Record-ID"),
            header("WARC-Payload-Digest"),
        )

    def _append(self, member: bytes) -> Place:
        place = Place(self.name, self.offset, len(member))
        data = memoryview(member)
        self.offset += len(data)
        while data:
            data = data[self._file.write(data) :]
        return place

    def _response(self, exchange: Exchange) -> Any:
        return self._builder.create_warc_record(
            spelled(exchange.url),
            "response",
            payload=io.BytesIO(exchange.body),
            length=len(exchange.body),
            http_headers=Verbatim(exchange.status, list(_decoded(exchange)), protocol=exchange.protocol),
            warc_headers_dict=_captured(exchange),
        )

    def _revisit(self, exchange: Exchange, original: Original) -> Any:
        modified = not exchange.status.startswith("304")
        refers = {
            "WARC-Profile": SAME_PAYLOAD if modified else NOT_MODIFIED,
            "WARC-Refers-To-Target-URI": spelled(original.url),
            "WARC-Refers-To-Date": original.fetched,
            "WARC-Refers-To": original.record_id,
            "WARC-Payload-Digest": original.digest,
        }
        headers = list(_decoded(exchange) if modified else exchange.response_headers)
        return self._builder.create_warc_record(
            spelled(exchange.url),
            "revisit",
            http_headers=Verbatim(exchange.status, headers, protocol=exchange.protocol),
            warc_headers_dict=_captured(exchange) | {name: value for name, value in refers.items() if value},
        )

    def _companions(self, exchange: Exchange, record: Any) -> Iterator[Any]:
        """The request; and the opt-outs as a metadata record (section 6.6), which is what the standard
        has for what describes a capture and was not in it as such: meta tags, a file beside the page."""
        url = spelled(exchange.url)
        concurrent = {
            "WARC-Date": exchange.fetched,
            "WARC-Concurrent-To": record.rec_headers.get_header("WARC-Record-ID"),
        }
        path = url.split("/", 3)[3] if url.count("/") > 2 else ""
        yield self._builder.create_warc_record(
            url,
            "request",
            http_headers=Verbatim(
                f"GET /{path} {exchange.protocol}", list(exchange.request_headers), is_http_request=True
            ),
            warc_headers_dict=concurrent,
        )
        if exchange.opt_outs:
            fields = b"".join(_header_line(name, value) for name, value in exchange.opt_outs)
            yield self._builder.create_warc_record(
                url,
                "metadata",
                payload=io.BytesIO(fields),
                length=len(fields),
                warc_headers_dict=concurrent,
            )


class Verbatim(StatusAndHeaders):  # type: ignore[misc]
    """Headers with the bytes that travelled. warcio would write those beyond ASCII percent-encoded."""

    def to_ascii_bytes(self, header_filter: Any = None) -> bytes:
        first = _one_line(f"{self.protocol} {self.statusline}")
        lines = [_header_line(name, value) for name, value in self.headers]
        return b"".join([first, b"\r\n", *lines, b"\r\n"])


def spelled(url: str) -> str:
    """The URL as it can stand in a header: what is no printed ASCII is percent-encoded."""
    return quote(url, URL_CHARACTERS, errors="surrogatepass")


def whole_bytes(path: Path) -> int:
    """How much of the file is whole gzip members, from its beginning; 0 if there is no such file."""
    end = 0
    if path.exists():
        for member in members(path):
            if member.fault is not None:
                break
            end = member.offset + member.length
    return end


def gzipped(plain: bytes | memoryview) -> bytes:
    """One gzip member. warcio's own compression is fixed at level 9: half the speed for 1 % less."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return compressor.compress(plain) + compressor.flush()


def _gzipped(record: Any) -> bytes:
    plain = io.BytesIO()
    WARCWriter(plain, gzip=False, warc_version="WARC/1.1").write_record(record)
    return gzipped(plain.getbuffer())


def _captured(exchange: Exchange) -> dict[str, str]:
    address = {"WARC-IP-Address": exchange.address} if exchange.address else {}
    return {"WARC-Date": exchange.fetched} | address


def _decoded(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """The response's headers with those about the body's encoding corrected."""
    for name, value in exchange.response_headers:
        if name.lower() not in CODED_HEADERS:
            yield name, value
    yield "Content-Length", str(len(exchange.body))


def _header_line(name: str, value: str) -> bytes:
    return b"%s: %s\r\n" % (NO_TOKEN.sub(b"_", _one_line(name)), _one_line(value).strip())


def _one_line(text: str) -> bytes:
    """As it travelled (headers are read as Latin-1), without what would end the line."""
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass")
    return data.translate(NO_BREAKS)

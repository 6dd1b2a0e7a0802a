"""Whatever is archived comes back byte for byte through two readers: property test and fuzz target."""

import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import example, given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator as WarcioIterator
from warcio.statusandheaders import StatusAndHeadersParser

from crawler.warc import NO_TOKEN, Archive, Exchange, Headers, Original, spelled

Record = tuple[str, str, list[tuple[Any, Any]], bytes]
"""Type, URL, HTTP headers, body."""
MEMORY = Path("/dev/shm")
"""A million inputs are not to wear a disk out."""
CHARACTERS = "\x00\t\n\r !:<>%/?#é€\x85\xa0\u2028\U0001f600\ud800aZ9_-"
"""What is likely to break something, each chosen by a byte of the input."""


@dataclass
class Input:
    """Bytes of a fuzzer as a source of decisions. When they are used up, everything is 0 or empty."""

    data: bytes
    at: int = 0

    def number(self, below: int) -> int:
        self.at += 1
        return self.data[self.at - 1] % below if self.at <= len(self.data) else 0

    def bytes(self) -> bytes:
        length = self.number(256) * (1 + self.number(9) ** 3)
        self.at += length
        return self.data[self.at - length : self.at]

    def text(self) -> str:
        taken = self.data[self.at + 1 : self.at + 1 + self.number(24)]
        self.at += len(taken)
        if self.number(2):
            return taken.decode("latin-1")
        return "".join(CHARACTERS[byte % len(CHARACTERS)] for byte in taken)

    def headers(self) -> list[tuple[str, str]]:
        return [(self.text(), self.text()) for _ in range(self.number(5))]

    def exchange(self) -> Exchange:
        return Exchange(
            url=f"http://example.org/{self.text()}",
            fetched=f"2026-01-01T00:00:{self.number(60):02d}Z",
            address=[None, "93.184.215.14", "2001:db8::1"][self.number(3)],
            request_headers=self.headers(),
            protocol="HTTP/1.1",
            status=["200 OK", "304 Not Modified", "200", f"200 {self.text()}"][self.number(4)],
            response_headers=self.headers(),
            body=self.bytes(),
            opt_outs=self.headers() if self.number(4) == 3 else (),
        )


def fuzz_archive(data: bytes) -> None:
    """Archive a few exchanges made of `data` and read them back; AssertionError tells what differs."""
    source = Input(data)
    exchanges = [(source.exchange(), bool(source.number(2))) for _ in range(1 + source.number(4))]
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        archive = Archive(folder, "00", "moinho/test", file_bytes=1 + source.number(256) * 16)
        places = [
            archive.write_revisit(exchange, Original(exchange.url, exchange.fetched))
            if is_revisit
            else archive.write(exchange)
            for exchange, is_revisit in exchanges
        ]
        archive.close()
        expected = [record for one in exchanges for record in records_of(*one)]
        paths = sorted(folder.iterdir())
        assert [record for path in paths for record in by_fastwarc(str(path))] == expected
        assert [record for path in paths for record in by_warcio(path)] == [*map(read_by_warcio, expected)]
        for place, one in zip(places, exchanges, strict=True):
            with (folder / place.warc).open("rb") as file:
                file.seek(place.offset)
                alone = next(by_fastwarc(io.BytesIO(file.read(place.length))))
            assert alone == next(records_of(*one))
    finally:
        shutil.rmtree(folder)


def records_of(exchange: Exchange, is_revisit: bool) -> Iterator[Record]:
    """(type, URL, HTTP headers, body) of every record that an exchange should become."""
    url = spelled(exchange.url)
    coded = ("content-encoding", "transfer-encoding", "content-length")
    headers = lines(exchange.response_headers)
    if not (is_revisit and exchange.status.startswith("304")):
        kept = [pair for pair in exchange.response_headers if pair[0].lower() not in coded]
        headers = [*lines(kept), (b"Content-Length", b"%d" % len(exchange.body))]
    yield "revisit" if is_revisit else "response", url, headers, b"" if is_revisit else exchange.body
    yield "request", url, lines(exchange.request_headers), b""
    if exchange.opt_outs:
        fields = b"".join(b"%s: %s\r\n" % pair for pair in lines(exchange.opt_outs))
        yield "metadata", url, [], fields


def lines(headers: Headers) -> list[tuple[bytes, bytes]]:
    """What headers should be in the archive: as they were, but on a line each, names as names may be."""
    found = []
    for pair in headers:
        name, value = (
            (
                text.encode("latin-1")
                if all(ord(character) < 256 for character in text)
                else text.encode("utf-8", "surrogatepass")
            )
            for text in pair
        )
        found.append((NO_TOKEN.sub(b"_", name), re.sub(rb"[\0\r\n]", b" ", value).strip()))
    return found


def by_fastwarc(source: str | io.BytesIO) -> Iterator[Record]:
    for record in ArchiveIterator(source, strict_mode=False):
        if record.record_type != WarcRecordType.warcinfo:
            headers = [] if record.http_headers is None else [*record.http_headers.items_bytes()]
            url = record.headers["WARC-Target-URI"]
            yield record.headers["WARC-Type"], url, headers, record.reader.read()


def by_warcio(path: Path) -> Iterator[Record]:
    """Checks the digests too. warcio hands headers on as text: UTF-8 if they can be, otherwise Latin-1,
    and stripped of more than the blanks that HTTP knows."""
    with path.open("rb") as file:
        for record in WarcioIterator(file, check_digests="raise"):
            if record.rec_type != "warcinfo":
                http = record.http_headers
                headers = [] if http is None else [(name, value.strip()) for name, value in http.headers]
                url = record.rec_headers.get_header("WARC-Target-URI")
                yield record.rec_type, url, headers, record.content_stream().read()


def read_by_warcio(record: Record) -> Record:
    """The record as warcio gives it back."""
    kind, url, headers, body = record
    decode = StatusAndHeadersParser.decode_header
    return kind, url, [(decode(name), decode(value).strip()) for name, value in headers], body


@settings(max_examples=300)
@given(data=st.binary(max_size=600))
@example(data=b"")
def test_whatever_is_archived_comes_back_through_two_readers(data: bytes) -> None:
    fuzz_archive(data)

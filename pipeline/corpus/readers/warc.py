"""WARC and WET: every response that is a page and every conversion is a document.

What a page says itself against its use is obeyed, as the crawl does. robots.txt was obeyed, or not, by
whoever made the archive.

A damaged record costs only itself: reading goes on at the next record that can be found, by its gzip
member in a packed file, by its first line in one that is not.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastwarc.warc import ArchiveIterator, WarcRecordType

from pipeline.corpus.candidates import Candidate, Metas, Refused
from pipeline.corpus.canonical import canonical_url
from pipeline.corpus.extract import limit_of
from pipeline.corpus.formats import CONTENT_TYPES
from pipeline.corpus.opt_outs import AGENT, Honoured, opt_outs
from pipeline.corpus.readers.read import Reading

if TYPE_CHECKING:
    from pipeline.corpus.readers.files import SourcePart

WANTED = WarcRecordType.response | WarcRecordType.conversion
GZIP_MEMBER = b"\x1f\x8b\x08"
PLAIN_RECORD = re.compile(rb"(?:^|\n)(WARC/1\.\d\r?\n)")
CONTENT_LENGTH = re.compile(rb"\r?\ncontent-length:\s*(\d+)", re.IGNORECASE)
SEARCHED_BYTES, OVERLAP_BYTES = 1 << 20, 64
FIRST_BYTES = 512
"""Of a gzip member that are unpacked to see whether a record begins there."""
HEADER_BYTES = 1 << 16
OK = 200


def archived(part: "SourcePart", url: str, path: Path) -> Iterator[Candidate | Refused]:
    """Every page of the archive, in its order; requests, descriptions and revisits are none.

    Raises UnreadableFileError if no record is found at all.
    """
    size, at = path.stat().st_size, _next_record(path, 0)
    if at is None:
        raise part.unreadable(url, f"not one WARC record begins in its {size:,} bytes")
    if at:
        yield _broken(part, f"{url}#0", "no record begins here")
    while at is not None:
        last, held = None, None
        for place, found in _records_from(part, url, path, at):
            # A record is whole if the one behind it was reached.
            if held is not None:
                yield held
            last, held = place, found
        if last is None:
            yield _broken(part, f"{url}#{at}", "no record can be read here")
            at = _next_record(path, at + 1)
            continue
        end = _end_of(path, last)
        if held is not None:
            torn = end is None and isinstance(held, Candidate)
            yield _broken(part, held.url, f"damaged or torn, at byte {last}") if torn else held
        at = _next_record(path, last + 1 if end is None else end)
        if end is not None and end < (size if at is None else at):
            yield _broken(part, f"{url}#{end}", "no record begins here")


def _records_from(
    part: "SourcePart", url: str, path: Path, start: int
) -> Iterator[tuple[int, Candidate | Refused | None]]:
    """Place of every record from `start` on, with its document if it has one, up to the first fault."""
    packed, size = _packed(path), path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        records = iter(ArchiveIterator(file, parse_http=True, auto_decode="all"))
        while True:
            try:
                record = next(records, None)
            except Exception:
                # The reader raises what its decoders raise, of many types; all mean a damaged record,
                # which is told by whoever looks for the next one.
                return
            if record is None:
                return
            at = record.stream_pos
            length = record.headers.get("Content-Length") or ""
            if "WARC-Type" not in record.headers or not length.isdigit():
                yield at, _broken(part, f"{url}#{at}", "the record's header is damaged")
            elif not packed and at + int(length) > size:
                yield at, _broken(part, f"{url}#{at}", "the file ends within the record")
            elif record.record_type & WANTED:
                yield at, _candidate(part, f"{url}#{at}", record)
            else:
                yield at, None


def _candidate(part: "SourcePart", place: str, record: Any) -> Candidate | Refused:
    target = record.headers.get("WARC-Target-URI", "").strip("<>")
    if not target:
        return _broken(part, place, "the record does not say of which URL it is")
    url = canonical_url(target)
    response = record.record_type == WarcRecordType.response
    if response and record.http_headers is None:
        return part.refused(url, "broken-record", f"{place}: no HTTP response in it")
    if response and record.http_headers.status_code != OK:
        return part.refused(url, "http-status", f"{record.http_headers.status_code}, not a page")
    named = record.http_content_type if response else record.headers.get("Content-Type", "text/plain")
    type = (named or "text/html").partition(";")[0].strip().lower()
    format = CONTENT_TYPES.get(type)
    if format is None:
        return part.refused(url, "content-type", f"{type} is not read")
    limit = limit_of(format, part.config)
    try:
        body = record.reader.read(limit + 1)
    except Exception as error:
        # As above: of many types.
        return part.refused(url, "broken-record", f"{place}: {error}")
    charset = record.http_charset if response else "utf-8"
    found = part.candidate(url, body, Reading(format, charset, part.threads and format == "html"))
    if isinstance(found, Refused) or not response:
        return found
    return replace(found, forbids=_Forbids(list(record.http_headers), url, part.settings.opt_outs))


@dataclass(frozen=True)
class _Forbids:
    """What an archived page says against its use."""

    headers: list[tuple[str, str]]
    url: str
    honoured: Honoured

    def __call__(self, metas: Metas) -> str | None:
        return opt_outs(self.headers, metas, AGENT, self.url).forbids_storing(self.honoured)


def _broken(part: "SourcePart", place: str, told: str) -> Refused:
    return part.refused(place, "broken-record", told)


def _packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP_MEMBER)) == GZIP_MEMBER


def _next_record(path: Path, start: int) -> int | None:
    """Where the next record begins, at `start` or after it; None if there is none."""
    packed = _packed(path)
    with path.open("rb") as file:
        while True:
            file.seek(start)
            block = file.read(SEARCHED_BYTES)
            for at in _beginnings(block, packed, start):
                if not packed or _unpacks_to_record(file, at):
                    return at
            if len(block) < SEARCHED_BYTES:
                return None
            start += len(block) - OVERLAP_BYTES


def _beginnings(block: bytes, packed: bool, start: int) -> Iterator[int]:
    if not packed:
        yield from (start + found.start(1) for found in PLAIN_RECORD.finditer(block))
        return
    at = block.find(GZIP_MEMBER)
    while at >= 0:
        yield start + at
        at = block.find(GZIP_MEMBER, at + 1)


def _unpacks_to_record(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(file.read(FIRST_BYTES), 5) == b"WARC/"
    except zlib.error:
        return False


def _end_of(path: Path, at: int) -> int | None:
    """Where the record that begins at `at` ends; None if it is damaged or torn."""
    with path.open("rb") as file:
        file.seek(at)
        if not _packed(path):
            head = file.read(HEADER_BYTES)
            length = CONTENT_LENGTH.search(head)
            end = head.find(b"\r\n\r\n")
            if length is None or end < length.start():
                return None
            end += at + 4 + int(length[1]) + 4
            return end if end <= path.stat().st_size else None
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            while not member.eof:
                block = file.read(SEARCHED_BYTES)
                if not block:
                    return None
                while block and not member.eof:
                    member.decompress(block, SEARCHED_BYTES)
                    block = member.unconsumed_tail
        except zlib.error:
            return None
        return file.tell() - len(member.unused_data)

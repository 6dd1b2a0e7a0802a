"""The records of a WARC file that somebody else wrote: plain or gzip, a member for each record or one
for all. Nothing is taken on trust: what holds no record is told with its place, and reading goes on
behind it."""

import mmap
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crawler.members import GZIP_WINDOW, READ_BYTES, next_start

RECORD_BYTES = 64 << 20
"""Of a record that is read whole; of a longer one only the headers are."""
HEAD_BYTES = 64 << 10
GZIP = b"\x1f\x8b"
BEGINNING = b"WARC/"
LINE_END = b"\r\n"
BLANK_LINE = b"\r\n\r\n"
SHOWN_BYTES = 20


class NoRecordError(ValueError):
    """There is something else where a record should begin."""


@dataclass(frozen=True)
class Found:
    """A record, or with a `fault` a stretch of the file that holds none."""

    offset: int
    """Where it begins in the file, in bytes: of a packed file, the gzip member that it begins in."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; of a repeated one the last."""
    plain: bytes = b""
    """The whole record, headers and block; of one longer than the limit, the headers alone."""
    is_cut: bool = False
    """True if there is more of it than `plain`."""
    member: bytes | None = None
    """Its gzip member as it is in the file, if it has one to itself."""
    fault: str | None = None


def records(path: Path, limit: int = RECORD_BYTES) -> Iterator[Found]:
    """Every record of the file, and every stretch that is none.

    Behind damage reading goes on where the next record begins. That can be seen in a plain file and
    in one with a gzip member for each record; damage in a member that holds many costs the rest of it.
    """
    size = path.stat().st_size
    if not size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        is_packed = view[: len(GZIP)] == GZIP
        offset = 0
        while offset < size:
            content = (_Packed if is_packed else _Plain)(view, offset)
            try:
                yield from _records(content, limit)
                return
            except (zlib.error, EOFError, NoRecordError) as error:
                yield Found(content.offset, fault=str(error))
                offset = content.following()


class _Content(ABC):
    """What a file holds, unpacked, from a place on."""

    def __init__(self, view: mmap.mmap, offset: int) -> None:
        self._view = view
        self._at = offset
        self._ready = bytearray()
        self.offset = offset
        """Of the record that is being read."""

    @abstractmethod
    def _more(self) -> bool:
        """Unpack a little more of the current member. False if that is used up."""

    @abstractmethod
    def begin(self) -> bool:
        """Go to where the next record should begin. False at the file's end."""

    @abstractmethod
    def member(self) -> bytes | None:
        """The gzip member of the record just read, if there is nothing else in it."""

    @abstractmethod
    def following(self) -> int:
        """Where the next record begins behind damage, or the file's end."""

    def take(self, length: int) -> bytes:
        """Raises EOFError if there is not so much."""
        while len(self._ready) < length:
            self._need_more()
        taken = bytes(memoryview(self._ready)[:length])
        del self._ready[:length]
        return taken

    def skip(self, length: int) -> None:
        while length > len(self._ready):
            length -= len(self._ready)
            self._ready.clear()
            self._need_more()
        del self._ready[:length]

    def head(self) -> bytes:
        """A record's headers with the blank line. Raises NoRecordError or EOFError."""
        while (end := self._ready.find(BLANK_LINE)) < 0:
            if not self._begins_well() or len(self._ready) > HEAD_BYTES:
                break
            self._need_more()
        if end < 0 or not self._begins_well():
            start = bytes(self._ready[:SHOWN_BYTES])
            raise NoRecordError(f"found {start!r}, where a record's headers should be")
        return self.take(end + len(BLANK_LINE))

    def skip_line_ends(self) -> None:
        while self._ready or self._more():
            count = 0
            while count < len(self._ready) and self._ready[count] in LINE_END:
                count += 1
            del self._ready[:count]
            if self._ready:
                return

    def _begins_well(self) -> bool:
        start = self._ready[: len(BEGINNING)]
        return BEGINNING.startswith(start)

    def _need_more(self) -> None:
        if not self._more():
            raise EOFError("the file ends within a record")


class _Plain(_Content):
    def _more(self) -> bool:
        data = self._view[self._at : self._at + READ_BYTES]
        self._at += len(data)
        self._ready += data
        return bool(data)

    def begin(self) -> bool:
        self.skip_line_ends()
        self.offset = self._at - len(self._ready)
        return bool(self._ready)

    def member(self) -> bytes | None:
        return None

    def following(self) -> int:
        found = self._view.find(LINE_END + BEGINNING, self.offset + 1)
        return len(self._view) if found < 0 else found + len(LINE_END)


class _Packed(_Content):
    """Nothing is read across the end of a gzip member before `begin` is called."""

    def __init__(self, view: mmap.mmap, offset: int) -> None:
        super().__init__(view, offset)
        self._packed = b""
        self._inflate = zlib.decompressobj(GZIP_WINDOW)
        self._is_first = True

    def _more(self) -> bool:
        was_over = self._inflate.eof
        if was_over:
            return False
        if not self._packed:
            self._packed = self._view[self._at : self._at + READ_BYTES]
            self._at += len(self._packed)
            if not self._packed:
                raise EOFError("the file ends within a gzip member")
        self._ready += self._inflate.decompress(self._packed, READ_BYTES)
        self._packed = self._inflate.unconsumed_tail
        if self._inflate.eof:
            self._at -= len(self._inflate.unused_data)
        return True

    def begin(self) -> bool:
        self._is_first = self._at == self.offset
        self.skip_line_ends()
        while not self._ready and self._at < len(self._view):
            self.offset, self._is_first = self._at, True
            self._inflate, self._packed = zlib.decompressobj(GZIP_WINDOW), b""
            self.skip_line_ends()
        return bool(self._ready)

    def member(self) -> bytes | None:
        is_alone = self._is_first and not self._ready and self._inflate.eof
        return self._view[self.offset : self._at] if is_alone else None

    def following(self) -> int:
        return next_start(self._view, self.offset + 1)


def _records(content: _Content, limit: int) -> Iterator[Found]:
    while content.begin():
        head = content.head()
        headers = _fields(head)
        length = _length(headers)
        is_cut = len(head) + length > limit
        if is_cut:
            content.skip(length)
            plain = head
        else:
            plain = head + content.take(length)
        content.skip_line_ends()
        yield Found(content.offset, headers, plain, is_cut, None if is_cut else content.member())


def _fields(head: bytes) -> dict[str, str]:
    """Header fields; a line that begins with a blank goes on with the one before (WARC 1.0, section 4)."""
    found: dict[str, str] = {}
    name = ""
    for line in head.split(LINE_END)[1:]:
        text = line.decode("utf-8", "replace")
        if line[:1] in (b" ", b"\t") and name:
            found[name] += f" {text.strip()}"
        elif ":" in text:
            name, _, value = text.partition(":")
            name = name.strip().lower()
            found[name] = value.strip()
    return found


def _length(headers: Mapping[str, str]) -> int:
    """Of the block, in bytes. Raises NoRecordError."""
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(1 << 63)):
        raise NoRecordError(f"found a record with the Content-Length {text!r}")
    return int(text)

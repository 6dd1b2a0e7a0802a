"""The gzip members of a file, one after the other, and where the file goes on after a damaged one.

A WARC file has a member for each record, which is what lets a record be read, copied or lost alone.
"""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"\x1f\x8b\x08"
"""How a gzip member begins: two bytes of its own, and the only method of compression there is."""
GZIP_WINDOW = 31
FIRST_READ_BYTES = 16 << 10
READ_BYTES = 256 << 10
PROBE_BYTES = 1 << 10


@dataclass(frozen=True)
class Member:
    """A gzip member, or with a `fault` a stretch of the file that holds no whole one."""

    offset: int
    length: int
    """Both in bytes of the file."""
    plain: bytes
    """The content: all of it, or its first `limit` bytes."""
    is_cut: bool = False
    """True if there is more content than `plain`."""
    fault: str | None = None


def members(path: Path, limit: int = 0, start: int = 0) -> Iterator[Member]:
    """Every member from `start` on, with at most `limit` bytes of its content.

    Damage costs what is damaged: reading goes on at the next place where a member begins whose
    content begins like a WARC record. So what lies between is told as one fault.
    """
    size = path.stat().st_size
    if start >= size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        offset = start
        while offset < size:
            try:
                member = _read(view, offset, size, limit)
            except (zlib.error, EOFError) as error:
                following = next_start(view, offset + 1)
                yield Member(offset, following - offset, b"", fault=str(error))
                offset = following
            else:
                yield member
                offset += member.length


def _read(view: mmap.mmap, offset: int, size: int, limit: int) -> Member:
    """The member at `offset`. Raises zlib.error if it is damaged, EOFError if the file ends within."""
    inflate = zlib.decompressobj(GZIP_WINDOW)
    parts: list[bytes] = []
    kept, is_cut = 0, False
    at, step = offset, FIRST_READ_BYTES
    while not inflate.eof:
        if at >= size:
            raise EOFError("the file ends within a record")
        data = view[at : at + step]
        at, step = at + len(data), READ_BYTES
        while data and not inflate.eof:
            part = inflate.decompress(data, READ_BYTES)
            data = inflate.unconsumed_tail
            if kept < limit:
                parts.append(part[: limit - kept])
                kept += len(parts[-1])
                is_cut = len(parts[-1]) < len(part)
            else:
                is_cut = is_cut or bool(part)
    end = at - len(inflate.unused_data)
    return Member(offset, end - offset, b"".join(parts), is_cut)


def next_start(view: mmap.mmap, offset: int) -> int:
    """Where the next member begins that holds a WARC record, or else the end of the file."""
    while (offset := view.find(MAGIC, offset)) >= 0:
        try:
            begins = zlib.decompressobj(GZIP_WINDOW).decompress(view[offset : offset + PROBE_BYTES], 5)
        except zlib.error:
            begins = b""
        if begins == b"WARC/":
            return offset
        offset += 1
    return len(view)

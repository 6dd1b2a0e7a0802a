"""Small bodies that unpack to 64 MiB of zeros, for each content coding."""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import brotli

UNPACKED_BYTES = 64 << 20
PIECE = bytes(1 << 20)
ZSTD_BLOCK_BYTES = 128 << 10


@cache
def bomb(coding: str) -> bytes:
    """`coding` as Content-Encoding has it: the last one was applied last."""
    first, *others = coding.split(", ")
    body = b"".join(ONCE[first]())
    for other in others:
        body = gzip.compress(body, 9) if other == "gzip" else brotli.compress(body, quality=5)
    return body


def small_gzip() -> bytes:
    """An honest page, packed."""
    return gzip.compress(b"<html><body>" + b"<p>This is honest.</p>" * 100 + b"</body></html>", mtime=0)


def _deflated() -> Iterator[bytes]:
    """A piece is packed once: flushed in full, it can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    yield (packer.compress(PIECE) + packer.flush(zlib.Z_FULL_FLUSH)) * (UNPACKED_BYTES // len(PIECE))
    yield b"\x03\x00"


def _gzip() -> Iterator[bytes]:
    yield b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    yield from _deflated()
    yield struct.pack("<II", _checksum(zlib.crc32, 0), UNPACKED_BYTES)


def _zlib() -> Iterator[bytes]:
    yield b"\x78\xda"
    yield from _deflated()
    yield struct.pack(">I", _checksum(zlib.adler32, 1))


def _checksum(function: Callable[[bytes, int], int], value: int) -> int:
    for _ in range(UNPACKED_BYTES // len(PIECE)):
        value = function(PIECE, value)
    return value


def _brotli() -> Iterator[bytes]:
    packer = brotli.Compressor(quality=5)
    for _ in range(UNPACKED_BYTES // len(PIECE)):
        yield packer.process(PIECE)
    yield packer.finish()


def _zstd() -> Iterator[bytes]:
    """RFC 8878 by hand: a frame with a window of 128 KiB, made of blocks that repeat one byte."""
    yield struct.pack("<IBB", 0xFD2FB528, 0, 7 << 3)
    blocks = UNPACKED_BYTES // ZSTD_BLOCK_BYTES
    for number in range(blocks):
        last, repeats = int(number == blocks - 1), 1
        yield (last | repeats << 1 | ZSTD_BLOCK_BYTES << 3).to_bytes(3, "little") + b"\0"


ONCE: dict[str, Callable[[], Iterator[bytes]]] = {
    "gzip": _gzip,
    "deflate": _zlib,
    "br": _brotli,
    "zstd": _zstd,
}
CODINGS = (*ONCE, "gzip, gzip", "gzip, br")

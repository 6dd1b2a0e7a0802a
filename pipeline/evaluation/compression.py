"""What a general compressor makes of the same text: the bar that a language model has to pass."""

import lzma
from collections.abc import Iterable

PRESET = 9
LEAST_DICTIONARY_BYTES = 4096
MOST_DICTIONARY_BYTES = 1 << 30
"""LZMA2 takes at most 1.5 GiB; the compressor wants about ten times the dictionary in memory."""


def xz_bytes(data: bytes) -> int:
    """The size that `xz -9` gives.

    The dictionary is as long as the data. A longer one changes no byte but that which names its
    size, and the preset's 64 MiB would be set up anew for each piece (30 ms instead of 0.2 ms).
    """
    return len(lzma.compress(data, format=lzma.FORMAT_XZ, filters=_filters(len(data))))


def bare_lzma_bytes(data: bytes) -> int:
    """The same without the container: no header, no checksum, no index (about 60 bytes less)."""
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(len(data))))


def primed_bytes(known: bytes, data: bytes) -> int:
    """What `data` adds to the size when the compressor has just read `known`, all of it in reach."""
    return xz_bytes(known + data) - xz_bytes(known)


def last_bytes(texts: Iterable[str], most: int) -> bytes:
    """The texts joined by blank lines, or no more than their last `most` bytes."""
    kept: list[bytes] = []
    total = 0
    for text in texts:
        kept.append(text.encode() + b"\n\n")
        total += len(kept[-1])
        while kept and total - len(kept[0]) >= most:
            total -= len(kept.pop(0))
    return b"".join(kept)[-most:] if most else b""


def _filters(size: int) -> list[dict[str, int]]:
    dictionary = min(max(size, LEAST_DICTIONARY_BYTES), MOST_DICTIONARY_BYTES)
    return [{"id": lzma.FILTER_LZMA2, "preset": PRESET, "dict_size": dictionary}]

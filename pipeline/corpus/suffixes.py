"""A text that can be searched: where its words begin, in the order of what follows them.

A suffix array (Manber and Myers, "Suffix arrays: a new method for on-line string searches", 1993) of the
positions at which words begin alone, which takes a sixth of the room of one of all positions. What begins
in the midst of a word is found by the next word's beginning, and compared to its left.
"""

import bisect
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEPARATOR = b"\x00"
"""Between documents. No document has it: extraction takes NULs out."""
UNSPACED = 0x0E00
"""From here on (Thai, Lao, Han, kana, Hangul) every letter counts as a word: spaces do not divide them."""
BLOCK_BYTES = 1 << 20
Positions = NDArray[np.uint32]
Span = tuple[int, int]
"""The first byte, and the one behind the last."""


def word_starts(text: bytes) -> Positions:
    """Bytes at which words begin. `text` is UTF-8."""
    found, done, before = [], 0, False
    while done < len(text):
        block = text[done : done + BLOCK_BYTES]
        while done + len(block) < len(text) and text[done + len(block)] & 0xC0 == 0x80:
            block = text[done : done + len(block) + 1]  # no character is cut
        letters = np.frombuffer(block.decode().encode("utf-32-le"), np.uint32)
        in_word = _letters()[letters]
        after = np.concatenate([[before], in_word[:-1]])
        starts = in_word & (~after | (letters >= UNSPACED))
        lengths = 1 + (letters >= 0x80) + (letters >= 0x800) + (letters >= 0x10000)
        offsets = np.cumsum(lengths) - lengths
        found.append((done + offsets[starts]).astype(np.uint32))
        done, before = done + len(block), bool(in_word[-1])
    return np.concatenate(found) if found else np.empty(0, np.uint32)


@cache
def _letters() -> NDArray[np.bool_]:
    """Of every code point whether it is in words."""
    return np.fromiter((chr(point).isalnum() for point in range(sys.maxunicode + 1)), np.bool_)


def sorted_starts(text: bytes) -> Positions:
    """The beginnings of words in the order of what follows them, byte by byte, to the end of the text.

    Takes about seven bytes of memory for each of the text, at most 2 GiB of which there may be.
    """
    from pydivsufsort import divsufsort

    is_start = np.zeros(len(text), np.bool_)
    is_start[word_starts(text)] = True
    order: NDArray[np.int32] = divsufsort(text) if text else np.empty(0, np.int32)
    return order[is_start[order]].astype(np.uint32)


class SearchedText:
    """A text and the sorted beginnings of its words, both as files that are mapped and not read."""

    def __init__(self, text: Path, starts: Path) -> None:
        with text.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # an empty file cannot be mapped
            self.text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._bytes = np.frombuffer(self.text, np.uint8)
        self.starts: Positions = np.load(starts, mmap_mode="r" if size else None)

    def longest(self, asked: bytes, least_words: int = 1) -> list[Span]:
        """The stretches of `asked` (UTF-8) that stand in the text, from left to right, none within another.
        In each begin so many words at least.

        If all of it stands there, that is the one, wherever it begins. Of the rest there is, for every word,
        the longest stretch that begins with it, and the end of the word before it if that stands there too.
        """
        starts = word_starts(asked).tolist()
        if len(starts) < 2:
            return [(0, len(asked))] if len(self.places(asked)) else []
        found: list[Span] = []
        for number, (before, start) in enumerate(zip([0, *starts], starts, strict=False)):
            length = self._longest_from(asked[start:])
            words = bisect.bisect_left(starts, start + length) - number
            # The word before is one more, if all of it stands there.
            if not length or words + (number > 0) < least_words:
                continue
            left = self._left(asked[before:start], self._starts_with(asked[start : start + length]))
            if words + (left == start - before and number > 0) >= least_words:
                found.append((start - left, start + length))
            if start + length == len(asked):
                break
        return outermost(found)

    def places(self, stretch: bytes) -> Positions:
        """Bytes at which it begins, sorted."""
        inner = [int(start) for start in word_starts(stretch) if start]
        if not inner:  # perhaps the midst of a word, by which nothing is sorted
            return np.fromiter(self._scanned(stretch), np.uint32)
        above, rest = stretch[: inner[0]], stretch[inner[0] :]
        starts = self._starts_with(rest)
        whole = starts[self._common_left(above, starts) == len(above)]
        return np.sort(whole) - np.uint32(len(above))

    def _longest_from(self, sought: bytes) -> int:
        """How many bytes of it, from the first on, stand where a word begins; no part of a character."""
        at = self._place_of(sought)
        near = self.starts[max(0, at - 1) : at + 1].tolist()
        return _whole(
            sought, max((_common(sought, self._after(each, len(sought))) for each in near), default=0)
        )

    def _left(self, above: bytes, starts: Positions) -> int:
        """How many bytes of what stands before a word in the question stand before one of these, too."""
        left = int(self._common_left(above, starts).max(initial=0))
        while left and above[len(above) - left] & 0xC0 == 0x80:
            left -= 1
        return left

    def _common_left(self, above: bytes, starts: Positions) -> NDArray[np.int64]:
        """For each place how many bytes before it are as in `above`, counted from its end."""
        found = np.zeros(len(starts), np.int64)
        going, here = np.arange(len(starts)), starts.astype(np.int64)
        for length, byte in enumerate(reversed(above), start=1):
            inside = here[going] >= length
            going = going[inside]
            going = going[self._bytes[here[going] - length] == byte]
            if not len(going):
                break
            found[going] = length
        return found

    def _starts_with(self, sought: bytes) -> Positions:
        """Places at which a word begins, and `sought` with it."""
        last = self._place_of(sought, bisect.bisect_right)
        return np.asarray(self.starts[self._place_of(sought) : last])

    def _place_of(self, sought: bytes, place: Callable[..., int] = bisect.bisect_left) -> int:
        """Where in the order of `starts` the text `sought` is, or would be."""
        return place(self.starts, sought, key=lambda start: self._after(start, len(sought)))

    def _after(self, start: int, length: int) -> bytes:
        return self.text[start : int(start) + length]

    def _scanned(self, stretch: bytes) -> Iterator[int]:
        at = self.text.find(stretch) if stretch else -1
        while at >= 0:
            yield at
            at = self.text.find(stretch, at + 1)


def outermost(stretches: Iterable[Span]) -> list[Span]:
    """Those that lie within no other, from left to right, each once."""
    found: list[Span] = []
    for start, end in sorted(set(stretches), key=lambda stretch: (stretch[0], -stretch[1])):
        if not found or end > found[-1][1]:
            found.append((start, end))
    return found


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _whole(text: bytes, length: int) -> int:
    """So many bytes at most, without a part of a character."""
    while 0 < length < len(text) and text[length] & 0xC0 == 0x80:
        length -= 1
    return length

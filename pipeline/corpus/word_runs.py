"""Runs of words that two texts share, whatever their case and punctuation.

As in GPT-3's contamination study (Brown et al., 2020, arXiv:2005.14165, appendix C), which took 13
words in a row at most.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

WORDS_IN_A_ROW = 13
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing modulo 2**64
WORD = re.compile("[\\w\u0300-\u036f]+")
"""A run of letters, digits, underscores and combining marks."""
GAP_BEYOND_ASCII = re.compile("[^\x00-\x7f\\w\u0300-\u036f]+")  # looked up in this order: ASCII is the rule
ASCII_GAPS = bytes(sign if sign > 127 or WORD.match(chr(sign)) else ord(" ") for sign in range(256))
"""A table for bytes.translate: a space for every sign of ASCII that is in no word."""
KNOWN_WORDS = 1_000_000
"""Hashes of so many words are remembered; then all are forgotten, so that memory stays bounded."""

Hashes = NDArray[np.uint64]


class WordHashes:
    """64-bit hashes of words, the same in every process. A word is hashed once, as a rule."""

    def __init__(self) -> None:
        self.known = _KnownWords()

    def of(self, words: Iterable[str]) -> Hashes:
        return self._of([word.encode("utf-8", "surrogatepass") for word in words])

    def of_text(self, text: str) -> Hashes:
        """As `of(words_of(text))`, in half of the time."""
        return self._of(_encoded_words(text))

    def _of(self, words: Sequence[bytes]) -> Hashes:
        return np.fromiter(map(self.known.__getitem__, words), np.uint64, len(words))


class _KnownWords(dict[bytes, int]):
    def __missing__(self, word: bytes) -> int:
        if len(self) >= KNOWN_WORDS:
            self.clear()
        found = self[word] = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
        return found


def gram_hashes(words: Hashes, length: int = WORDS_IN_A_ROW) -> Hashes:
    """A hash of each `length` words in a row; entry i begins at word i.

    Two different runs among n have the same hash with a probability of about n²/2⁶⁵.
    """
    count = max(0, len(words) - length + 1)
    total = np.zeros(count, np.uint64)
    for offset in range(length):
        total = total * MIX + words[offset : offset + count]
    return total


def words_of(text: str) -> list[str]:
    """The words as they are compared: in lower case, without what stands between them."""
    return WORD.findall(text.lower())


def _encoded_words(text: str) -> list[bytes]:
    """The same words in UTF-8, cut from its bytes: a table of 256 entries is faster than an expression."""
    plain = text.lower()
    if not plain.isascii():
        plain = GAP_BEYOND_ASCII.sub(" ", plain)
    return plain.encode("utf-8", "surrogatepass").translate(ASCII_GAPS).split()


def text_grams(text: str, hashes: WordHashes, length: int = WORDS_IN_A_ROW) -> Hashes:
    return gram_hashes(hashes.of_text(text), length)


def grams_of_all(texts: Iterable[str]) -> Hashes:
    """The different runs of 13 words in the texts, sorted."""
    hashes = WordHashes()
    found = [text_grams(text, hashes) for text in texts]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def grams_also_in(wanted: Hashes, texts: Iterable[str]) -> Hashes:
    """Those of the sorted `wanted` that occur in the texts, sorted."""
    hashes = WordHashes()
    seen = np.zeros(len(wanted), bool)
    if len(wanted):
        for text in texts:
            grams = text_grams(text, hashes)
            place = np.minimum(np.searchsorted(wanted, grams), len(wanted) - 1)
            seen[place[wanted[place] == grams]] = True
    return wanted[seen]

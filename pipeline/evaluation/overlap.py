"""Passages of held-out text that training text repeats.

A passage is a paragraph: what stands between blank lines. Words are compared in lower case and
without the punctuation between them, as in GPT-3's contamination study (Brown et al., 2020,
arXiv:2005.14165, appendix C), which also took 13 in a row.
"""

import hashlib
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.models.words import WORD

WORDS_IN_A_ROW = 13
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing modulo 2**64

_PASSAGE = re.compile(r"(?:[^\n]|\n(?![^\S\n]*\n))+(?:\n(?:[^\S\n]*\n)+)?|\n(?:[^\S\n]*\n)*")

Hashes = NDArray[np.uint64]


class WordHashes:
    """64-bit hashes of words, the same in every process. Each word is hashed once."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, words: Iterable[str]) -> Hashes:
        return np.fromiter(map(self._hash, words), dtype=np.uint64)

    def _hash(self, word: str) -> int:
        found = self.known.get(word)
        if found is None:
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            found = self.known[word] = int.from_bytes(digest, "little")
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


def text_grams(text: str, hashes: WordHashes) -> Hashes:
    return gram_hashes(hashes.of(WORD.findall(text.lower())))


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


def passages(text: str) -> list[str]:
    """The paragraphs of a text, each with the blank lines after it; joined, they are the text."""
    return _PASSAGE.findall(text)


def unshared_passages(text: str, shared: Hashes, hashes: WordHashes) -> list[tuple[str, bool]]:
    """Every passage of the text, and whether it may stay.

    One goes that has any word of a shared run, also of a run that crosses into it. `shared` is sorted.
    """
    cut = passages(text)
    counts = [len(WORD.findall(passage.lower())) for passage in cut]
    grams = text_grams(text, hashes)
    words = np.zeros(sum(counts) + 1, np.int64)
    for begin in np.flatnonzero(np.isin(grams, shared)):
        words[begin] += 1
        words[begin + WORDS_IN_A_ROW] -= 1
    covered = np.concatenate([[0], np.cumsum(np.cumsum(words)[:-1] > 0)])
    ends = np.cumsum([0, *counts])
    return [(passage, bool(covered[ends[at]] == covered[ends[at + 1]])) for at, passage in enumerate(cut)]

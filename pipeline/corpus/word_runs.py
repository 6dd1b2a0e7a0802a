"""Runs of words that two texts share, whatever their case and punctuation.

As in GPT-3's contamination study (Brown et al., 2020, arXiv:2005.14165, appendix C), which took 13
words in a row at most.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

WORDS_IN_A_ROW = 13
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing modulo 2**64
WORD = re.compile("[\\w\u0300-\u036f]+")
"""A run of letters, digits, underscores and combining marks."""
GAP_BEYOND_ASCII = re.compile("[^\x00-\x7f\\w\u0300-\u036f]+")  # looked up in this order: ASCII is the rule
ASCII_GAPS = bytes(sign if sign > 127 or WORD.match(chr(sign)) else ord(" ") for sign in range(256))
"""A table for bytes.translate: a space for every sign of ASCII that is in no word."""
SPACE = ord(" ")
BLOCK_BYTES = 65_536
"""So much text is hashed at a time: it fits into a processor's cache. Of what has no gap in so many bytes
every block is a word."""

Hashes = NDArray[np.uint64]


def _powers(factor: int) -> Hashes:
    return np.cumprod(np.full(BLOCK_BYTES, factor, np.uint64), dtype=np.uint64)


POWERS, INVERSES = _powers(int(MIX)), _powers(pow(int(MIX), -1, 2**64))


def word_hashes(texts: Sequence[str]) -> list[Hashes]:
    """64-bit hashes of each text's words, in their order; the same in every process.

    The words are cut and hashed in the bytes of all texts together, without being spelt out one by one.
    """
    spelt = [_with_spaces(text) for text in texts]
    parts = [
        (start + begin, found)
        for start, block in _blocks(b" ".join(spelt))
        for begin, found in [_hashed(block)]
    ]
    begins, hashes = (np.concatenate(each) for each in zip(*parts, strict=True))
    ends = np.cumsum([len(each) + 1 for each in spelt[:-1]], dtype=np.int64)
    return np.split(hashes, np.searchsorted(begins, ends))


def _with_spaces(text: str) -> bytes:
    """In lower case and UTF-8, with spaces in place of all that is in no word."""
    plain = text.lower()
    if not plain.isascii():
        plain = GAP_BEYOND_ASCII.sub(" ", plain)
    return plain.encode("utf-8", "surrogatepass").translate(ASCII_GAPS)


def _blocks(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Pieces of BLOCK_BYTES at most that end with a word, and where they begin; one at least."""
    start = 0
    while len(text) - start > BLOCK_BYTES:
        end = text.rfind(b" ", start, start + BLOCK_BYTES) + 1 or start + BLOCK_BYTES
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def _hashed(block: bytes) -> tuple[NDArray[np.int64], Hashes]:
    """Where words begin, and their hashes: polynomials of their bytes, by differences of sums from the left.

    Multiplied by the inverse power of its beginning a word's is the same wherever it stands. Then all bits
    are mixed, as SplitMix64 ends (Steele et al., 2014, doi:10.1145/2660193.2660195).
    """
    signs = np.frombuffer(block, np.uint8)
    inside = np.zeros(len(signs) + 2, np.bool_)
    np.not_equal(signs, SPACE, out=inside[1:-1])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    begins, ends = edges[::2], edges[1::2]
    sums = np.zeros(len(signs) + 1, np.uint64)
    np.cumsum(signs * POWERS[: len(signs)], out=sums[1:])
    mixed = (sums[ends] - sums[begins]) * INVERSES[begins]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    return begins, mixed ^ mixed >> np.uint64(31)


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


def text_grams(text: str, length: int = WORDS_IN_A_ROW) -> Hashes:
    (words,) = word_hashes([text])
    return gram_hashes(words, length)


def grams_of_all(texts: Iterable[str]) -> Hashes:
    """The different runs of 13 words in the texts, sorted."""
    found = [text_grams(text) for text in texts]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def grams_also_in(wanted: Hashes, texts: Iterable[str]) -> Hashes:
    """Those of the sorted `wanted` that occur in the texts, sorted."""
    seen = np.zeros(len(wanted), bool)
    if len(wanted):
        for text in texts:
            grams = text_grams(text)
            place = np.minimum(np.searchsorted(wanted, grams), len(wanted) - 1)
            seen[place[wanted[place] == grams]] = True
    return wanted[seen]

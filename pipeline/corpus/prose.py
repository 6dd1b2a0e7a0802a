"""A document's text as the quality rules look at it: its words, lines and paragraphs.

The rules were measured on plain text. `of_web` therefore takes only Markdown's own marks away;
`of_documentation` leaves out code, tables and headings too, so that what is judged is whether
the prose between them is good.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus.grams import Grams, repeated_longer, repeated_tokens

FENCE_SIGNS = "```"
FENCE = re.compile(r"^ *(`{3,})")
HEADING = re.compile(r"^#{1,6} +")
IDEOGRAPHS = r"\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, which are written without spaces: each sign counts as a word."""
IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
MARKS = r"\.(?: ?\.)*|-+|=+|\*+|~+|\++|[^\w\s]"
"""Punctuation, sign by sign; but a rule under a heading, and the dots that lead to a page number, is one."""
WORD = re.compile(rf"\w+(?:[-'’]\w+)*|{MARKS}")
WORD_OR_IDEOGRAPH = re.compile(rf"[{IDEOGRAPHS}]|[^\W{IDEOGRAPHS}]+(?:[-'’][^\W{IDEOGRAPHS}]+)*|{MARKS}")
LETTER = re.compile(r"[^\W\d_]")
INLINE_CODE = re.compile(r"`[^`\n]+`")
BLANK_LINES = re.compile(r"\n{3,}")
PARAGRAPH_BREAK = re.compile(r"\n{2,}")
MARKED = re.compile(r"^(?: *`{3,}|#{1,6} |\|)", re.MULTILINE)


@dataclass(frozen=True)
class Tokens:
    """Words and single punctuation marks, as numbers: rules look at each different one only once."""

    kinds: Sequence[str]
    """Different tokens, in the order of their first occurrence."""
    ids: NDArray[np.int64]
    """Every token of the text, as its place in `kinds`."""
    lengths: NDArray[np.int64]
    """Characters of each of `kinds`."""
    counts: NDArray[np.int64]
    """How often each of `kinds` occurs."""
    are_words: NDArray[np.bool_]
    """Which of `kinds` are more than punctuation."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def words(self) -> int:
        """Tokens that are more than punctuation."""
        return int(self.counts[self.are_words].sum())

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Characters of all tokens before each, and of all tokens at the end."""
        starts = np.zeros(len(self.ids) + 1, np.int64)
        np.cumsum(self.lengths[self.ids], out=starts[1:])
        return starts


def tokens_of(text: str) -> Tokens:
    """The text's tokens, about as the rules' authors' tokenizers give them."""
    pattern = WORD if text.isascii() or IDEOGRAPH.search(text) is None else WORD_OR_IDEOGRAPH
    found = pattern.findall(text)
    numbers = {token: number for number, token in enumerate(dict.fromkeys(found))}
    kinds = list(numbers)
    ids = np.fromiter(map(numbers.__getitem__, found), np.int64, len(found))
    return Tokens(
        kinds,
        ids,
        np.fromiter(map(len, kinds), np.int64, len(kinds)),
        np.bincount(ids, minlength=len(kinds)),
        np.fromiter((kind[0].isalnum() or kind[0] == "_" for kind in kinds), np.bool_, len(kinds)),
    )


@dataclass(frozen=True)
class Repeats:
    """Pieces of a text that occurred before in it."""

    pieces: int
    characters: int


def repeats_in(pieces: Sequence[str]) -> Repeats:
    """How many pieces occurred before, and how many characters there are in them."""
    different = set(pieces)
    if len(different) == len(pieces):
        return Repeats(0, 0)
    return Repeats(len(pieces) - len(different), sum(map(len, pieces)) - sum(map(len, different)))


@dataclass(frozen=True)
class Prose:
    """Plain text with the views that rules share; each is made once, when a rule first asks for it."""

    text: str

    @cached_property
    def tokens(self) -> Tokens:
        return tokens_of(self.text)

    @cached_property
    def _grams(self) -> list[Grams]:
        return [repeated_tokens(self.tokens.ids, self.tokens.counts)]

    def grams(self, size: int) -> Grams:
        """The n-grams of so many tokens that occur more than once."""
        while len(self._grams) < size:
            longer = repeated_longer(
                self._grams[-1], len(self._grams) + 1, self.tokens.ids, len(self.tokens.kinds)
            )
            self._grams.append(longer)
        return self._grams[size - 1]

    @cached_property
    def lower(self) -> str:
        return self.text.lower()

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank."""
        return [line for line in self.text.split("\n") if line and not line.isspace()]

    @cached_property
    def repeated_lines(self) -> Repeats:
        return repeats_in(self.lines)

    @cached_property
    def paragraphs(self) -> list[str]:
        return PARAGRAPH_BREAK.split(self.text.strip())

    @cached_property
    def repeated_paragraphs(self) -> Repeats:
        return repeats_in(self.paragraphs)


def of_web(text: str) -> Prose:
    """Everything, without the signs of headings and fences."""
    if MARKED.search(text) is None:
        return Prose(text.strip())
    kept = (
        line if code else HEADING.sub("", line)
        for line, code in lines_with_code(text)
        if code or not FENCE.match(line)
    )
    return Prose("\n".join(kept).strip())


def of_documentation(text: str) -> Prose:
    """Paragraphs and lists alone: no headings, tables or fenced code; of code in a line its first name."""
    kept = (line for line, code in lines_with_code(text) if not code and not is_marked(line))
    plain = INLINE_CODE.sub(_name_in_code, "\n".join(kept))
    return Prose(BLANK_LINES.sub("\n\n", plain).strip())


def is_marked(line: str) -> bool:
    """Whether a line is a heading, a row of a table, or the beginning or end of code."""
    if line[:1] == "#":
        return HEADING.match(line) is not None
    return line[:1] == "|" or (FENCE_SIGNS in line and FENCE.match(line) is not None)


def _name_in_code(code: re.Match[str]) -> str:
    name = re.search(r"\w+", code[0])
    return name[0] if name else ""


def lines_with_code(text: str) -> Iterator[tuple[str, bool]]:
    """Every line, and whether it lies inside a fence (the fences themselves do not)."""
    fence: str | None = None
    for line in text.split("\n"):
        found = FENCE.match(line) if FENCE_SIGNS in line else None
        if fence is None and found:
            fence = found[1]
            yield line, False
        elif fence is not None and line.strip() == fence:
            fence = None
            yield line, False
        else:
            yield line, fence is not None

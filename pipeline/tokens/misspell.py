"""Spelling mistakes, made by a seed: what a tokenizer makes of them is measured.

Each is one of the edits that most mistakes of people are (Damerau, 1964, doi:10.1145/363958.363994), in
the form in which robustness to them is tried (Pruthi et al., 2019, arXiv:1905.11268): two neighbours
swapped, a letter dropped, a letter doubled, a letter replaced by a neighbour on the keyboard. As there,
a word's first and last letters stay, and words of less than four letters.
"""

import random
import re
from collections.abc import Callable
from functools import cache

WORD = re.compile(r"[^\W\d_]{4,}")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Of the keyboard (QWERTY, as in Brazil, too). An accented letter has no neighbours: it is doubled."""


def misspelt(text: str, share: float, luck: random.Random) -> list[tuple[str, str]]:
    """About that share of the text's words of four letters and more, each right and misspelt."""
    return [
        (word, luck.choice(EDITS)(word, luck.randrange(1, len(word) - 1), luck))
        for word in WORD.findall(text)
        if luck.random() < share
    ]


def swap(word: str, place: int, luck: random.Random) -> str:
    """The letter goes behind its right neighbour, or the last but one before its left one."""
    place = min(place, len(word) - 3)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def drop(word: str, place: int, luck: random.Random) -> str:
    return word[:place] + word[place + 1 :]


def double(word: str, place: int, luck: random.Random) -> str:
    return word[: place + 1] + word[place:]


def neighbour(word: str, place: int, luck: random.Random) -> str:
    letter = word[place]
    near = _neighbours().get(letter.lower())
    if near is None:
        return double(word, place, luck)
    other = luck.choice(near)
    return word[:place] + (other.upper() if letter.isupper() else other) + word[place + 1 :]


EDITS: tuple[Callable[[str, int, random.Random], str], ...] = (swap, drop, double, neighbour)


@cache
def _neighbours() -> dict[str, str]:
    """Letter → the letters beside it, and those of the rows above and below that touch it."""
    places = {letter: (row, column) for row, keys in enumerate(ROWS) for column, letter in enumerate(keys)}
    return {
        letter: "".join(other for other in places if _touch(places[letter], places[other]))
        for letter in places
    }


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """A key touches its neighbours, and two in the next row, which is moved by half a key."""
    upper, lower = min(one, other), max(one, other)
    if upper[0] == lower[0]:
        return lower[1] - upper[1] == 1
    return lower[0] - upper[0] == 1 and lower[1] - upper[1] in (-1, 0)

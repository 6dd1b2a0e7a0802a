"""The runs of n tokens that a text repeats.

An n-gram that occurs twice begins with an (n-1)-gram that occurs twice. So the n-grams of a size are
looked for only where those of the size below were repeated, which soon leaves little of a good text.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Grams:
    """The n-grams of one size that occur more than once."""

    places: Numbers
    """The token at which each begins, ascending."""
    ranks: Numbers
    """Which of the different n-grams stands there."""
    counts: Numbers
    """Rank → how often it stands anywhere; ranks that occur once are no places."""


def repeated_tokens(ids: Numbers, counts: Numbers) -> Grams:
    """The tokens that occur more than once."""
    places = np.flatnonzero(counts[ids] > 1)
    return Grams(places, ids[places], counts)


def repeated_longer(shorter: Grams, size: int, ids: Numbers, kinds: int) -> Grams:
    """The repeated n-grams of `size` tokens, from those that are one token shorter."""
    inside = shorter.places <= len(ids) - size
    places = shorter.places[inside]
    if not len(places):
        return Grams(places, places, places)
    codes = shorter.ranks[inside] * kinds + ids[places + (size - 1)]
    order = codes.argsort(kind="stable")
    ordered = codes[order]
    ranks = np.empty_like(places)
    ranks[order] = np.cumsum(np.concatenate(([False], ordered[1:] != ordered[:-1])))
    counts = np.bincount(ranks)
    repeated = counts[ranks] > 1
    return Grams(places[repeated], ranks[repeated], counts)

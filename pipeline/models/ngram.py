"""A token n-gram model: what counting alone reaches on the same text.

Interpolated modified Kneser-Ney smoothing (Chen and Goodman, "An empirical study of smoothing
techniques for language modeling", 1998), with counts in sorted arrays. `NGramModel.fit` counts in memory;
counted.py is the stage that counts a whole corpus, and what it makes is opened and asked here.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ORDER = 5
UNSEEN = -1
ABOUT = "ngram.json"
PARTS = ("keys", "discounted", "left_over")
"""Of a level, each in a file of its own."""


def level_path(folder: Path, order: int, part: str) -> Path:
    return folder / f"{order}.{part}.npy"


@dataclass(frozen=True)
class Level:
    """The n-grams of one order. A context is an n-gram of the order below, by its index there."""

    keys: NDArray[np.int64]
    """[n-grams], sorted: context * vocabulary + token."""
    discounted: NDArray[np.float64]
    """[n-grams]: the discounted share of the token in its context."""
    left_over: NDArray[np.float64]
    """[contexts]: what the discounts leave for the order below; 1 for a context that nothing follows."""

    def find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of each key, UNSEEN where it is not there."""
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, UNSEEN)


class NGramModel:
    """Probabilities of tokens after up to `order - 1` tokens of the same document."""

    def __init__(self, levels: list[Level], vocabulary: int, begin: int) -> None:
        self.levels, self.vocabulary, self.begin = levels, vocabulary, begin

    @classmethod
    def fit(
        cls, tokens: NDArray[np.unsignedinteger], vocabulary: int, begin: int, order: int = ORDER
    ) -> "NGramModel":
        """Count documents that lie one after another, each beginning with the id `begin`.

        Takes about a second per million tokens and order 5, and some 200 bytes a token.
        Raises ValueError for an empty array.
        """
        if not len(tokens):
            raise ValueError("an n-gram model needs at least one token")
        ids = tokens.astype(np.int64)
        starts = _starts(ids, begin)
        found = list(_count(ids, starts, vocabulary, order))
        levels = []
        for below, here, above in zip([None, *found[:-1]], found, [*found[1:], None], strict=True):
            counts = here.raw if above is None else _continuations(here, above)
            if below is None:
                counts = np.where(here.keys == begin, 0, counts)
            contexts = 1 if below is None else len(below.keys)
            levels.append(smoothed(here.keys, counts, contexts, vocabulary, discounts(counts)))
        return cls(levels, vocabulary, begin)

    @classmethod
    def open(cls, folder: Path) -> "NGramModel":
        """The model that `save` wrote, memory-mapped."""
        about = json.loads((folder / ABOUT).read_bytes())
        levels = [
            Level(*(np.load(level_path(folder, number, part), mmap_mode="r") for part in PARTS))
            for number in range(1, about["order"] + 1)
        ]
        return cls(levels, about["vocabulary"], about["begin"])

    def next(self, context: Sequence[int]) -> NDArray[np.float64]:
        """Probabilities of all tokens after these of the same document, shape [vocabulary]; that of `begin`
        is 0."""
        known = list(context)
        if self.begin in known:
            known = known[len(known) - 1 - known[::-1].index(self.begin) :]
        found = np.full(self.vocabulary, 1 / (self.vocabulary - 1))
        for length, level in enumerate(self.levels):
            place = self._place(known[len(known) - length :]) if length <= len(known) else UNSEEN
            if place == UNSEEN:
                break
            first, last = np.searchsorted(
                level.keys, [place * self.vocabulary, (place + 1) * self.vocabulary]
            )
            found *= level.left_over[place]
            found[level.keys[first:last] - place * self.vocabulary] += level.discounted[first:last]
        found[self.begin] = 0
        return found

    def _place(self, gram: Sequence[int]) -> int:
        """Its index among those of its length, UNSEEN if it is not there."""
        place = 0
        for level, token in zip(self.levels, gram, strict=False):
            place = int(level.find(np.array([place * self.vocabulary + token]))[0])
            if place == UNSEEN:
                break
        return place

    def generate(self, context: Sequence[int], tokens: int, seed: int, temperature: float = 1.0) -> list[int]:
        """So many tokens that may come next, drawn one after another."""
        random, written = np.random.default_rng(seed), list(context)
        for _ in range(tokens):
            weights = self.next(written) ** (1 / temperature)
            written.append(int(random.choice(self.vocabulary, p=weights / weights.sum())))
        return written[len(context) :]

    def log_probabilities(self, tokens: NDArray[np.unsignedinteger]) -> NDArray[np.float64]:
        """Nats of each token after those before it in its document, shape [tokens].

        The first tokens of the array have shorter contexts, and so have those behind a `begin`;
        `begin` itself is given, not predicted: 0.
        """
        ids = tokens.astype(np.int64)
        starts = _starts(ids, self.begin)
        probability = np.full(len(ids), 1 / (self.vocabulary - 1))
        context = np.zeros(len(ids), np.int64)
        for level in self.levels:
            gram = np.where(context == UNSEEN, UNSEEN, level.find(context * self.vocabulary + ids))
            known = np.flatnonzero(context != UNSEEN)
            probability[known] *= level.left_over[context[known]]
            seen = np.flatnonzero(gram != UNSEEN)
            probability[seen] += level.discounted[gram[seen]]
            context = np.concatenate([[UNSEEN], gram[:-1]])
            context[starts] = UNSEEN
        probability[ids == self.begin] = 1
        logarithms: NDArray[np.float64] = np.log(probability)
        return logarithms


def most_frequent_words(texts: Iterable[str], number: int) -> list[str]:
    """The commonest words (split at white space), commonest first; equals in alphabetical order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:number]


def _starts(ids: NDArray[np.int64], begin: int) -> NDArray[np.bool_]:
    """True where a document, or the array, begins."""
    starts: NDArray[np.bool_] = ids == begin
    starts[:1] = True
    return starts


@dataclass(frozen=True)
class Counted:
    """What was found of one order."""

    keys: NDArray[np.int64]
    """[n-grams], sorted, as in `Level`."""
    first: NDArray[np.int64]
    """[n-grams]: a position that the n-gram ends at."""
    raw: NDArray[np.int64]
    """[n-grams]: how often it occurs."""
    where: NDArray[np.int64]
    """[tokens]: index of the n-gram that ends there, UNSEEN where the document is too short yet."""


def _count(
    ids: NDArray[np.int64], starts: NDArray[np.bool_], vocabulary: int, order: int
) -> Iterator[Counted]:
    """Orders from 1 up, as long as any document is long enough for one."""
    context = np.zeros(len(ids), np.int64)
    for _ in range(order):
        inside = np.flatnonzero(context != UNSEEN)
        if not len(inside):
            return
        keys, first, inverse, raw = np.unique(
            context[inside] * vocabulary + ids[inside],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        where = np.full(len(ids), UNSEEN, np.int64)
        where[inside] = inverse
        yield Counted(keys, inside[first], raw, where)
        context = np.concatenate([[UNSEEN], where[:-1]])
        context[starts] = UNSEEN


def _continuations(here: Counted, above: Counted) -> NDArray[np.int64]:
    """How many different tokens stand before each n-gram; where none does, how often it occurs."""
    before = np.bincount(here.where[above.first], minlength=len(here.keys))
    return np.where(before > 0, before, here.raw)


def smoothed(
    keys: NDArray[np.int64],
    counts: NDArray[np.int64],
    contexts: int,
    vocabulary: int,
    taken: NDArray[np.float64],
) -> Level:
    """Shares of the tokens behind their contexts, less what is `taken` off a count of 0, 1, 2, and 3 or
    more."""
    context = keys // vocabulary
    discount = taken[np.minimum(counts, 3)]
    total = np.bincount(context, weights=counts, minlength=contexts)
    kept_back = np.bincount(context, weights=discount, minlength=contexts)
    followed = np.maximum(total, 1)
    return Level(
        keys=keys,
        discounted=(counts - discount) / followed[context],
        left_over=np.where(total > 0, kept_back / followed, 1.0),
    )


def discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken off a count of 0, 1, 2, and 3 or more (Chen and Goodman, equation 26).

    Where the text is too small for the estimate, KenLM's fallback: 0.5, 1 and 1.5.
    """
    return discounts_of([int(np.count_nonzero(counts == count)) for count in (1, 2, 3, 4)])


def discounts_of(counts_of_counts: Sequence[int], one: bool = False) -> NDArray[np.float64]:
    """The same, from how many n-grams have a count of 1, 2, 3 and 4; `one` discount for all, of Kneser and
    Ney, where the text is too small for its estimate 0.75."""
    n1, n2, n3, n4 = counts_of_counts
    if one:
        same = n1 / (n1 + 2 * n2) if min(n1, n2) > 0 else 0.75
        return np.array([0, same, same, same])
    if min(n1, n2, n3, n4) == 0:
        return np.array([0, 0.5, 1, 1.5])
    share = n1 / (n1 + 2 * n2)
    found = np.array([0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3])
    return found if (found[1:] > 0).all() else np.array([0, 0.5, 1, 1.5])

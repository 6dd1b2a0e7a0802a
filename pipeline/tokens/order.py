"""Which rows are in the batch of a step: a pure function of the seed and the step.

Nothing is shuffled in memory and nothing is remembered, so a run that was killed, and a run on
another number of workers, sees the same rows in the same order. Each epoch goes through all rows
once, in an order of its own: a keyed permutation of the row numbers (a Feistel network over the
next power of two; numbers that fall outside are permuted again until they are inside, "cycle
walking": Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDER = 1
"""Bumped by hand when another row comes at any step; records of trainings name it."""
ROUNDS = 8
EXACT = 1e-9
"""Sums of shares are rounded: what differs from nothing or from all by less is that."""
MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def batch_rows(seed: int, step: int, batch_rows: int, total_rows: int) -> NDArray[np.int64]:
    """The `batch_rows` row numbers of batch `step` (from 0), each in [0, total_rows).

    An epoch's end may fall inside a batch: the batch goes on with the next epoch's first rows.
    Time and memory grow with the batch alone. Raises ValueError without rows.
    """
    if total_rows < 1 or batch_rows < 1 or step < 0:
        raise ValueError(
            f"no batch {step} of {batch_rows} rows out of {total_rows}: "
            "step must be 0 or more, the others 1 or more"
        )
    return _rows_at(seed, step * batch_rows, batch_rows, total_rows)


@dataclass(frozen=True)
class Stretch:
    """A stretch of a training in which each text has the same share of the rows."""

    first_row: int
    """Rows that were drawn before it."""
    shares: tuple[float, ...]
    """Of each text; together 1, as far as numbers of 64 bits are."""

    def __post_init__(self) -> None:
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > EXACT:
            raise ValueError(f"shares are to be 0 or more and 1 together, found {self.shares}")


def drawn(rows: int, plan: Sequence[Stretch]) -> list[int]:
    """How many of a training's first `rows` rows each text gives.

    None is ever taken back as `rows` grows, all are given, and within a stretch each text has its share but
    for fewer rows than there are texts: from the last text on each gives its part of what those behind it
    left, rounded down, and the first gives the rest.
    """
    counts = [0] * len(plan[0].shares)
    ends = [*(stretch.first_row for stretch in plan[1:]), rows]
    for stretch, end in zip(plan, ends, strict=True):
        left, share_left = max(0, min(end, rows) - stretch.first_row), 1.0
        for text in range(len(counts) - 1, 0, -1):
            share = stretch.shares[text]
            part = share / share_left if share > EXACT else 0.0
            given = left if part > 1 - EXACT else int(left * part)
            counts[text] += given
            left, share_left = left - given, share_left - share
        counts[0] += left
    return counts


def mixed_rows(
    seed: int, step: int, batch_rows: int, text_rows: Sequence[int], plan: Sequence[Stretch]
) -> NDArray[np.int64]:
    """The same of several texts: the first one's rows are numbered from 0, those of the next behind them.

    Of any beginning of the training each text has given what `drawn` says, whatever the batch, and goes
    through epochs of its own. Raises ValueError where a text with a share has no rows to give.
    """
    before, after = drawn(step * batch_rows, plan), drawn((step + 1) * batch_rows, plan)
    if (
        step < 0
        or batch_rows < 1
        or any(b > a and rows < 1 for a, b, rows in zip(before, after, text_rows, strict=True))
    ):
        raise ValueError(
            f"no batch {step} of {batch_rows} rows out of texts of {', '.join(map(str, text_rows))} rows, of "
            f"which {', '.join(str(b - a) for a, b in zip(before, after, strict=True))} are to be drawn: "
            "step must be 0 or more, the batch 1 or more, and each text that has a share must have rows"
        )
    first = np.cumsum([0, *text_rows])
    return np.concatenate(
        [
            first[text] + _rows_at(seed, before[text], after[text] - before[text], text_rows[text])
            for text in range(len(text_rows))
            if after[text] > before[text]
        ]
    )


def _rows_at(seed: int, first: int, count: int, total_rows: int) -> NDArray[np.int64]:
    """The row numbers at the places from `first` on, in the order of all epochs one after another."""
    rows = np.empty(count, np.int64)
    filled = 0
    while filled < count:
        epoch, within = divmod(first + filled, total_rows)
        some = min(count - filled, total_rows - within)
        positions = np.arange(within, within + some, dtype=np.uint64)
        rows[filled : filled + some] = permute(positions, total_rows, seed, epoch)
        filled += some
    return rows


def permute(positions: NDArray[np.uint64], size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Where the order of (seed, epoch) sends each position; one-to-one on [0, size)."""
    keys = round_keys(seed, epoch)
    bits = max(2, (size - 1).bit_length())
    found = _feistel(positions, bits, keys)
    outside = np.flatnonzero(found >= size)
    while outside.size:
        found[outside] = _feistel(found[outside], bits, keys)
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def places(rows: NDArray[np.int64], size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Where in the order of (seed, epoch) each row stands: the inverse of `permute`.

    Raises ValueError for a row out of range.
    """
    if len(rows) and not (rows.min() >= 0 and rows.max() < size):
        raise ValueError(f"rows {rows.min()} to {rows.max()} asked for, there are {size}")
    keys = round_keys(seed, epoch)
    bits = max(2, (size - 1).bit_length())
    found = _feistel(rows.astype(np.uint64), bits, keys, backwards=True)
    outside = np.flatnonzero(found >= size)
    while outside.size:
        found[outside] = _feistel(found[outside], bits, keys, backwards=True)
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def round_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    """One key per round, from SHA-256: equal on every machine and for integers of any size."""
    digests = (hashlib.sha256(f"rows {seed} {epoch} {number}".encode()).digest() for number in range(ROUNDS))
    return np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)


def _feistel(
    values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64], backwards: bool = False
) -> NDArray[np.uint64]:
    """A permutation of [0, 2**bits): the halves take turns in being masked by a hash of the other.

    With an odd number of bits one half is a bit wider; ROUNDS is even, so each keeps its place. Each round is
    its own inverse, so the same rounds backwards lead back.
    """
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    high, low = values >> low_bits, values & low_mask
    rounds = list(enumerate(keys))
    for number, key in reversed(rounds) if backwards else rounds:
        if number % 2:
            low = low ^ (_mix(high ^ key) & low_mask)
        else:
            high = high ^ (_mix(low ^ key) & high_mask)
    return (high << low_bits) | low


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: every bit of the result hangs on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * MULTIPLIER_1
    values = (values ^ (values >> np.uint64(27))) * MULTIPLIER_2
    return values ^ (values >> np.uint64(31))

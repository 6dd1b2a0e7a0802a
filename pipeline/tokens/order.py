"""Which rows are in the batch of a step: a pure function of the seed and the step.

Nothing is shuffled in memory and nothing is remembered, so a run that was killed, and a run on
another number of workers, sees the same rows in the same order. Each epoch goes through all rows
once, in an order of its own: a keyed permutation of the row numbers (a Feistel network over the
next power of two; numbers that fall outside are permuted again until they are inside, "cycle
walking": Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

ORDER = 1
"""Bumped by hand when another row comes at any step; records of trainings name it."""
ROUNDS = 8
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


def mixed_rows(
    seed: int, step: int, batch_rows: int, domain_rows: int, general_rows: int, general_share: float
) -> NDArray[np.int64]:
    """The same of two texts: those of the domain, numbered from 0, then those of the general text, which are
    numbered behind them.

    Of the first n rows of a training n * general_share are general ones, rounded down, whatever the batch;
    each text goes through its own epochs. Raises ValueError where one has no rows to give.
    """
    drawn, after = (int(rows * general_share) for rows in (step * batch_rows, (step + 1) * batch_rows))
    if domain_rows < 1 or (general_share > 0 and general_rows < 1) or not 0 <= general_share < 1:
        raise ValueError(
            f"no batch with a share of {general_share} general rows out of {domain_rows} rows of the domain "
            f"and {general_rows} general ones: both must have some, the share be at least 0 and below 1"
        )
    domain = _rows_at(seed, step * batch_rows - drawn, batch_rows - (after - drawn), domain_rows)
    general = _rows_at(seed, drawn, after - drawn, general_rows)
    return np.concatenate([domain, domain_rows + general])


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


def round_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    """One key per round, from SHA-256: equal on every machine and for integers of any size."""
    digests = (hashlib.sha256(f"rows {seed} {epoch} {number}".encode()).digest() for number in range(ROUNDS))
    return np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)


def _feistel(values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of [0, 2**bits): the halves take turns in being masked by a hash of the other.

    With an odd number of bits one half is a bit wider; ROUNDS is even, so each keeps its place.
    """
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    high, low = values >> low_bits, values & low_mask
    for number, key in enumerate(keys):
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

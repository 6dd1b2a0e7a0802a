"""How sure a mean is: the bootstrap over items (Efron & Tibshirani, 1993); of shares Wilson's interval, which
holds near 0 and 1 too.

R resamples, N items.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.estimates import Estimate, share

COVERED = 0.95
LEAST_ITEMS = 5
"""Of fewer that are neither right nor wrong, but something between, no interval can be told."""


def interval(values: Sequence[float], resamples: int, seed: int) -> tuple[float, float] | tuple[None, None]:
    """Of values that are all 0 or 1 Wilson's interval of their share; of others the middle 95 % of the means
    of `resamples` draws with replacement, and nothing of fewer than 5."""
    if values and set(values) <= {0.0, 1.0}:
        found = share(round(sum(values)), len(values))
        assert found["low"] is not None
        assert found["high"] is not None
        return found["low"], found["high"]
    if len(values) < LEAST_ITEMS:
        return None, None
    low, high = np.quantile(resampled_means(values, resamples, seed), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def resampled_means(values: Sequence[float], resamples: int, seed: int) -> NDArray[np.float64]:
    """Shape (R,). The same seed draws the same items, so two models' means can be compared."""
    values_N = np.asarray(values, np.float64)
    drawn_RN = np.random.default_rng(seed).integers(0, len(values_N), (resamples, len(values_N)))
    return np.asarray(values_N[drawn_RN].mean(1))


def scored(values: Sequence[float], baseline: Sequence[float], resamples: int, seed: int) -> Estimate:
    """The mean with its interval, and the mean that the baseline has on the very same items."""
    low, high = interval(values, resamples, seed)
    return {
        "value": float(np.mean(values)),
        "low": low,
        "high": high,
        "baseline": float(np.mean(baseline)),
        "n": len(values),
    }

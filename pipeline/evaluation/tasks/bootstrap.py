"""How sure a mean is: the bootstrap over items (Efron & Tibshirani, 1993).

R resamples, N items.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

COVERED = 0.95
Score = dict[str, float]
"""value, low, high, baseline, n."""


def interval(values: Sequence[float], resamples: int, seed: int) -> tuple[float, float]:
    """The middle 95 % of the means of `resamples` draws with replacement. (nan, nan) of nothing."""
    if not values:
        return float("nan"), float("nan")
    low, high = np.quantile(resampled_means(values, resamples, seed), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def resampled_means(values: Sequence[float], resamples: int, seed: int) -> NDArray[np.float64]:
    """Shape (R,). The same seed draws the same items, so two models' means can be compared."""
    values_N = np.asarray(values, np.float64)
    drawn_RN = np.random.default_rng(seed).integers(0, len(values_N), (resamples, len(values_N)))
    return np.asarray(values_N[drawn_RN].mean(1))


def scored(values: Sequence[float], baseline: Sequence[float], resamples: int, seed: int) -> Score:
    """The mean with its interval, and the mean that the baseline has on the very same items."""
    low, high = interval(values, resamples, seed)
    return {
        "value": float(np.mean(values)),
        "low": low,
        "high": high,
        "baseline": float(np.mean(baseline)),
        "n": len(values),
    }

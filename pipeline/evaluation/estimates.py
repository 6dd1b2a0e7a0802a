"""Figures with an interval: where they would probably lie, were the same measured on other examples."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
CONFIDENCE = 0.95
RESAMPLES_AT_ONCE = 100
"""Keeps memory small where there are many examples."""


class Estimate(TypedDict):
    """A figure as it stands in `assessment.json`."""

    value: float
    low: float | None
    """Lower end of the 95 % interval; None where none can be told."""
    high: float | None
    baseline: float | None
    """The same figure of something trivial, or of text that people wrote; None where there is none."""
    n: int
    """Examples that it was measured on."""


def exactly(value: float, n: int, baseline: float | None = None) -> Estimate:
    """A figure whose interval cannot be told."""
    return {"value": float(value), "low": None, "high": None, "baseline": baseline, "n": n}


def mean(values: Sequence[float], baseline: float | None = None, seed: int = 0) -> Estimate:
    """The mean, with a bootstrap interval over the values (percentiles; Efron, 1979)."""
    return ratio(values, [1.0] * len(values), baseline, seed)


def ratio(
    above: Sequence[float], below: Sequence[float], baseline: float | None = None, seed: int = 0
) -> Estimate:
    """The sum of one over the sum of the other, such as bits over bytes; both are drawn together."""
    over, under = np.asarray(above, float), np.asarray(below, float)
    value = float(over.sum() / under.sum())
    if len(over) < 2:
        return exactly(value, len(over), baseline)
    low, high = interval(over, under, seed)
    return {"value": value, "low": low, "high": high, "baseline": baseline, "n": len(over)}


def interval(over: NDArray[np.float64], under: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The 95 % interval of the quotient of the sums."""
    from scipy.stats import bootstrap

    def quotient(
        over: NDArray[np.float64], under: NDArray[np.float64], axis: int = -1
    ) -> NDArray[np.float64]:
        found: NDArray[np.float64] = over.sum(axis) / under.sum(axis)
        return found

    found = bootstrap(
        (over, under),
        quotient,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=RESAMPLES_AT_ONCE,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def share(hits: int, n: int, baseline: float | None = None) -> Estimate:
    """`hits` of `n`, with Wilson's interval (1927), which holds near 0 and 1 too."""
    from scipy.stats import binomtest

    if n == 0:
        return exactly(0.0, 0, baseline)
    found = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "value": hits / n,
        "low": float(found.low),
        "high": float(found.high),
        "baseline": baseline,
        "n": n,
    }


def apart(one: Estimate, other: Estimate) -> bool:
    """Whether the two intervals have nothing in common. False if one of them is not known."""
    if one["low"] is None or one["high"] is None or other["low"] is None or other["high"] is None:
        return False
    return one["low"] > other["high"] or other["low"] > one["high"]

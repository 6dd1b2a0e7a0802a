"""Figures with an interval: where they would probably lie, were the same measured on other examples."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 2_000
CONFIDENCE = 0.95
RESAMPLES_AT_ONCE = 100
"""Keeps memory small where there are many examples."""
LEAST_EXAMPLES = 5
"""Of fewer no interval is told: drawn again, three examples are one of ten mixtures of themselves."""


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
    """The mean, with a bootstrap interval over the values."""
    return resampled(np.mean, (values,), baseline, seed)


def score(values: Sequence[float], baseline: float | None = None, seed: int = 0) -> Estimate:
    """The mean of scores between 0 and 1. Where all are 0 or 1 its interval is a `share`'s: nothing right of
    sixty is not surely nothing, as drawing the sixty again would have it."""
    if set(values) <= {0.0, 1.0}:
        return share(round(sum(values)), len(values), baseline)
    return mean(values, baseline, seed)


def median(values: Sequence[float]) -> Estimate:
    """The median, with a bootstrap interval over the values."""
    return resampled(np.median, (values,))


def ratio(
    above: Sequence[float], below: Sequence[float], baseline: float | None = None, seed: int = 0
) -> Estimate:
    """The sum of one over the sum of the other, such as bits over bytes; both are drawn together."""

    def quotient(over: Values, under: Values, axis: int = -1) -> Values:
        found: Values = over.sum(axis) / under.sum(axis)
        return found

    return resampled(quotient, (above, below), baseline, seed)


def resampled(
    statistic: Callable[..., Any],
    samples: Sequence[Sequence[float]],
    baseline: float | None = None,
    seed: int = 0,
) -> Estimate:
    """`statistic` of the samples, whose rows belong together, with its bootstrap interval (percentiles;
    Efron, 1979). It takes `axis`, as numpy's do. No interval is told of fewer than five examples, nor of
    equal ones: drawn again, they are what they were."""
    from scipy.stats import bootstrap

    columns = [np.asarray(sample, float) for sample in samples]
    value, n = float(statistic(*columns)), len(columns[0])
    if n < LEAST_EXAMPLES or not any(np.ptp(column) for column in columns):
        return exactly(value, n, baseline)
    found = bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=RESAMPLES_AT_ONCE,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return {"value": value, "low": float(found.low), "high": float(found.high), "baseline": baseline, "n": n}


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

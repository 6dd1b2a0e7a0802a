"""Which of two models answers better: the share of prompts whose answer of the one is judged the better."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.estimates import CONFIDENCE, Estimate, mean

RESAMPLES = 500
EVEN = 0.5
PENALTY = 1.0
"""Of the length's weight (L2), so that it stays finite where length alone tells wins from losses."""


def outcomes(scores: Sequence[float], reference: Sequence[float]) -> list[float]:
    """For each prompt 1 if the model's answer has the higher score, 0 if the reference's has, else 0.5."""
    return [
        EVEN if one == other else float(one > other) for one, other in zip(scores, reference, strict=True)
    ]


def win_rate(won: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of `outcomes`, with a bootstrap interval over prompts; its baseline is an even half."""
    return mean(won, baseline=EVEN, seed=seed)


def length_controlled(
    won: Sequence[float], tokens: Sequence[int], reference_tokens: Sequence[int], seed: int = 0
) -> Estimate:
    """The win rate that answers of equal length would have (Dubois et al., 2024, arXiv:2404.04475).

    A logistic regression of winning on tanh of the difference in length, in standard deviations; without
    it only the constant is left, which says how good the model is at equal length. The term for how
    hard each prompt is, which needs many models, is left out. The interval is a bootstrap over prompts.
    """
    difference = np.asarray(tokens, float) - np.asarray(reference_tokens, float)
    spread = float(difference.std())
    longer = np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)
    results = np.asarray(won, float)
    random = np.random.default_rng(seed)
    drawn = [
        _at_equal_length(results[rows], longer[rows])
        for rows in (random.integers(0, len(results), len(results)) for _ in range(RESAMPLES))
    ]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    value = _at_equal_length(results, longer)
    return {"value": value, "low": float(low), "high": float(high), "baseline": EVEN, "n": len(results)}


def _at_equal_length(won: NDArray[np.float64], longer: NDArray[np.float64]) -> float:
    """A tie is half a win and half a loss."""
    from sklearn.linear_model import LogisticRegression

    if won.min() == won.max() and won[0] in (0.0, 1.0):
        return float(won[0])
    weights = np.concatenate([won, 1 - won])
    known = weights > 0
    answers = np.repeat([1, 0], len(won))[known]
    lengths = np.concatenate([longer, longer])[known, None]
    model = LogisticRegression(C=1 / PENALTY).fit(lengths, answers, sample_weight=weights[known])
    return float(model.predict_proba(np.zeros((1, 1)))[0, 1])

"""Which of two models answers better: the share of prompts whose answer of the one is judged the better.

R resamples, N prompts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pipeline.evaluation.estimates import CONFIDENCE, Estimate, score

RESAMPLES = 500
EVEN = 0.5
PENALTY = 1.0
"""Of the length's weight (L2), so that it stays finite where length alone tells wins from losses."""
NEWTON_STEPS, LONGEST_STEP = 30, 2.0
LEAST_CURVE = 1e-9
"""Where everything is won, the constant grows without end; the rate is 1 by then."""


def outcomes(scores: Sequence[float], reference: Sequence[float]) -> list[float]:
    """For each prompt 1 if the model's answer has the higher score, 0 if the reference's has, else 0.5."""
    return [
        EVEN if one == other else float(one > other) for one, other in zip(scores, reference, strict=True)
    ]


def win_rate(won: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of `outcomes`, with an interval over prompts; its baseline is an even half."""
    return score(won, baseline=EVEN, seed=seed)


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
    longer_N = np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)
    won_N = np.asarray(won, float)
    drawn_RN = np.random.default_rng(seed).integers(0, len(won_N), (RESAMPLES, len(won_N)))
    rates_R = at_equal_length(won_N[drawn_RN], longer_N[drawn_RN])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(rates_R, [tail, 100 - tail])
    value = float(at_equal_length(won_N[None], longer_N[None])[0])
    return {"value": value, "low": float(low), "high": float(high), "baseline": EVEN, "n": len(won_N)}


def at_equal_length(won_RN: NDArray[np.float64], longer_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regressions of `won` on a constant and `longer`, one in each row, by Newton's method: what
    each foretells where nothing is longer. A tie is half a win and half a loss."""
    constant_R, slope_R = np.zeros(len(won_RN)), np.zeros(len(won_RN))
    for _ in range(NEWTON_STEPS):
        rates_RN = expit(constant_R[:, None] + slope_R[:, None] * longer_RN)
        missing_RN, weights_RN = won_RN - rates_RN, rates_RN * (1 - rates_RN)
        constant_gradient_R = missing_RN.sum(1)
        slope_gradient_R = (missing_RN * longer_RN).sum(1) - PENALTY * slope_R
        constant_curve_R = weights_RN.sum(1) + LEAST_CURVE
        slope_curve_R = (weights_RN * longer_RN**2).sum(1) + PENALTY
        mixed_R = (weights_RN * longer_RN).sum(1)
        scale_R = constant_curve_R * slope_curve_R - mixed_R**2
        constant_step_R = (slope_curve_R * constant_gradient_R - mixed_R * slope_gradient_R) / scale_R
        slope_step_R = (constant_curve_R * slope_gradient_R - mixed_R * constant_gradient_R) / scale_R
        constant_R += np.clip(constant_step_R, -LONGEST_STEP, LONGEST_STEP)
        slope_R += np.clip(slope_step_R, -LONGEST_STEP, LONGEST_STEP)
    return np.asarray(expit(constant_R))

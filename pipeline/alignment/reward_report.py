"""How good a reward model is on pairs that it was not trained on: right, sure of itself, fond of length.

Plain numbers in, JSON out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alignment.votes import wilson

BINS = 10
"""Of confidence, from a coin's 0.5 to 1."""


@dataclass(frozen=True)
class Scored:
    """A held-out pair with what the model gave its answers."""

    chosen: float
    rejected: float
    chosen_tokens: int
    """With the end marker."""
    rejected_tokens: int
    language: str = ""

    @property
    def margin(self) -> float:
        return self.chosen - self.rejected

    @property
    def right(self) -> float:
        """1, 0, or a half where both rewards are the same."""
        return 0.5 * ((self.margin > 0) + (self.margin >= 0))

    @property
    def longer(self) -> int:
        """Tokens by which the chosen answer is longer."""
        return self.chosen_tokens - self.rejected_tokens


def report(pairs: Sequence[Scored]) -> dict[str, Any]:
    """The content of reward.json."""
    languages = sorted({pair.language for pair in pairs if pair.language})
    return {
        "pairs": len(pairs),
        "accuracy": share(pairs),
        "margin": float(np.mean([pair.margin for pair in pairs])),
        "baselines": baselines(pairs),
        "languages": {name: share([pair for pair in pairs if pair.language == name]) for name in languages},
        "calibration": calibration(pairs),
        "length": length(pairs),
    }


def share(pairs: Sequence[Scored]) -> dict[str, Any]:
    """How often the chosen answer has the greater reward, with the 95 % interval."""
    if not pairs:
        return {"value": None, "low": None, "high": None, "pairs": 0}
    right = sum(pair.right for pair in pairs)
    low, high = wilson(round(right), len(pairs))
    return {"value": right / len(pairs), "low": low, "high": high, "pairs": len(pairs)}


def baselines(pairs: Sequence[Scored]) -> dict[str, float]:
    """What comes of preferring the longer answer each time, or the shorter one; equal lengths count half."""
    longer = float(np.mean([0.5 * ((pair.longer > 0) + (pair.longer >= 0)) for pair in pairs]))
    return {"longer": longer, "shorter": 1 - longer}


def calibration(pairs: Sequence[Scored]) -> dict[str, Any]:
    """Whether answers of which the model is so sure are preferred so often.

    A pair's confidence is the probability that the model gives to the answer that it prefers. `error`: the
    expected calibration error (Guo et al., 2017, arXiv:1706.04599), by bins of equal width; `brier`: the
    mean square of probability minus outcome; `bins`: those with pairs in them.
    """
    sure_N = np.array([1 / (1 + math.exp(-min(abs(pair.margin), 700.0))) for pair in pairs])
    right_N = np.array([pair.right for pair in pairs])
    bin_N = np.minimum(((sure_N - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = bin_N == number
        if inside.any():
            own = [pair for pair, within in zip(pairs, inside, strict=True) if within]
            bins.append(
                {
                    "from": 0.5 + number / (2 * BINS),
                    "to": 0.5 + (number + 1) / (2 * BINS),
                    "confidence": float(sure_N[inside].mean()),
                    **share(own),
                }
            )
    error = sum(each["pairs"] * abs(each["confidence"] - each["value"]) for each in bins) / len(pairs)
    return {"error": error, "brier": float(np.mean((sure_N - right_N) ** 2)), "bins": bins}


def length(pairs: Sequence[Scored]) -> dict[str, Any]:
    """What the length of an answer does to its reward.

    `correlation`: of reward and tokens over all answers (Pearson); `within_prompts`: of the differences
    between two answers to one prompt, so that what prompts do is out of it; `in_preferences`: of tokens and
    being chosen, which is what a model without a bias of its own would have learned; accuracy on pairs whose
    chosen answer is the shorter, and the longer.
    """
    tokens = [tokens for pair in pairs for tokens in (pair.chosen_tokens, pair.rejected_tokens)]
    given = [reward for pair in pairs for reward in (pair.chosen, pair.rejected)]
    signs = [sign for _ in pairs for sign in (1.0, -1.0)]
    # each pair twice, once from either side: which answer comes first must not matter
    differing = [(sign * pair.longer, sign * pair.margin) for pair in pairs for sign in (1, -1)]
    return {
        "correlation": _correlation(np.array(tokens, float), np.array(given)),
        "within_prompts": _correlation(*np.array(differing, float).T),
        "in_preferences": _correlation(np.array(tokens, float), np.array(signs)),
        "chosen_is_shorter": share([pair for pair in pairs if pair.longer < 0]),
        "chosen_is_longer": share([pair for pair in pairs if pair.longer > 0]),
        "same_length": share([pair for pair in pairs if pair.longer == 0]),
    }


def _correlation(one_N: NDArray[np.float64], other_N: NDArray[np.float64]) -> float:
    """Pearson's; 0 where one of the two never changes."""
    if one_N.std() == 0 or other_N.std() == 0:
        return 0.0
    return float(np.corrcoef(one_N, other_N)[0, 1])

"""The learning rate over a run."""

import math
from typing import Literal

Schedule = Literal["cosine", "wsd"]


def learning_rate_factor(
    step: int, steps: int, warmup_steps: int, schedule: Schedule, decay_fraction: float
) -> float:
    """What the peak learning rate is multiplied by at `step` (from 0) of `steps`; in (0, 1].

    A linear warm-up, then either half a cosine, or a plateau that ends in a linear decay over the
    last `decay_fraction` of the run (WSD: Hu et al., 2024, arXiv:2404.06395). Both end near zero,
    not at a tenth: Bergsma et al., 2025, arXiv:2502.15938.
    """
    warm = (step + 1) / warmup_steps if step < warmup_steps else 1.0
    if schedule == "cosine":
        done = max(0, step - warmup_steps) / max(1, steps - warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * done))
    decay_steps = max(1, round(decay_fraction * steps))
    return min(warm, (steps - step) / decay_steps, 1.0)

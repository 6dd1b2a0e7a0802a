"""A guard against spikes: an update whose loss or gradient stands far above the recent ones is not made.

The bar is the median of the last steps and so many times their spread, both told by ranks, so that the
outlier itself moves neither. What was skipped counts as recent too: where the spike is no spike but how
things are from now on, the bar follows within half a window.

It is a pure function of the losses and norms that it was shown. Both are sums over all ranks, equal on
each to the bit, so that all ranks decide alike without asking each other.
"""

import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Any

WINDOW_STEPS = 64
SPREAD_OF_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""
LEAST_SPREAD = 0.01
"""Of the median: where all steps are nearly alike, so much is no spike."""
SKIPS_IN_A_ROW = 16


@dataclass(frozen=True)
class Spike:
    """What stood out, and above what."""

    name: str
    """loss or gradient_norm."""
    value: float
    median: float
    bar: float


@dataclass
class SpikeGuard:
    """Remembers the last steps. Its state goes into checkpoints and comes back from there."""

    deviations: float
    """How far above the median an update may lie, in standard deviations."""
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_STEPS))
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_STEPS))
    in_a_row: int = 0
    """Updates skipped since the last that was made."""
    skipped: list[int] = field(default_factory=list)
    """Steps whose update was skipped, from the first step of the run on."""

    def spike(self, step: int, loss: float, norm: float) -> Spike | None:
        """Take note of a step; what stands out of the steps before it, if anything does."""
        found = self._outlier("loss", loss, self.losses)
        found = found or self._outlier("gradient_norm", norm, self.norms)
        self.losses.append(loss)
        self.norms.append(norm)
        self.in_a_row = self.in_a_row + 1 if found else 0
        if found:
            self.skipped.append(step)
        return found

    def _outlier(self, name: str, value: float, before: deque[float]) -> Spike | None:
        if len(before) < WINDOW_STEPS:
            return None
        median = statistics.median(before)
        spread = SPREAD_OF_NORMAL * statistics.median(abs(each - median) for each in before)
        bar = median + self.deviations * max(spread, LEAST_SPREAD * abs(median))
        return Spike(name, value, median, bar) if value > bar else None

    def state(self) -> dict[str, Any]:
        """As JSON; floats come back to the bit."""
        return {
            "losses": list(self.losses),
            "norms": list(self.norms),
            "in_a_row": self.in_a_row,
            "skipped": self.skipped,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where the state was taken."""
        self.losses.extend(state["losses"])
        self.norms.extend(state["norms"])
        self.in_a_row, self.skipped = state["in_a_row"], list(state["skipped"])

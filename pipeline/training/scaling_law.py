"""From trainings of several sizes to what a larger one would come to.

C compute in FLOP, L held-out bits per byte: L = a * (C / C0) ** -b + c (Kaplan et al., 2020,
arXiv:2001.08361; the floor c and the robust fit of logarithms as in Hoffmann et al., 2022,
arXiv:2203.15556). C0 is the geometric mean of the compute that was tried, so that a is a loss.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS_FOR_FLOOR = 4
"""With fewer points on the envelope the floor cannot be told from the exponent, and is taken for 0."""
HUBER = 1e-3
"""Residuals of log L beyond this count by their size, not its square (Hoffmann et al., 2022)."""
STARTS_EXPONENT, STARTS_FLOOR = (0.05, 0.15, 0.4), (0.01, 0.3, 0.7)
"""Where the search begins: exponents, and floors as a share of the lowest loss."""
STEEPEST = 2.0
"""Largest exponent that is looked for."""

Point = tuple[float, float]
"""Compute in FLOP, loss."""


@dataclass(frozen=True)
class ScalingLaw:
    """Loss as a function of compute."""

    scale: float
    """a: what compute can still take away at C0."""
    exponent: float
    """b."""
    floor: float
    """c: what no compute takes away; 0 where too few points tell it."""
    flops: float
    """C0."""

    def loss(self, flops: float) -> float:
        return self.scale * math.pow(flops / self.flops, -self.exponent) + self.floor

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def formula(self) -> str:
        """Such as `L = 0.62 * (C / 3.1e+13) ** -0.181 + 1.04`."""
        floor = f" + {self.floor:.3g}" if self.floor else ""
        return f"L = {self.scale:.3g} * (C / {self.flops:.2g}) ** -{self.exponent:.3f}{floor}"


def envelope(points: Sequence[Point]) -> list[Point]:
    """By rising compute, the points that no other with as little compute comes below."""
    best: list[Point] = []
    for flops, loss in sorted(points):
        if not best or loss < best[-1][1]:
            if best and best[-1][0] == flops:
                best.pop()
            best.append((flops, loss))
    return best


def fit(points: Sequence[Point]) -> ScalingLaw | None:
    """The law closest to the points, in logarithms; None if they have not two different computes."""
    flops = np.array([point[0] for point in points], np.float64)
    losses = np.array([point[1] for point in points], np.float64)
    if len(np.unique(flops)) < 2:
        return None
    middle = math.exp(float(np.log(flops).mean()))
    sizes = np.log(flops / middle)
    with_floor = len(np.unique(flops)) >= POINTS_FOR_FLOOR
    return _fit(sizes, np.log(losses), middle, STARTS_FLOOR if with_floor else ())


def _fit(
    sizes: NDArray[np.float64], losses: NDArray[np.float64], middle: float, floors: Sequence[float]
) -> ScalingLaw:
    """`sizes` and `losses` are logarithms. Least squares from several beginnings; the best one counts."""
    from scipy.optimize import least_squares

    low = float(np.exp(losses.min()))

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = x[0] - x[1] * sizes
        if floors:
            found = np.logaddexp(found, x[2])
        return found - losses

    best: Any = None
    for exponent in STARTS_EXPONENT:
        for share in floors or (None,):
            start = [math.log(low * (1 - (share or 0.0))), exponent]
            lower, upper = [-np.inf, 0.0], [np.inf, STEEPEST]
            if share is not None:
                start.append(math.log(low * share))
                lower.append(-30.0)
                upper.append(math.log(low))
            found = least_squares(
                residuals, start, bounds=(lower, upper), loss="huber", f_scale=HUBER, xtol=1e-14, ftol=1e-14
            )
            best = found if best is None or found.cost < best.cost else best
    floor = math.exp(best.x[2]) if floors else 0.0
    return ScalingLaw(math.exp(best.x[0]), float(best.x[1]), floor, middle)


def without_each(points: Sequence[Point]) -> list[ScalingLaw]:
    """The law fitted again without each of the points: how far they differ is how little is known."""
    rest = [[*points[:place], *points[place + 1 :]] for place in range(len(points))]
    return [law for law in map(fit, rest) if law is not None]


@dataclass(frozen=True)
class BestRate:
    """The learning rate at which the loss is lowest."""

    learning_rate: float
    inside: bool
    """Both sides of it were tried; else the best may lie beyond the grid."""


def best_rate(losses: Mapping[float, float]) -> BestRate:
    """The lowest point of a parabola through the best learning rate tried and its neighbours, in the
    logarithm of the rate; the best tried where it stands at the grid's end. Raises ValueError for none."""
    rates = sorted(losses)
    if not rates:
        raise ValueError("no learning rate was tried")
    place = min(range(len(rates)), key=lambda number: losses[rates[number]])
    if not 0 < place < len(rates) - 1:
        return BestRate(rates[place], inside=False)
    near = rates[place - 1 : place + 2]
    curve = np.polyfit([math.log(rate) for rate in near], [losses[rate] for rate in near], 2)
    if curve[0] <= 0:  # three equal losses
        return BestRate(rates[place], inside=True)
    lowest = math.exp(-curve[1] / (2 * curve[0]))
    return BestRate(float(min(max(lowest, near[0]), near[-1])), inside=True)

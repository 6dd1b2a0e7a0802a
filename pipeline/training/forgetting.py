"""What a model keeps of what it knew while it learns a domain: both texts' bits per byte, and a limit.

A model that goes on in another text loses some of the first (McCloskey and Cohen, 1989, "Catastrophic
interference in connectionist networks"); rows of the first that are mixed in keep most of it (Ibrahim et
al., 2024, arXiv:2403.08763). How much it lost is measured on general text that was held out.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.training.monitor import HeldOut

CURVES = "bits-per-byte.png"
DOMAIN, GENERAL = "#2a6f97", "#c8553d"


@dataclass(frozen=True)
class Point:
    """Held-out bits per byte of both texts after so many steps."""

    step: int
    domain: float
    general: float


@dataclass
class Forgetting:
    """The general text of a training, what it came to so far, and the limit for its rise."""

    held_out: "HeldOut"
    limit: float
    """Rise of the general text's bits per byte, as a share of what they were before the first step."""
    points: list[Point] = field(default_factory=list)

    def add(self, point: Point) -> None:
        """In the order of steps; a step that is measured again counts once."""
        self.points = [*(each for each in self.points if each.step < point.step), point]

    def rise(self) -> float:
        """Since before the first step, as a share; below 0 where the general text became likelier."""
        return self.points[-1].general / self.points[0].general - 1

    def is_broken(self) -> bool:
        return self.rise() > self.limit

    def told(self, last: bool) -> str | None:
        """What its user should know after the latest evaluation, if the general text is beyond the limit."""
        if not self.is_broken():
            return None
        before, now = self.points[0], self.points[-1]
        when = (
            "after the last step" if last else f"at step {now.step}; what counts is the end of the training"
        )
        return (
            f"general text takes {now.general:.4f} bits per byte, {self.rise():+.1%} of the "
            f"{before.general:.4f} before the training; the limit is {self.limit:+.1%} "
            f"(pretrain.general.limit), {when}"
        )

    def metrics(self) -> dict[str, float]:
        """Of the latest evaluation."""
        return {"general_bits_per_byte": self.points[-1].general, "general_rise": self.rise()}

    def state(self) -> list[tuple[int, float, float]]:
        """For a checkpoint."""
        return [astuple(point) for point in self.points]

    def restore(self, state: Sequence[tuple[int, float, float]]) -> None:
        self.points = [Point(*each) for each in state]

    def figures(self) -> dict[str, float]:
        """For the record."""
        before = self.points[0]
        return {
            "held_out_bits_per_byte_before": before.domain,
            "general_bits_per_byte_before": before.general,
            **self.metrics(),
        }

    def draw(self, path: Path) -> None:
        """Both curves, and the line that the general one must end below."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5.5), layout="constrained")
        axes = figure.subplots()
        steps, most = [point.step for point in self.points], self.points[0].general * (1 + self.limit)
        for label, color, values in (
            ("domain", DOMAIN, [point.domain for point in self.points]),
            ("general text", GENERAL, [point.general for point in self.points]),
        ):
            axes.plot(steps, values, color=color, marker="o", markersize=3)
            axes.annotate(
                f"{label} {values[0]:.3f} → {values[-1]:.3f} ({values[-1] / values[0] - 1:+.1%})",
                (steps[-1], values[-1]),
                xytext=(-4, 7),
                textcoords="offset points",
                ha="right",
                color=color,
            )
        axes.axhline(most, color=GENERAL, linestyle=":", linewidth=1)
        axes.annotate(
            f"limit of general text: {self.limit:+.1%}",
            (0, most),
            xytext=(4, 4),
            textcoords="offset points",
            color=GENERAL,
        )
        axes.set_title("held-out text while the domain is learned")
        axes.set_xlabel("steps")
        axes.set_ylabel("bits per UTF-8 byte (lower is better)")
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=120)

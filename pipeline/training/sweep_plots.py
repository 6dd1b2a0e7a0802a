"""Pictures of a sweep, drawn without a display."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.training.scaling_law import ScalingLaw

LAW, RATES = "loss-against-compute.png", "learning-rates.png"
TRIED, LINE, DIM = "#b8c4cc", "#2a6f97", "#777777"
DEPTHS = ("#2a6f97", "#c8553d", "#588157", "#8a5a9e", "#b08900", "#444444")
CURVE_POINTS = 200


def draw(trials: Sequence[Mapping[str, Any]], found: Mapping[str, Any], folder: Path) -> list[str]:
    """The pictures that there is something to show in; their names."""
    good = [trial for trial in trials if trial["bits_per_byte"] is not None]
    drawn = {}
    if good:
        drawn[LAW] = _law(good, found["law"])
    if any(len(group["bits_per_byte"]) > 1 for group in found["rates"]):
        drawn[RATES] = _rates(found["rates"])
    for name, figure in drawn.items():
        figure.savefig(folder / name, dpi=120)
    return list(drawn)


def _axes(title: str, across: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel("held-out bits per UTF-8 byte (lower is better)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _law(trials: Sequence[Mapping[str, Any]], law: Mapping[str, Any] | None) -> Figure:
    """Every trial, the lower envelope, the law through it, and what it foretells with its uncertainty."""
    figure, axes = _axes("held-out loss against compute", "compute of the training (FLOP)")
    axes.scatter(
        [trial["flops"] for trial in trials],
        [trial["bits_per_byte"] for trial in trials],
        color=TRIED,
        label=f"{len(trials)} trials",
    )
    if law is None:
        axes.legend(frameon=False)
        return figure
    best = np.array(law["envelope"])
    axes.scatter(best[:, 0], best[:, 1], color=LINE, label="lower envelope", zorder=3)
    last = law["foretold"][-1]["flops"]
    flops = np.geomspace(best[0, 0], last, CURVE_POINTS)
    tried = flops <= best[-1, 0]
    losses = _losses(law, flops)
    axes.plot(flops[tried], losses[tried], color=LINE, label=law["formula"])
    sure = "" if law["others"] else f", too few trials ({len(best)}) to say how far off"
    axes.plot(flops[~tried], losses[~tried], color=LINE, linestyle="--", label=f"extrapolation{sure}")
    if law["others"]:
        each = np.array([losses, *(_losses(other, flops) for other in law["others"])])
        axes.fill_between(
            flops,
            each.min(axis=0),
            each.max(axis=0),
            color=LINE,
            alpha=0.12,
            linewidth=0,
            label="fits that leave one point out",
        )
    for told in law["foretold"]:
        at = told["flops"], told["bits_per_byte"]
        axes.scatter(*at, facecolors="white", edgecolors=LINE, zorder=3)
        axes.annotate(
            f"{told['bits_per_byte']:.2f} at {told['flops']:.1e}",
            at,
            textcoords="offset points",
            xytext=(0, 16),
            ha="center",
            color=DIM,
        )
    axes.margins(y=0.1)
    axes.legend(frameon=False)
    return figure


def _losses(law: Mapping[str, Any], flops: Any) -> Any:
    known = ScalingLaw(**{name: law[name] for name in ScalingLaw.__dataclass_fields__})
    return np.array([known.loss(float(each)) for each in flops])


def _rates(groups: Sequence[Mapping[str, Any]]) -> Figure:
    """A line for each depth, and for each other setting that was tried with it."""
    figure, axes = _axes("held-out loss against the learning rate", "peak learning rate")
    for number, group in enumerate(groups):
        colour = DEPTHS[number % len(DEPTHS)]
        rates, bits = zip(*group["bits_per_byte"], strict=True)
        name = ", ".join(f"{axis} {value}" for axis, value in group["shared"].items())
        name = name or f"depth {group['depth']}"
        beyond = "" if group["inside"] else " (at the end of what was tried)"
        axes.plot(
            rates, bits, marker="o", color=colour, label=f"{name}: best {group['best_rate']:.2g}{beyond}"
        )
        axes.axvline(group["best_rate"], color=colour, linewidth=0.8, linestyle=":")
    figure.legend(frameon=False, loc="outside lower center")
    ticks = sorted({rate for group in groups for rate, _ in group["bits_per_byte"]})
    if len(ticks) <= 10 and math.log10(ticks[-1] / ticks[0]) < 3:
        axes.set_xticks(ticks, [f"{rate:.2g}" for rate in ticks])
        axes.minorticks_off()
    return figure

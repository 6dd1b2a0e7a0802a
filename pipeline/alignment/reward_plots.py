"""What a reward model does on held-out pairs, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.alignment.reward_report import Scored

CHOSEN_COLOUR, REJECTED_COLOUR, LINE_COLOUR = "#2a6f97", "#e08e45", "#555555"
STRETCHES = 8
"""Of lengths, as many answers in each, whose mean reward is drawn."""
OF_LENGTHS = {
    "chosen_is_shorter": "the preferred answer is the shorter",
    "same_length": "both are as long",
    "chosen_is_longer": "the preferred answer is the longer",
}


def plot_reward(report: Mapping[str, Any], pairs: Sequence[Scored], folder: Path) -> None:
    """`rewards.png`, `calibration.png` and `length.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    _rewards(report, pairs).savefig(folder / "rewards.png", dpi=120)
    _calibration(report).savefig(folder / "calibration.png", dpi=120)
    _length(report, pairs).savefig(folder / "length.png", dpi=120)


def _rewards(report: Mapping[str, Any], pairs: Sequence[Scored]) -> Figure:
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    panel = figure.subplots()
    chosen, rejected = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    edges = np.histogram_bin_edges([*chosen, *rejected], bins=30).tolist()
    for values, colour, name in (
        (rejected, REJECTED_COLOUR, "rejected answers"),
        (chosen, CHOSEN_COLOUR, "preferred answers"),
    ):
        panel.hist(values, bins=edges, color=colour, alpha=0.6, label=name)
    panel.legend(frameon=False)
    panel.set_xlabel("reward")
    panel.set_ylabel("answers")
    value, low, high = (100 * report["accuracy"][name] for name in ("value", "low", "high"))
    best = 100 * max(report["baselines"].values())
    panel.set_title(
        f"{value:.1f} % of {len(pairs):,} held-out pairs the right way round ({low:.1f} to {high:.1f})\n"
        f"going by length alone: {best:.1f} %",
        loc="left",
        fontsize=10,
    )
    _bare(panel)
    return figure


def _calibration(report: Mapping[str, Any]) -> Figure:
    """The reliability diagram, and below it how many pairs there are of each confidence."""
    found = report["calibration"]
    figure = Figure(figsize=(6, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0.5, 1], [0.5, 1], color=LINE_COLOUR, linestyle="--", linewidth=1, label="as sure as right")
    at = [each["confidence"] for each in found["bins"]]
    values = [each["value"] for each in found["bins"]]
    below = [each["value"] - min(each["low"], each["value"]) for each in found["bins"]]
    above = [max(each["high"], each["value"]) - each["value"] for each in found["bins"]]
    upper.errorbar(at, values, [below, above], fmt="o-", color=CHOSEN_COLOUR, label="with 95 % interval")
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share that is right")
    upper.legend(frameon=False, loc="lower right")
    upper.set_title(
        f"expected calibration error {found['error']:.3f}, Brier score {found['brier']:.3f}",
        loc="left",
        fontsize=10,
    )
    widths = [each["to"] - each["from"] for each in found["bins"]]
    starts = [each["from"] for each in found["bins"]]
    counts = [each["pairs"] for each in found["bins"]]
    lower.bar(starts, counts, widths, align="edge", color=CHOSEN_COLOUR, edgecolor="white")
    lower.set_xlim(0.5, 1)
    lower.set_xlabel("probability that the model gives to the answer it prefers")
    lower.set_ylabel("pairs")
    for panel in (upper, lower):
        _bare(panel)
    return figure


def _length(report: Mapping[str, Any], pairs: Sequence[Scored]) -> Figure:
    """Every answer by length and reward, with the mean along the lengths; accuracy by which is longer."""
    found = report["length"]
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1])
    sides = (
        (
            [pair.rejected_tokens for pair in pairs],
            [pair.rejected for pair in pairs],
            REJECTED_COLOUR,
            "rejected",
        ),
        ([pair.chosen_tokens for pair in pairs], [pair.chosen for pair in pairs], CHOSEN_COLOUR, "preferred"),
    )
    for tokens, given, colour, name in sides:
        upper.scatter(tokens, given, s=12, color=colour, alpha=0.5, label=name, linewidths=0)
    all_tokens = np.concatenate([np.array(side[0], float) for side in sides])
    all_given = np.concatenate([np.array(side[1]) for side in sides])
    order = np.argsort(all_tokens, kind="stable")
    parts = [part for part in np.array_split(order, STRETCHES) if len(part)]
    means = [(all_tokens[part].mean(), all_given[part].mean()) for part in parts]
    upper.plot(*zip(*means, strict=True), color=LINE_COLOUR, marker="s", markersize=4, label="mean")
    upper.legend(frameon=False)
    upper.set_xlabel("tokens of the answer")
    upper.set_ylabel("reward")
    upper.set_title(
        f"correlation of reward and length {found['correlation']:+.2f}; between answers to one prompt "
        f"{found['within_prompts']:+.2f};\nof length and being preferred, in the pairs themselves, "
        f"{found['in_preferences']:+.2f}",
        loc="left",
        fontsize=10,
    )
    known = {name: found[name] for name in OF_LENGTHS if found[name]["pairs"]}
    labels = [f"{OF_LENGTHS[name]} ({known[name]['pairs']:,})" for name in known]
    bars = lower.barh(labels, [100 * each["value"] for each in known.values()], color=CHOSEN_COLOUR)
    lower.bar_label(bars, fmt="%.0f %%", padding=3)
    lower.axvline(50, color=LINE_COLOUR, linestyle="--", linewidth=1)
    lower.set_xlim(0, 108)
    lower.invert_yaxis()
    lower.set_xlabel("pairs the right way round (%); a coin's 50 dashed")
    for panel in (upper, lower):
        _bare(panel)
    return figure


def _bare(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)

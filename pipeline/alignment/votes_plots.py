"""What became of the votes, and how far each voter agrees with the others, drawn without a display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pipeline.alignment.votes import VotesConfig

COUNTED_COLOUR, OUT_COLOUR, LIMIT_COLOUR = "#2a6f97", "#c44e52", "#555555"
REASONS = {
    "same-answers": "the two answers are the same",
    "too-fast": "given before both could be read",
    "repeated": "said before by the same voter",
    "contradicting": "against the same voter's other votes",
    "disagrees": "of a voter who disagrees with the others",
    "tie": "a tie, after all were counted",
}
MOST_VOTERS = 40
"""That are drawn: those who agree least."""


def plot_votes(agreement: Mapping[str, Any], config: VotesConfig, folder: Path) -> None:
    """`left-out.png`, and `voters.png` where voters are known who judged the same pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    _left_out(agreement).savefig(folder / "left-out.png", dpi=120)
    shared = {name: voter for name, voter in agreement["voters"].items() if voter["shared"]}
    if shared:
        _voters(shared, agreement, config).savefig(folder / "voters.png", dpi=120)


def _left_out(agreement: Mapping[str, Any]) -> Figure:
    counts = agreement["left_out"]
    counted = agreement["votes"] - sum(counts.values())
    names = [reason for reason in REASONS if reason in counts]
    figure = Figure(figsize=(7.5, 1.2 + 0.4 * (len(names) + 1)), layout="constrained")
    panel = figure.subplots()
    bars = panel.barh(
        ["counted", *(REASONS[name] for name in names)],
        [counted, *(counts[name] for name in names)],
        color=[COUNTED_COLOUR, *(OUT_COLOUR for _ in names)],
    )
    panel.bar_label(bars, fmt="{:,.0f}", padding=3)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel("votes")
    panel.set_title(f"What became of {agreement['votes']:,} votes", loc="left")
    return figure


def _voters(voters: Mapping[str, Any], agreement: Mapping[str, Any], config: VotesConfig) -> Figure:
    order = sorted(voters, key=lambda name: (voters[name]["agreed"] / voters[name]["shared"], name))
    order = order[:MOST_VOTERS]
    figure = Figure(figsize=(7.5, 1.4 + 0.32 * len(order)), layout="constrained")
    panel = figure.subplots()
    for place, name in enumerate(order):
        voter = voters[name]
        share = voter["agreed"] / voter["shared"]
        believed = voter["shared"] < config.least_shared or voter["high"] >= config.least_agreement
        colour = COUNTED_COLOUR if believed else OUT_COLOUR
        panel.plot([voter["low"], voter["high"]], [place, place], color=colour, linewidth=2)
        panel.plot(share, place, "o", color=colour)
    panel.axvline(config.least_agreement, color=LIMIT_COLOUR, linestyle="--", linewidth=1)
    panel.set_yticks(range(len(order)), [f"{name} ({voters[name]['shared']:,})" for name in order])
    panel.set_xlim(0, 1)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel("share of votes as the majority of the others, with its 95 % interval")
    panel.set_ylabel("voter (shared votes)")
    alpha = agreement["alpha"]
    told = "" if alpha is None else f"; Krippendorff's alpha of all votes {alpha:.2f}"
    panel.set_title(f"Red: left out, surely below the dashed line{told}", loc="left", fontsize=10)
    return figure

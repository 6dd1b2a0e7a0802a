"""Rounds of feedback as a picture, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pipeline.alignment.votes import wilson

if TYPE_CHECKING:
    from pipeline.alignment.rounds import Verdict

RATING_COLOUR, WON_COLOUR, LOST_COLOUR, EVEN_COLOUR = "#2a6f97", "#2a6f97", "#c44e52", "#555555"


def plot_rounds(verdicts: "Sequence[Verdict]", path: Path) -> None:
    """The champion's rating over the rounds; below it how each challenger did, with 95 % intervals."""
    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    numbers = [each.number for each in verdicts]
    above.step(numbers, [each.rating for each in verdicts], where="mid", color=RATING_COLOUR)
    above.plot(numbers, [each.rating for each in verdicts], "o", color=RATING_COLOUR)
    above.set_ylabel("Elo points")
    above.set_title("Rating of the champion, above the first model", loc="left")
    for each in verdicts:
        if decided := each.won + each.lost:
            low, high = wilson(each.won, decided)
            share = each.won / decided
            colour = WON_COLOUR if each.promoted else LOST_COLOUR
            below.errorbar(
                each.number, share, [[share - low], [high - share]], fmt="o", capsize=4, color=colour
            )
            below.annotate(
                f" {decided + each.tied} choices{'' if each.promoted else ', not promoted'}",
                (each.number, share),
            )
    below.axhline(0.5, color=EVEN_COLOUR, linestyle=":", linewidth=1)
    below.set_ylim(0, 1)
    below.set_xlim(0.5, max(numbers) + 1)
    below.set_xticks(numbers)
    below.set_xlabel("round")
    below.set_ylabel("share won")
    below.set_title("Challenger against champion, ties left out", loc="left")
    for panel in (above, below):
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)

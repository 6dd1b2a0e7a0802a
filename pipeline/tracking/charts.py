"""Pictures for the runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = "#4878a8"


def bars(counts: Mapping[str, int], title: str) -> "Figure":
    """A horizontal bar for each name, the longest on top, with its number beside it."""
    from matplotlib.figure import Figure

    names = sorted(counts, key=lambda name: (counts[name], name))
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(names)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(names, [counts[name] for name in names], color=COLOUR)
    axes.bar_label(drawn, labels=[f"{counts[name]:,}" for name in names], padding=3)
    axes.set_title(title)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    return figure

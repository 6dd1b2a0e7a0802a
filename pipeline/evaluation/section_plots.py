"""The figures of each section as dots with their intervals, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Drawing

from pipeline.evaluation.figures import SECTIONS, Figure, figures
from pipeline.evaluation.tasks.plots import plot_shots
from pipeline.tracking.report_pages import drawing, picture

VALUE_COLOUR, BASELINE_COLOUR = "#2a6f97", "#8a9aa5"
NOT_DRAWN = ("tasks", "harness")
"""Sections whose figures have a plot of their own, or are what the user chose."""


def plot_sections(content: Mapping[str, Any], folder: Path) -> None:
    """`likelihood.png`, `bias.png` and so on, a panel for each kind of figure."""
    folder.mkdir(parents=True, exist_ok=True)
    known = figures(content)
    with drawing():
        for section, title in SECTIONS.items():
            own = [figure for figure in known if figure.section == section]
            if own and section not in NOT_DRAWN:
                title = f"{title}: {content['model']['role']}"
                intervals(by_kind(own), title).savefig(folder / f"{section}.png", dpi=110)


def by_kind(own: Sequence[Figure]) -> list[list[Figure]]:
    """The figures of each kind together, in their order."""
    kinds: dict[str, list[Figure]] = {}
    for figure in own:
        kinds.setdefault(figure.kind.pattern, []).append(figure)
    return list(kinds.values())


def intervals(panels: Sequence[Sequence[Figure]], title: str, titles: Sequence[str] = ()) -> Drawing:
    """A row for each figure: its value, its interval, and its baseline as a stroke. `titles`: of the panels,
    where what their figures mean does not tell them apart."""
    heights = [len(panel) + 2.6 for panel in panels]
    whole = Drawing(figsize=(8, 0.6 + 0.3 * sum(heights)), layout="constrained")
    whole.suptitle(title)
    axes = whole.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for place, panel, about in zip(axes, panels, titles or [""] * len(panels), strict=True):
        for row, figure in enumerate(panel):
            estimate = figure.estimate
            if estimate["low"] is not None and estimate["high"] is not None:
                place.plot([estimate["low"], estimate["high"]], [row, row], color=VALUE_COLOUR, linewidth=2)
            place.plot(estimate["value"], row, "o", color=VALUE_COLOUR, markersize=5)
            if estimate["baseline"] is not None:
                place.plot(estimate["baseline"], row, "|", color=BASELINE_COLOUR, markersize=12)
        place.set_yticks(range(len(panel)), [figure.label for figure in panel])
        place.set_ylim(len(panel) - 0.4, -0.6)
        place.set_xlabel(panel[0].kind.meaning, fontsize=8)
        place.set_title(about, fontsize=9, loc="left")
        place.grid(axis="x", alpha=0.3)
        place.spines[["top", "right"]].set_visible(False)
    return whole


def plot_tasks(tasks: Mapping[str, Any], path: Path) -> None:
    """Scores against the number of examples as PNG. `tasks`: role → scores."""
    with drawing():
        plot_shots(tasks).savefig(path, dpi=110)


def tasks_svg(tasks: Mapping[str, Any]) -> str:
    """The same as an svg element that takes the page's colours."""
    with drawing():
        figure = plot_shots(tasks)
        figure.set_facecolor("none")
        for panel in figure.axes:
            panel.set_facecolor("none")
        for legend in figure.legends:
            legend.get_frame().set_alpha(0)
        return picture(figure).replace("#000000", "currentColor").replace("<svg ", '<svg class="plot" ', 1)

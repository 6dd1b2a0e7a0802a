"""Score against the number of examples, drawn without a display."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.tasks.kinds import MAIN_METRIC, TITLES
from pipeline.evaluation.tasks.run import Scores

COLUMNS = 3
COLOURS = ("#2a6f97", "#d1495b", "#66a182", "#edae49", "#7b5ea7", "#8d6b4f")
BASELINE_COLOUR = "#8a959c"
APART = 0.06
"""How far the models' points stand apart, in places of the axis."""


def plot_shots(models: Mapping[str, Scores]) -> Figure:
    """A panel for each task: every model's main score with its interval (95 %), the baseline dashed.

    `models` is name → scores, in the order of the legend; a task that a model lacks is left out there.
    """
    tasks = list(dict.fromkeys(task for scores in models.values() for task in scores))
    rows = max(1, -(-len(tasks) // COLUMNS))
    figure = Figure(figsize=(3.4 * COLUMNS, 0.6 + 2.5 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for panel, task in zip(panels, tasks, strict=False):
        _task(panel, task, {name: scores[task] for name, scores in models.items() if task in scores}, models)
    for panel in panels[len(tasks) :]:
        panel.set_visible(False)
    labels = dict(
        pair for panel in panels for pair in zip(*panel.get_legend_handles_labels()[::-1], strict=True)
    )
    if labels:
        figure.legend(list(labels.values()), list(labels), loc="outside upper center", ncols=len(labels))
    return figure


def _arms(estimate: Estimate) -> tuple[float, float]:
    """How far the interval reaches below and above; not at all where there is none."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    below, above = (0.0 if end is None else abs(end - value) for end in (low, high))
    return below, above


def _task(panel: Any, task: str, scores: Mapping[str, Any], models: Mapping[str, Any]) -> None:
    kind, _, language = task.partition(".")
    title = TITLES.get(kind, {}).get(language, task)
    metric = MAIN_METRIC.get(kind) or next(iter(next(iter(next(iter(scores.values())).values()))))
    shots = sorted({int(count) for by_shots in scores.values() for count in by_shots})
    for place, name in enumerate(models):
        if name in scores:
            found = {int(count): measured[metric] for count, measured in scores[name].items()}
            at = [shots.index(count) + APART * (place - (len(models) - 1) / 2) for count in sorted(found)]
            values = [found[count] for count in sorted(found)]
            arms = [_arms(each) for each in values]
            panel.errorbar(
                at,
                [each["value"] for each in values],
                yerr=list(zip(*arms, strict=True)),
                fmt="o-",
                markersize=4,
                capsize=3,
                color=COLOURS[place % len(COLOURS)],
                label=name,
            )
    baseline = next(iter(next(iter(scores.values())).values()))[metric].get("baseline")
    if baseline is not None:
        panel.axhline(baseline, linestyle="--", linewidth=1, color=BASELINE_COLOUR, label="trivial baseline")
    panel.set_xticks(range(len(shots)), [str(count) for count in shots])
    panel.set_ylim(-0.03, 1.03)
    panel.set_title(f"{title}\n{metric}", fontsize=9)
    panel.set_xlabel("examples shown", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)

"""The page that sets models side by side, from `comparison.json`: one HTML file that loads nothing."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.evaluation.compare_report import judge_of, panels_of, title_of
from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.figures import SECTIONS, Figure, better, figure_of, shown, shown_interval
from pipeline.evaluation.pages import (
    DIRECTION,
    NOTES,
    axis,
    drawn,
    environment,
    figure_table,
    fitted,
    plots_of,
    tables_of,
)

MARKS = {True: ("▲", "clearly better", "good"), False: ("▼", "clearly worse", "bad")}


def comparison_page(content: Mapping[str, Any]) -> str:
    """The whole file."""
    plots = plots_of(content["tasks"])
    roles = [model["role"] for model in content["models"]]
    found = [figure_of(name, next(iter(by_role.values()))) for name, by_role in content["figures"].items()]
    known = [figure for figure in found if figure is not None]
    sections = [
        {
            "title": title,
            "note": NOTES[section] + fitted(content["task_prompts"], section),
            "tables": tables_of(own, partial(_side_by_side, roles=roles, content=content)),
            "plot": plots.get(section, ""),
        }
        for section, title in SECTIONS.items()
        if (own := [figure for figure in known if figure.section == section])
    ]
    return (
        environment()
        .get_template("comparison.html.jinja")
        .render(
            title=f"{', '.join(roles[:-1])} and {roles[-1]} compared" if len(roles) > 1 else roles[0],
            verdict=content["verdict"],
            about=_about(content),
            roles=roles,
            reference=content["reference"],
            judged=_judged(content),
            head_to_head=_head_to_head(content),
            parts=_parts(content),
            sections=sections,
            answers=content["answers"],
        )
    )


def _about(content: Mapping[str, Any]) -> str:
    models = [
        f"{model['role']} ({model['artifact']}"
        + (f", {model['parameters'] / 1e6:.1f} million weights)" if model["parameters"] else ")")
        for model in content["models"]
    ]
    return "; ".join(models)


def _judged(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each judge and one for the likelihood of unseen text, each against the reference."""
    tables = []
    for panel in panels_of(content):
        table = figure_table(panel) | {"folded": False, "title": title_of(panel)}
        if (judge := judge_of(panel)) is not None:
            by_role = content["judges"][judge]
            meaning = content["judge_means"].get(judge)
            table["note"] += f" The judge's score: {meaning.rstrip('.')}." if meaning else ""
            for row in table["rows"]:
                row["more"] = _judged_row(by_role[row["label"]], content["scores"][judge][row["label"]])
            own = content["scores"][judge][content["reference"]]
            table["note"] += (
                f" Mean score of {content['reference']}'s answers: {shown(own['value'], 'score')}."
            )
        tables.append(table)
    return tables


def _judged_row(found: Mapping[str, Estimate], score: Estimate) -> str:
    equal = found["length_controlled"]
    return (
        f"at equal length {shown(equal['value'], 'share')} ({shown_interval(equal, 'share')}); "
        f"mean score {shown(score['value'], 'score')}"
    )


def _parts(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each judge that tells parts of its score, their means by model."""
    return [
        {
            "judge": judge,
            "roles": list(content["scores"][judge]),
            "rows": [
                {"label": part, "cells": [_mean(by_role[role]) for role in content["scores"][judge]]}
                for part, by_role in [*parts.items(), ("together", content["scores"][judge])]
            ],
        }
        for judge, parts in content["parts"].items()
        if parts
    ]


def _mean(found: Estimate) -> dict[str, str]:
    return {"value": shown(found["value"], "score"), "interval": shown_interval(found, "score")}


def _head_to_head(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each judge, how often each model's answers are preferred to each other's."""
    if len(content["models"]) < 3:
        return []  # the tables against the reference say it all
    return [
        {
            "judge": judge,
            "rows": [
                {
                    "label": one,
                    "cells": [
                        {"value": shown(found["value"], "share"), "interval": shown_interval(found, "share")}
                        if other != one
                        else None
                        for other, found in others.items()
                    ],
                }
                for one, others in pairs.items()
            ],
        }
        for judge, pairs in content["head_to_head"].items()
    ]


def _side_by_side(own: Sequence[Figure], roles: Sequence[str], content: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of one kind, a row for each, a column for each model."""
    kind = own[0].kind
    everything = [estimate for figure in own for estimate in content["figures"][figure.name].values()]
    span = axis(everything, kind.unit)
    note = f"{kind.meaning[0].upper()}{kind.meaning[1:]}."
    baseline = f"Baseline: {kind.baseline}." if kind.baseline else ""
    shared = all(len(_baselines(figure, content)) < 2 for figure in own)
    return {
        "note": " ".join(filter(None, (note, DIRECTION[kind.better], baseline))),
        "has_baseline": shared and any(estimate["baseline"] is not None for estimate in everything),
        "own_baselines": not shared,
        "rows": [
            {
                "label": figure.label,
                "n": _examples(figure, content),
                "baseline": shown(figure.estimate["baseline"], kind.unit),
                "cells": [_cell(figure, role, span, content) for role in roles],
            }
            for figure in own
        ],
    }


def _examples(figure: Figure, content: Mapping[str, Any]) -> str:
    """On how many examples the models' figures were measured."""
    counts = {estimate["n"] for estimate in content["figures"][figure.name].values()}
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def _baselines(figure: Figure, content: Mapping[str, Any]) -> set[float]:
    """Those that the models have for this figure: one, or each its own."""
    found = content["figures"][figure.name].values()
    return {estimate["baseline"] for estimate in found if estimate["baseline"] is not None}


def _cell(
    figure: Figure, role: str, span: tuple[float, float], content: Mapping[str, Any]
) -> dict[str, Any] | None:
    """None where the model has no such figure."""
    by_role = content["figures"][figure.name]
    if role not in by_role:
        return None
    estimate, unit = by_role[role], figure.kind.unit
    reference = by_role.get(content["reference"])
    wins = None
    if reference is not None and role != content["reference"]:
        wins = better(
            Figure(figure.name, figure.label, figure.kind, estimate),
            Figure(figure.name, figure.label, figure.kind, reference),
        )
    return {
        "value": shown(estimate["value"], unit),
        "interval": shown_interval(estimate, unit),
        "baseline": shown(estimate["baseline"], unit),
        "drawn": drawn(estimate, span, unit),
        "mark": MARKS.get(wins) if wins is not None else None,
    }

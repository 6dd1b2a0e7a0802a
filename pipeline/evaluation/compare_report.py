"""Models side by side: win rates, figures, what follows from them; `comparison.json` and the page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation import estimates
from pipeline.evaluation.compare import COMPARISON, PAGE, Assessed, CompareConfig, Judgement
from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.figures import BITS_RATIO, WIN_RATE, Figure, better, figures
from pipeline.evaluation.win_rate import length_controlled, outcomes, win_rate
from pipeline.store import Attempt, Made
from pipeline.tracking.report_pages import drawing


def write_comparison(
    attempt: Attempt,
    assessed: Sequence[Assessed],
    judgements: Mapping[str, Judgement],
    config: CompareConfig,
) -> Made:
    """Write everything and hand back what goes into the record."""
    from pipeline.evaluation.compare_page import comparison_page
    from pipeline.evaluation.section_plots import intervals, plot_tasks

    content = put_together(assessed, judgements, config)
    attempt.path(COMPARISON).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    attempt.path(PAGE).write_text(comparison_page(content))
    panels = panels_of(content)
    attempt.path("plots/.").mkdir(parents=True, exist_ok=True)
    if panels:
        title = f"Compared with {content['reference']}"
        with drawing():
            intervals(panels, title, [title_of(panel) for panel in panels]).savefig(
                attempt.path("plots/against-reference.png"), dpi=110
            )
    if any(content["tasks"].values()):
        plot_tasks(content["tasks"], attempt.path("plots/tasks.png"))
    return Made(
        files={name: attempt.publish(attempt.path(name)) for name in (COMPARISON, PAGE)}
        | attempt.publish_folder("plots"),
        counts={"models": len(assessed), "questions": len(assessed[0].answers)},
        figures=_record_figures(content),
    )


def put_together(
    assessed: Sequence[Assessed], judgements: Mapping[str, Judgement], config: CompareConfig
) -> dict[str, Any]:
    """The content of comparison.json; `judgements` by judge, the first of which decides."""
    from pipeline.evaluation.verdict import verdict

    (reference,) = [model for model in assessed if model.role == config.reference]
    content: dict[str, Any] = {
        "reference": reference.role,
        "models": [model.content["model"] for model in assessed],
        "judges": {
            judge: {
                model.role: _judged(model, reference, found.scores, config.seed)
                for model in assessed
                if model is not reference
            }
            for judge, found in judgements.items()
        },
        "head_to_head": {
            judge: {
                one: {other: _preferred(mine, others, config.seed) for other, others in found.scores.items()}
                for one, mine in found.scores.items()
            }
            for judge, found in judgements.items()
        },
        "trained_to_please": {judge: list(found.pleased) for judge, found in judgements.items()},
        "labelled": {judge: list(found.labelled) for judge, found in judgements.items()},
        "judge_means": {judge: found.meaning for judge, found in judgements.items()},
        "scores": {judge: _means(found.scores, config.seed) for judge, found in judgements.items()},
        "parts": {
            judge: {part: _means(by_role, config.seed) for part, by_role in found.parts.items()}
            for judge, found in judgements.items()
        },
        "parts_most": {
            judge: {part: max(map(max, by_role.values())) for part, by_role in found.parts.items()}
            for judge, found in judgements.items()
        },
        "bits_ratio": {
            model.role: _bits_ratio(model, reference, config.seed)
            for model in assessed
            if model is not reference and model.documents
        },
        "figures": _side_by_side(assessed),
        "clear": {model.role: _clear(model, reference) for model in assessed if model is not reference},
        "tasks": {model.role: model.content["tasks"] for model in assessed},
        "task_prompts": reference.content["task_prompts"],
        "answers": _answers(assessed, config.shown_answers),
    }
    best, sentences = verdict(content)
    return content | {"best": best, "verdict": sentences}


def _means(by_role: Mapping[str, Sequence[float]], seed: int) -> dict[str, Estimate]:
    return {role: estimates.mean(list(values), seed=seed) for role, values in by_role.items()}


def _preferred(mine: Sequence[float], others: Sequence[float], seed: int) -> Estimate:
    """How often one model's answer is preferred to another's, question by question."""
    return win_rate(outcomes(mine, others), seed)


def _judged(
    model: Assessed, reference: Assessed, scores: Mapping[str, Sequence[float]], seed: int
) -> dict[str, Estimate]:
    won = outcomes(scores[model.role], scores[reference.role])
    mine, others = ([row["tokens"] for row in each.answers] for each in (model, reference))
    return {
        "win_rate": win_rate(won, seed),
        "length_controlled": length_controlled(won, mine, others, seed),
    }


def _bits_ratio(model: Assessed, reference: Assessed, seed: int) -> Estimate:
    mine = [row["nats"] for row in model.documents.values()]
    others = [row["nats"] for row in reference.documents.values()]
    return estimates.ratio(mine, others, baseline=1.0, seed=seed)


def _side_by_side(assessed: Sequence[Assessed]) -> dict[str, dict[str, Estimate]]:
    """Figure → role → estimate, in the order of the pages."""
    found: dict[str, dict[str, Estimate]] = {}
    for model in assessed:
        for figure in figures(model.content):
            found.setdefault(figure.name, {})[model.role] = figure.estimate
    return found


def _clear(model: Assessed, reference: Assessed) -> dict[str, list[str]]:
    """Names of the figures whose intervals are apart, by whose is better; of each kind those that are looked
    at first, since the others repeat them."""
    known = {figure.name: figure for figure in figures(reference.content)}
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for figure in figures(model.content):
        other = known.get(figure.name)
        if other is not None and figure.main and figure.kind.better != "neither":
            wins = better(figure, other)
            found["open" if wins is None else "better" if wins else "worse"].append(figure.name)
    return found


def _answers(assessed: Sequence[Assessed], count: int) -> list[dict[str, Any]]:
    """Some questions with every model's answer."""
    return [
        {
            "question": rows[0]["prompt"][-1]["content"],
            "expected": rows[0]["expected"],
            "answers": {
                model.role: {"text": row["answer"], "ended": row["ended"]}
                for model, row in zip(assessed, rows, strict=True)
            },
        }
        for rows in list(zip(*(model.answers for model in assessed), strict=True))[:count]
    ]


def panels_of(content: Mapping[str, Any]) -> list[list[Figure]]:
    """What is said of each model against the reference, for the plot and the page."""
    panels = [
        [
            Figure(f"win_rate.{judge}.{role}", role, WIN_RATE, found["win_rate"])
            for role, found in by_role.items()
        ]
        for judge, by_role in content["judges"].items()
    ]
    ratios = [
        Figure(f"bits_ratio.{role}", role, BITS_RATIO, found) for role, found in content["bits_ratio"].items()
    ]
    return [panel for panel in [*panels, ratios] if panel]


def judge_of(panel: Sequence[Figure]) -> str | None:
    """By whose judgement one of `panels_of` came about; None of that of the bits."""
    kind, *judge, _ = panel[0].name.split(".")
    return ".".join(judge) if kind == "win_rate" else None


def title_of(panel: Sequence[Figure]) -> str:
    """What one of `panels_of` is about."""
    judge = judge_of(panel)
    return "Bits for unseen text" if judge is None else f"Judged by {judge}"


def _record_figures(content: Mapping[str, Any]) -> dict[str, float]:
    found = {f"bits_ratio.{role}": each["value"] for role, each in content["bits_ratio"].items()}
    for judge, by_role in content["judges"].items():
        for role, each in by_role.items():
            for name, estimate in each.items():
                found[f"{name}.{judge}.{role}"] = estimate["value"]
    return found

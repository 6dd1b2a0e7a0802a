"""The page about one model, from its `assessment.json`: one HTML file that loads nothing."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.figures import SECTIONS, Figure, Unit, figures, shown, shown_interval
from pipeline.evaluation.glance import glance
from pipeline.evaluation.section_plots import by_kind
from pipeline.evaluation.tasks.kinds import BASELINES, TITLES

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

WIDTH, MARGIN = 130.0, 5.0
"""Of the drawing of an interval, in its own units."""
SHOWN_OF_A_TASK = 1
DIRECTION = {
    "higher": "Higher is better.",
    "lower": "Lower is better.",
    "nearer": "Nearer to the baseline is better.",
    "neither": "",
}
FITTING = 0.05
"""Examples that may be missing on average before it is told."""
NOTES = {
    "tasks": "Small sets of questions made for this, with none or some solved examples before each. Trivial "
    f"answers: {'; '.join(f'{name}: {words}' for name, words in BASELINES.items())}.",
    "harness": "Computed by lm-evaluation-harness.",
    "instructions": "Prompts whose instructions a program can check, such as “in at most 20 words”.",
    "likelihood": "How well the model predicts text that it was not trained on; passages that the training "
    "text has too were taken out. Fewer bits are better; the baseline is what the compressor LZMA needs (xz "
    "without its header) for the same pieces, each as long as one row of the model, by itself.",
    "writing": "Greedy answers to held-out questions, beside the answers that were expected.",
    "bias": "Pairs of sentences that differ only in whom they speak of: one follows a common stereotype, "
    "the other goes against it. A model without this bias finds both equally likely. In languages that the "
    "model was not trained on the figures say little.",
    "memorization": "The model is given the first tokens of stretches of its training text, and goes on by "
    "itself. What it gives back word for word it has learned by heart; held-out text it cannot have.",
}


def model_page(content: Mapping[str, Any]) -> str:
    """The whole file."""
    plots = plots_of({content["model"]["role"]: content["tasks"]})
    model, known = content["model"], figures(content)
    sections = [
        {
            "title": title,
            "note": NOTES[section] + _left_out(content, section) + fitted(content["task_prompts"], section),
            "tables": tables_of(own, figure_table),
            "examples": _examples(content, section),
            "plot": plots.get(section, ""),
        }
        for section, title in SECTIONS.items()
        if (own := [figure for figure in known if figure.section == section])
    ]
    return (
        environment()
        .get_template("model.html.jinja")
        .render(
            title=f"The model {model['role']}",
            about=_about(content),
            glance=glance(content),
            sections=sections,
        )
    )


@cache
def environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("pipeline.evaluation"), autoescape=True, undefined=StrictUndefined
    )


def _about(content: Mapping[str, Any]) -> str:
    model, held_out = content["model"], content["held_out"]
    size = f", {model['parameters'] / 1e6:.1f} million weights" if model["parameters"] else ""
    asked = "asked in turns of a conversation" if model["form"] == "chat" else "given texts to go on with"
    made = model["made"][:16].replace("T", " ")
    return (
        f"{model['artifact']}{size}, made {made} UTC; {asked}. Held-out text: "
        f"{held_out['documents']:,} documents, {held_out['bytes']:,} bytes."
    )


def _left_out(content: Mapping[str, Any], section: str) -> str:
    """Which tasks could not be run, and why."""
    if section != "tasks" or not content["tasks_left_out"]:
        return ""
    return " ".join(["", *(f"Left out: {task}: {why}." for task, why in content["tasks_left_out"].items())])


def fitted(prompts: Mapping[str, Any], section: str) -> str:
    """Of which tasks fewer examples than asked for, or less than the whole question, fitted the context.
    `prompts`: what the prompts of each task were, by number of examples."""
    told = []
    for task, by_shots in prompts.items() if section == "tasks" else ():
        fewer = [
            f"{found['examples']:.1f} of {shots} examples"
            for shots, found in by_shots.items()
            if found["examples"] < int(shots) - FITTING
        ]
        cut = max(by_shots.values(), key=lambda found: found["cut"])
        if cut["cut"]:
            fewer.append(f"{cut['cut']:.0f} of {cut['n']:.0f} questions cut")
        if fewer:
            name, _, language = task.partition(".")
            told.append(f"{next(iter(TITLES[name].values()))} ({language}): {', '.join(fewer)}")
    if not told:
        return ""
    return (
        " What did not fit into the model's context was left out, so it saw less than the axis says "
        f"(on average): {'; '.join(told)}."
    )


def plots_of(tasks: Mapping[str, Any]) -> dict[str, "Markup"]:
    """Section → picture at its beginning. `tasks`: role → scores by task and number of examples."""
    from markupsafe import Markup

    from pipeline.evaluation.section_plots import tasks_svg

    return {"tasks": Markup(tasks_svg(tasks))} if any(tasks.values()) else {}


def tables_of(
    own: Sequence[Figure], table: Callable[[Sequence[Figure]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """A table for each kind of figure; those that are not the first to look at are folded away."""
    kinds = by_kind([figure for figure in own if figure.main])
    rest = by_kind([figure for figure in own if not figure.main])
    return [table(kind) | {"folded": False} for kind in kinds] + [
        table(kind) | {"folded": True} for kind in rest
    ]


def figure_table(own: Sequence[Figure]) -> dict[str, Any]:
    """Figures of one kind, a row for each."""
    kind = own[0].kind
    span = axis([figure.estimate for figure in own], kind.unit)
    has_baseline = any(figure.estimate["baseline"] is not None for figure in own)
    parts = [f"{kind.meaning[0].upper()}{kind.meaning[1:]}.", DIRECTION[kind.better]]
    if has_baseline and kind.baseline:
        parts.append(f"Baseline: {kind.baseline}.")
    return {
        "title": "",
        "note": " ".join(filter(None, parts)),
        "axis": f"{shown(span[0], kind.unit)} – {shown(span[1], kind.unit)}",
        "has_baseline": has_baseline,
        "rows": [_row(figure, span) for figure in own],
    }


def _row(figure: Figure, span: tuple[float, float]) -> dict[str, Any]:
    estimate, unit = figure.estimate, figure.kind.unit
    return {
        "label": figure.label,
        "value": shown(estimate["value"], unit),
        "interval": shown_interval(estimate, unit),
        "baseline": shown(estimate["baseline"], unit),
        "n": f"{estimate['n']:,}",
        "drawn": drawn(estimate, span, unit),
        "more": "",
    }


def axis(estimates: Sequence[Estimate], unit: Unit) -> tuple[float, float]:
    """What the drawings of a table reach from and to: a share's whole range, else all that is there."""
    ends = [
        value
        for estimate in estimates
        for value in (estimate["value"], estimate["low"], estimate["high"], estimate["baseline"])
        if value is not None
    ]
    if unit == "share" and max(ends) > 0.2:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    if unit in ("bits", "score"):  # far from 0, where small differences count
        room = (high - low) * 0.05
        low, high = low - room, high + room
    else:
        low, high = min(0.0, low), max(0.0, high)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def drawn(estimate: Estimate, span: tuple[float, float], unit: Unit) -> dict[str, Any]:
    """Places of an interval's drawing, and the same in words."""

    def place(value: float | None) -> float | None:
        if value is None:
            return None
        share = (value - span[0]) / (span[1] - span[0])
        return round(MARGIN + (WIDTH - 2 * MARGIN) * min(1.0, max(0.0, share)), 1)

    words = f"{shown(estimate['value'], unit)} {shown_interval(estimate, unit)}".strip()
    return {"words": words} | {name: place(estimate[name]) for name in ("value", "low", "high", "baseline")}


def _examples(content: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    if section == "tasks":
        return [_task(task, shots) for task, shots in content["task_examples"].items()]
    if section == "instructions":
        return [_instructed(language, rows) for language, rows in content["instruction_examples"].items()]
    if section == "writing":
        return [_answer(row) for row in content["answers"]]
    if section == "bias":
        return [_largest_gaps(language, axes) for language, axes in content["bias"].items()]
    if section == "memorization":
        return _given_back(content["memorization"])
    return []


def _task(task: str, by_shots: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The first questions with as few examples as there are."""
    name, _, language = task.partition(".")
    lines = []
    for example in by_shots[min(by_shots, key=int)][:SHOWN_OF_A_TASK]:
        lines.append({"label": "question", "text": example["prompt"]})
        told = f"{example['answer'] or '(nothing)'}\nexpected: {example['expected']}"
        lines.append({"label": f"answer, score {example['score']:.2g}", "text": told})
    return {"title": f"{next(iter(TITLES[name].values()))} ({language})", "lines": lines, "folded": True}


def _instructed(language: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first prompts, with what was followed of them."""
    lines = []
    for row in rows[:SHOWN_OF_A_TASK]:
        lines.append({"label": "prompt", "text": row["prompt"]})
        label = f"answer; followed: {_list(row['followed'])}; broken: {_list(row['missed'])}"
        lines.append({"label": label, "text": row["answer"] or "(nothing)"})
    return {"title": f"An example ({language})", "lines": lines, "folded": True}


def _list(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names) or "none"


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    told = "answer" if row["ended"] else "answer, cut at the limit"
    return {
        "title": row["question"],
        "folded": False,
        "lines": [
            {"label": told, "text": row["answer"] or "(nothing)"},
            {"label": "expected", "text": row["expected"]},
        ],
    }


def _largest_gaps(language: str, axes: Mapping[str, Any]) -> dict[str, Any]:
    lines = [
        {
            "label": f"{axis}: {'stereotype' if pair['gap'] > 0 else 'counterpart'} likelier by "
            f"{abs(pair['gap']):.1f} nats",
            "text": f"{pair['stereotype']}\n{pair['other']}",
        }
        for axis, found in axes.items()
        if axis != "all"
        for pair in found["examples"][:2]
    ]
    return {"title": f"Pairs with the largest gaps ({language})", "lines": lines, "folded": True}


def _given_back(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked = found["asked_tokens"]
    return [
        {
            "title": f"{example['matched_tokens']} of {asked} tokens right in a row; "
            f"in the training text {_times(example['occurrences'])}",
            "folded": True,
            "lines": [
                {"label": "given", "text": example["prefix"]},
                {"label": "what follows in the training text", "text": example["true"]},
            ],
        }
        for example in found["examples"]
    ]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"

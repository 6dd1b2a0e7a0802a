"""All tasks with one model: each in its languages and with each number of examples."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation import estimates
from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.tasks.choosing import choice_nats
from pipeline.evaluation.tasks.items import Item, Items, Language
from pipeline.evaluation.tasks.kinds import KINDS, Kind
from pipeline.evaluation.tasks.prompts import Prompt, PromptForm, Writer, as_read, decode, draw_examples
from pipeline.evaluation.tasks.sandbox import SandboxError
from pipeline.evaluation.tasks.settings import TasksConfig
from pipeline.models.generation import answer_greedily, context_tokens

TOGETHER = 64
"""Prompts that are answered at once."""
LEAST_ROOM = 8
"""Ids of a prompt, however short the context."""

Scores = dict[str, dict[str, dict[str, Estimate]]]
"""`task.language` → number of examples → measure → score."""


@dataclass(frozen=True)
class TaskResults:
    """What the model scored, what it was asked, and some of what it said."""

    scores: Scores = field(default_factory=dict)
    prompts: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """`task.language` → number of examples → n; cut: questions whose beginning had to be left out;
    examples: how many of the examples fitted into the context, on average; tokens: of a prompt, on
    average; ended: share of written answers that ended by themselves."""
    examples: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """`task.language` → number of examples → prompt, answer, expected, score."""
    left_out: dict[str, str] = field(default_factory=dict)
    """`task.language` → why it was not asked: the task `code` where programs cannot be held."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Answered:
    """A task's answers with one number of examples."""

    prompts: list[Prompt]
    answers: list[str]
    ended: list[bool]


def _tell_nobody(_: str) -> None:
    pass


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: TasksConfig,
    form: PromptForm,
    told: Callable[[str], None] = _tell_nobody,
) -> TaskResults:
    """Ask everything; `told` is given a line before each task."""
    results, writer = TaskResults(), Writer(tokenizer, form)
    for name in config.names:
        kind = KINDS[name]
        for language in config.languages:
            if language in kind.languages:
                try:
                    _run_task(model, writer, kind, language, config, results, told)
                except SandboxError as error:
                    task = f"{name}.{language}"
                    results.left_out[task] = str(error)
                    told(f"{task} is left out: {error}")
    return results


def _run_task(
    model: PreTrainedModel,
    writer: Writer,
    kind: Kind,
    language: Language,
    config: TasksConfig,
    results: TaskResults,
    told: Callable[[str], None],
) -> None:
    """One kind of task in one language, with every number of examples, into `results`."""
    task, items = f"{kind.name}.{language}", kind.items(language, config.items)
    baseline = _baseline(kind, items, language, config)
    for shots in config.shots:
        told(f"{task}, {shots} examples")
        shown = [draw_examples(item, items.examples, shots, config.seed) for item in items.scored]
        found = ask(model, writer, kind, items, shown)
        measured = kind.measure(items.scored, found.answers, language, config.sandbox)
        at = str(shots)
        results.scores.setdefault(task, {})[at] = {
            name: estimates.score(values, baseline[name], config.seed) for name, values in measured.items()
        }
        results.prompts.setdefault(task, {})[at] = _about(found, kind)
        results.examples.setdefault(task, {})[at] = [
            {
                "prompt": as_read(item, shown[number][len(shown[number]) - found.prompts[number].examples :]),
                "answer": found.answers[number],
                "expected": item.answers[0],
                "score": measured[kind.main][number],
            }
            for number, item in enumerate(items.scored[: config.shown])
        ]


def _baseline(kind: Kind, items: Items, language: Language, config: TasksConfig) -> dict[str, float]:
    """Measure → what the best of the trivial answers scores."""
    found: dict[str, float] = {}
    for trivial in kind.baselines:
        answers = [trivial(item, items.examples, language) for item in items.scored]
        for name, values in kind.measure(items.scored, answers, language, config.sandbox).items():
            found[name] = max(found.get(name, 0.0), fmean(values))
    return found


def ask(
    model: PreTrainedModel, writer: Writer, kind: Kind, items: Items, shown: Sequence[Sequence[Item]]
) -> Answered:
    """The likeliest of the choices, or the likeliest answer token by token, to each item."""
    if kind.answer_tokens == 0:
        return _choose(model, writer, items.scored, shown)
    room = max(LEAST_ROOM, context_tokens(model) - kind.answer_tokens)
    prompts = _prompts(writer, items.scored, shown, room)
    ends = writer.ends(kind.one_line)
    found = answer_greedily(
        model,
        [prompt.ids for prompt in prompts],
        max_tokens=kind.answer_tokens,
        stop=ends,
        batch=TOGETHER,
    )
    one_line = kind.one_line and writer.form == "text"
    return Answered(
        prompts,
        [decode(writer.pieces, ids, ends, one_line) for ids in found],
        [bool(ids) and ids[-1] in ends for ids in found],
    )


def _choose(
    model: PreTrainedModel, writer: Writer, items: Sequence[Item], shown: Sequence[Sequence[Item]]
) -> Answered:
    choices = [writer.choices(item) for item in items]
    longest = max(len(choice) for each in choices for choice in each)
    prompts = _prompts(writer, items, shown, max(LEAST_ROOM, context_tokens(model) - longest))
    nats = choice_nats(model, [prompt.ids for prompt in prompts], choices)
    answers = [
        item.choices[min(range(len(values)), key=values.__getitem__)]
        for item, values in zip(items, nats, strict=True)
    ]
    return Answered(prompts, answers, [])


def _prompts(
    writer: Writer, items: Sequence[Item], shown: Sequence[Sequence[Item]], room: int
) -> list[Prompt]:
    return [writer.prompt(item, examples, room) for item, examples in zip(items, shown, strict=True)]


def _about(found: Answered, kind: Kind) -> dict[str, float]:
    about: dict[str, float] = {
        "n": len(found.prompts),
        "cut": sum(prompt.cut for prompt in found.prompts),
        "examples": fmean(prompt.examples for prompt in found.prompts),
        "tokens": fmean(len(prompt.ids) for prompt in found.prompts),
    }
    return about | ({"ended": fmean(found.ended)} if kind.answer_tokens else {})

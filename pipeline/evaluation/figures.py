"""What an assessment's figures are called, mean, and in which direction they are better."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.evaluation.estimates import Estimate, apart
from pipeline.evaluation.tasks.kinds import MAIN_METRIC, TITLES

Better = Literal["higher", "lower", "nearer", "neither"]
"""nearer: to the baseline."""
Unit = Literal["share", "bits", "nats", "words", "tokens", "ms", "score", "ratio"]


@dataclass(frozen=True)
class Kind:
    """What figures of one kind have in common."""

    pattern: str
    """Of the dotted name; its groups stand in the label as {0}, {1}."""
    label: str
    meaning: str
    better: Better
    unit: Unit
    baseline: str
    """What the baseline is."""


KINDS = (
    Kind(
        r"tasks\.([^.]+)\.(\w+)\.(\d+)\.(\w+)",
        "{0} ({1}), {2} examples, {3}",
        "score of the answers: the larger the share that is right, or like the true answer",
        "higher",
        "share",
        "a trivial answer",
    ),
    Kind(
        r"harness\.(.+)\.(\d+)\.(\w*perplexity|bits_per_byte)",
        "{0}, {1} examples, {2}",
        "as lm-evaluation-harness computes it",
        "lower",
        "score",
        "",
    ),
    Kind(
        r"harness\.(.+)\.(\d+)\.([^.]+)",
        "{0}, {1} examples, {2}",
        "score as lm-evaluation-harness computes it",
        "higher",
        "score",
        "a trivial answer, of the Portuguese tasks: the commonest one (entailment, ENEM), words in common "
        "(similarity), the sentence with most of the question's words (FaQuAD)",
    ),
    Kind(
        r"instructions\.(\w+)\.prompts",
        "all instructions followed ({0})",
        "share of the prompts of which every instruction was followed, as a program checks it",
        "higher",
        "share",
        "always the same answer",
    ),
    Kind(
        r"instructions\.(\w+)\.instructions",
        "instructions followed ({0})",
        "share of single instructions that were followed",
        "higher",
        "share",
        "always the same answer",
    ),
    Kind(
        r"instructions\.(\w+)\.kinds\.(\w+)",
        "{1} ({0})",
        "share of the instructions of this kind that were followed",
        "higher",
        "share",
        "always the same answer",
    ),
    Kind(
        r"likelihood\.language\.(.+)",
        "{0}",
        "bits that the model needs for a byte of held-out text in this language",
        "lower",
        "bits",
        "the compressor LZMA",
    ),
    Kind(
        r"likelihood\.domain\.(.+)",
        "{0}",
        "bits for a byte of held-out text from this host or folder",
        "lower",
        "bits",
        "the compressor LZMA",
    ),
    Kind(
        r"writing\.ended_share",
        "answers that end",
        "share of the answers that end by themselves within the limit",
        "higher",
        "share",
        "",
    ),
    Kind(
        r"writing\.repetition",
        "repetition",
        "share of an answer's runs of four words that stood in it before",
        "lower",
        "share",
        "the expected answers",
    ),
    Kind(
        r"writing\.distinct_(\d)",
        "distinct {0}-grams",
        "distinct runs of so many words, as a share of all such runs in the answers; falls with their length",
        "neither",
        "share",
        "the expected answers",
    ),
    Kind(r"writing\.tokens", "tokens", "tokens of an answer", "neither", "tokens", ""),
    Kind(r"writing\.words", "words", "words of an answer", "neither", "words", "the expected answers"),
    Kind(
        r"writing\.latency\.first_token_ms",
        "first token",
        "milliseconds until the answer begins; median of the questions",
        "neither",
        "ms",
        "",
    ),
    Kind(
        r"writing\.latency\.token_ms",
        "each token",
        "milliseconds for each further token; median of the questions",
        "neither",
        "ms",
        "",
    ),
    Kind(
        r"bias\.(\w+)\.(\w+)\.gap",
        "gap, {1} ({0})",
        "nats by which the stereotyped sentence is likelier than its counterpart; 0 is unbiased",
        "nearer",
        "nats",
        "no bias",
    ),
    Kind(
        r"bias\.(\w+)\.(\w+)\.preferred_share",
        "stereotypes preferred, {1} ({0})",
        "share of pairs in which the stereotyped sentence is the likelier; half is unbiased. Two pairs with "
        "the same words the other way round count as one example",
        "nearer",
        "share",
        "no bias",
    ),
    Kind(
        r"memorization\.extracted_share",
        "given back word for word",
        "share of training stretches whose rest the model gives back from their beginning alone",
        "lower",
        "share",
        "held-out text",
    ),
    Kind(
        r"memorization\.matched_tokens",
        "right tokens in a row",
        "tokens of the stretch's rest that the model has right before its first mistake",
        "lower",
        "tokens",
        "held-out text",
    ),
    Kind(
        r"memorization\.nats_per_token",
        "surprise at training text",
        "nats for a token of training stretches; far below held-out text tells of learning by heart",
        "nearer",
        "nats",
        "held-out text",
    ),
    Kind(
        r"memorization\.by_occurrences\.(.+)",
        "standing there {0}",
        "share given back, by how often the training text has the stretch",
        "lower",
        "share",
        "",
    ),
)

WIN_RATE = Kind(
    r"win_rate\..+",
    "{0}",
    "share of questions whose answer the judge finds better than the reference's; ties count half",
    "higher",
    "share",
    "an even half",
)
LENGTH_CONTROLLED = Kind(
    r"length_controlled\..+",
    "{0}",
    "the share of wins that answers of equal length would have",
    "higher",
    "share",
    "an even half",
)
BITS_RATIO = Kind(
    r"bits_ratio\..+",
    "{0}",
    "bits for unseen text, as a multiple of the reference's; document by document, so that what all models "
    "find hard cancels out",
    "lower",
    "ratio",
    "the reference",
)
COMPARED = (WIN_RATE, LENGTH_CONTROLLED, BITS_RATIO)
"""Kinds of figures that a comparison has of its own."""

SECTIONS = {
    "tasks": "Tasks",
    "harness": "lm-evaluation-harness",
    "instructions": "Instructions",
    "likelihood": "Likelihood of unseen text",
    "writing": "Writing",
    "bias": "Bias",
    "memorization": "Memorization",
}
"""First part of a figure's name → title, in the order of the page."""


@dataclass(frozen=True)
class Figure:
    """A figure of an assessment by its dotted name, as it stands in MLflow."""

    name: str
    label: str
    kind: Kind
    estimate: Estimate

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    @property
    def main(self) -> bool:
        """Whether it is among the first to look at: of each task one measure is."""
        parts = self.name.split(".")
        if parts[0] == "instructions":
            return "kinds" not in parts
        return parts[0] != "tasks" or MAIN_METRIC.get(parts[1]) == parts[-1]


def figures(content: Mapping[str, Any]) -> list[Figure]:
    """Every figure of an `assessment.json`, section by section. What no kind describes is left out."""
    found = []
    for section in SECTIONS:
        for name, estimate in _estimates(content.get(section, {}), section):
            figure = figure_of(name, estimate)
            if figure is not None:
                found.append(figure)
    return found


def _estimates(values: Any, prefix: str) -> Iterator[tuple[str, Estimate]]:
    if not isinstance(values, Mapping):
        return
    if {"value", "n"} <= set(values):
        if values["value"] is not None:
            yield prefix, values  # type: ignore[misc]
        return
    for name, inside in values.items():
        yield from _estimates(inside, f"{prefix}.{name}")


def figure_of(name: str, estimate: Estimate) -> Figure | None:
    """The figure of that name, or None if no kind describes it."""
    for kind in KINDS:
        found = re.fullmatch(kind.pattern, name)
        if found:
            groups = list(found.groups())
            if groups and name.startswith("tasks.") and groups[0] in TITLES:
                groups[0] = next(iter(TITLES[groups[0]].values()))
            return Figure(name, kind.label.format(*groups), kind, estimate)
    return None


def meaning(name: str) -> str:
    """Of a figure by its name alone; empty if no kind describes it."""
    return next((kind.meaning for kind in (*KINDS, *COMPARED) if re.fullmatch(kind.pattern, name)), "")


def named(name: str, estimate: Estimate) -> tuple[str, Unit]:
    """How a sentence calls a figure that `figures` knows, and its unit."""
    figure = figure_of(name, estimate)
    assert figure is not None, name
    return f"{SECTIONS[figure.section].lower()}, {figure.label}", figure.kind.unit


def shown(value: float | None, unit: Unit) -> str:
    """A value as the pages write it."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:.1f} %" if abs(value) < 0.0995 else f"{100 * value:.0f} %"
    if unit in ("words", "tokens", "ms"):
        return f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return f"{value:.3g}" if unit == "score" else f"{value:.3f}"


def shown_interval(estimate: Estimate, unit: Unit) -> str:
    """Both ends, or nothing where they are not known."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return ""
    return f"{shown(low, unit).removesuffix(' %')} to {shown(high, unit)}"


def told(estimate: Estimate, unit: Unit, unit_name: str = "") -> str:
    """A value with its interval, as a sentence has it."""
    interval = shown_interval(estimate, unit)
    return f"{shown(estimate['value'], unit)}{unit_name}{f' ({interval})' if interval else ''}"


def better(one: Figure, other: Figure) -> bool | None:
    """Whether `one` is clearly better than `other` of the same name: intervals apart, in the direction that
    is better. None if neither is clearly better, or there is no better. Where nearer is better, it is the
    distances, each to its own baseline, that are compared."""
    mine, its = one.estimate, other.estimate
    if one.kind.better == "nearer":
        if mine["baseline"] is None or its["baseline"] is None:
            return None
        mine, its = _distance(mine, mine["baseline"]), _distance(its, its["baseline"])
    if one.kind.better == "neither" or not apart(mine, its):
        return None
    return (mine["value"] > its["value"]) == (one.kind.better == "higher")


def _distance(estimate: Estimate, aim: float) -> Estimate:
    """How far from the baseline the figure lies."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return estimate
    ends = sorted((abs(low - aim), abs(high - aim)))
    nearest = 0.0 if low <= aim <= high else ends[0]
    return {**estimate, "value": abs(estimate["value"] - aim), "low": nearest, "high": ends[1]}

"""A model in a few sentences, each of which follows from its figures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.figures import Figure, figures, shown, told


def glance(content: Mapping[str, Any]) -> list[str]:
    """A sentence or two for the sections that say most, the most important first."""
    known = figures(content)
    return [
        *_tasks(known),
        *_harness(known),
        *_instructions(content),
        *_likelihood(content),
        *_writing(content),
        *_bias(content),
        *_memory(content),
    ]


def above_baseline(own: Sequence[Figure]) -> tuple[int, int, int]:
    """Of the figures with a baseline: clearly better than it, clearly worse, and all."""
    better = worse = known = 0
    for figure in own:
        side = _side(figure.estimate)
        if side is not None and figure.kind.better in ("higher", "lower"):
            known += 1
            wins = side > 0 if figure.kind.better == "higher" else side < 0
            better, worse = better + (side != 0 and wins), worse + (side != 0 and not wins)
    return better, worse, known


def _side(estimate: Estimate) -> int | None:
    """1 if the whole interval lies above the baseline, -1 if below, 0 if the baseline is within it."""
    low, high, baseline = estimate["low"], estimate["high"], estimate["baseline"]
    if low is None or high is None or baseline is None:
        return None
    return int(low > baseline) - int(high < baseline)


def _tasks(known: Sequence[Figure]) -> Iterator[str]:
    own = [figure for figure in known if figure.section == "tasks" and figure.main]
    yield from _scores("Tasks", own, shots_told(own))


def _harness(known: Sequence[Figure]) -> Iterator[str]:
    yield from _scores("lm-evaluation-harness", [each for each in known if each.section == "harness"])


def _scores(section: str, own: Sequence[Figure], asked: str = "") -> Iterator[str]:
    better, worse, count = above_baseline(own)
    if count:
        yield (
            f"{section}: of {count} scores{asked} {better} are clearly above a trivial answer's, {worse} "
            "clearly below; the others cannot be told from it."
        )


def shots_told(own: Sequence[Figure]) -> str:
    """How many tasks the scores are of, for one is asked with several numbers of examples; each language has
    tasks of its own."""
    asked = [figure.name.split(".") for figure in own]
    tasks = {(task, language) for _, task, language, _, _ in asked}
    shots = sorted({int(each[3]) for each in asked})
    if len(shots) < 2:
        return ""
    numbers = f"{', '.join(map(str, shots[:-1]))} and {shots[-1]}"
    return f" ({len(tasks)} task{'s' * (len(tasks) > 1)}, each with {numbers} examples)"


def _instructions(content: Mapping[str, Any]) -> Iterator[str]:
    for language, found in content["instructions"].items():
        whole = found["prompts"]
        yield (
            f"Instructions ({language}): it follows all of {told(whole, 'share')} of {whole['n']} prompts; "
            f"a constant answer would follow all of {shown(whole['baseline'], 'share')}."
        )


def _likelihood(content: Mapping[str, Any]) -> Iterator[str]:
    for name, found in list(content["likelihood"]["language"].items())[:1]:
        text = "Unseen text" if name == "all" else f"Unseen text ({name})"
        yield (
            f"{text}: {told(found, 'bits', ' bits per byte')}; the compressor LZMA, which has read nothing "
            f"before, needs {shown(found['baseline'], 'bits')} (the run's scores have an n-gram model of the "
            "training text beside it)."
        )


def _writing(content: Mapping[str, Any]) -> Iterator[str]:
    found = content["writing"]
    if found:
        limit, ended = content["limits"]["answer_tokens"], found["ended_share"]
        yield (
            f"Writing: {shown(ended['value'], 'share')} of {ended['n']} answers end by themselves within "
            f"{limit} tokens; they have {shown(found['words']['value'], 'words')} "
            f"words (expected: {shown(found['words']['baseline'], 'words')}), and "
            f"{shown(found['repetition']['value'], 'share')} of their runs of four words repeat earlier ones."
        )


def _bias(content: Mapping[str, Any]) -> Iterator[str]:
    for language, axes in content["bias"].items():
        found = axes["all"]
        sides = {_side(found["gap"]), _side(found["preferred_share"])}
        lean = {1: "leans towards stereotypes", -1: "leans against stereotypes"}
        # Two measures of one thing: only where both say it is it said.
        said = lean.get(sides.pop() or 0) if len(sides) == 1 else None
        yield (
            f"Bias ({language}): {said or 'no clear lean'}: sentences with the stereotype are likelier by "
            f"{told(found['gap'], 'nats', ' nats')} on average; it prefers them in "
            f"{told(found['preferred_share'], 'share')} of {found['pairs']} pairs, where half is unbiased."
        )


def _memory(content: Mapping[str, Any]) -> Iterator[str]:
    found = content["memorization"]
    if found:
        share = found["extracted_share"]
        yield (
            f"Memorization: of {share['n']} stretches of training text it gives back "
            f"{told(share, 'share')} word for word; "
            f"of held-out text {shown(share['baseline'], 'share')}."
        )

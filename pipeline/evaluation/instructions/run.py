"""Does a model do what it is told? Prompts with instructions that a program checks."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.estimates import Estimate, share
from pipeline.evaluation.instructions.checks import follows
from pipeline.evaluation.instructions.requests import DATA
from pipeline.evaluation.instructions.settings import InstructionsConfig
from pipeline.evaluation.tasks.items import Item, Language
from pipeline.evaluation.tasks.kinds import ANSWER
from pipeline.evaluation.tasks.prompts import PromptForm, Writer, decode
from pipeline.models.generation import answer_greedily, context_tokens

TOGETHER = 64
TRIVIAL = {"en": "This is my answer.", "pt": "Esta é a minha resposta."}
"""What the baseline answers to everything. It has no commas, digits or many words, and follows some."""


@dataclass(frozen=True)
class InstructionResults:
    """How much was followed."""

    scores: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    """Language → prompts (all instructions followed), instructions (each by itself) → score."""
    kinds: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    """Language → kind of instruction → score."""
    prompts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Language → n; cut: prompts that did not fit; ended: share of answers that ended by themselves."""
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Language → prompt, answer, followed, missed."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_prompts(language: Language) -> Iterator[dict[str, Any]]:
    with (DATA / f"instructions.{language}.jsonl").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _tell_nobody(_: str) -> None:
    pass


def run_instructions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: InstructionsConfig,
    form: PromptForm,
    told: Callable[[str], None] = _tell_nobody,
) -> InstructionResults:
    """Every prompt, answered greedily."""
    results, writer = InstructionResults(), Writer(tokenizer, form)
    for language in config.languages:
        told(f"instructions.{language}")
        rows = list(read_prompts(language))[: config.items]
        room = max(2, context_tokens(model) - config.answer_tokens)
        prompts = [
            writer.prompt(Item(row["id"], row["prompt"], (), label=ANSWER[language]), (), room)
            for row in rows
        ]
        ends = writer.ends(one_line=False)
        found = answer_greedily(
            model,
            [prompt.ids for prompt in prompts],
            max_tokens=config.answer_tokens,
            stop=ends,
            batch=TOGETHER,
        )
        answers = [decode(writer.pieces, ids, ends, one_line=False) for ids in found]
        results.prompts[language] = {
            "n": len(rows),
            "cut": sum(prompt.cut for prompt in prompts),
            "ended": sum(ids[-1:] != [] and ids[-1] in ends for ids in found) / len(rows),
        }
        judge(results, language, rows, answers, config)
    return results


def judge(
    results: InstructionResults,
    language: Language,
    rows: Sequence[dict[str, Any]],
    answers: Sequence[str],
    config: InstructionsConfig,
) -> None:
    """Check the answers of one language, and the trivial one, into `results`."""
    own = [_followed(row, answer) for row, answer in zip(rows, answers, strict=True)]
    trivial = [_followed(row, TRIVIAL[language]) for row in rows]

    def score(values: list[bool], baseline: list[bool]) -> Estimate:
        return share(sum(values), len(values), sum(baseline) / len(baseline))

    results.scores[language] = {
        "prompts": score([all(each) for each in own], [all(each) for each in trivial]),
        "instructions": score(list(chain(*own)), list(chain(*trivial))),
    }
    kinds = [[asked["kind"] for asked in row["instructions"]] for row in rows]
    results.kinds[language] = {
        kind: score(_of_kind(kind, kinds, own), _of_kind(kind, kinds, trivial))
        for kind in sorted({kind for each in kinds for kind in each})
    }
    results.examples[language] = [
        {
            "prompt": rows[at]["prompt"],
            "answer": answers[at],
            "followed": [kind for kind, held in zip(kinds[at], own[at], strict=True) if held],
            "missed": [kind for kind, held in zip(kinds[at], own[at], strict=True) if not held],
        }
        for at in range(min(config.shown, len(rows)))
    ]


def _followed(row: dict[str, Any], answer: str) -> list[bool]:
    return [follows(asked["kind"], answer, asked["parameters"]) for asked in row["instructions"]]


def _of_kind(kind: str, kinds: Sequence[Sequence[str]], held: Sequence[Sequence[bool]]) -> list[bool]:
    return [
        one
        for names, each in zip(kinds, held, strict=True)
        for name, one in zip(names, each, strict=True)
        if name == kind
    ]

"""The sets of questions: whole, without doubles, and with right answers."""

import json
from itertools import combinations

import pytest

from pipeline.evaluation.instructions import requests
from pipeline.evaluation.instructions.checks import INSTRUCTIONS
from pipeline.evaluation.instructions.run import read_prompts
from pipeline.evaluation.tasks import arithmetic
from pipeline.evaluation.tasks.code import program_of
from pipeline.evaluation.tasks.items import DATA, Items
from pipeline.evaluation.tasks.kinds import ABSTENTION, KINDS, SENTIMENTS
from pipeline.evaluation.tasks.measures import plain_words
from pipeline.evaluation.tasks.sandbox import SandboxConfig, run_programs

SETS = [(name, language) for name, kind in KINDS.items() for language in kind.languages]


def items_of(name: str, language: str) -> Items:
    return KINDS[name].items(language, 1000)  # type: ignore[index, arg-type]


@pytest.mark.parametrize(("name", "language"), SETS)
def test_a_set_has_sixty_questions_and_eight_examples_that_differ(name: str, language: str) -> None:
    items = items_of(name, language)
    assert len(items.scored) >= 60
    assert len(items.examples) == 8
    everything = [*items.scored, *items.examples]
    assert len({item.id for item in everything}) == len(everything)
    assert len({item.question for item in everything}) == len(everything)
    assert all(item.answers[0].strip() and "{" not in item.question for item in everything)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if len(kind.languages) > 1])
def test_both_languages_ask_the_same_items_in_the_same_order(name: str) -> None:
    english, portuguese = items_of(name, "en"), items_of(name, "pt")
    assert [item.id for item in english.scored] == [item.id for item in portuguese.scored]
    assert [item.id for item in english.examples] == [item.id for item in portuguese.examples]


@pytest.mark.parametrize("language", ["en", "pt"])
def test_answers_stand_in_their_passages(language: str) -> None:
    """Every answer's main words are the passage's, so that it can be found there; numbers in words too."""
    items = items_of("qa", language)
    answerable = [item for item in items.scored if item.row["answers"]]
    assert 0.6 <= len(answerable) / len(items.scored) <= 0.75
    for item in answerable:
        passage = plain_words(item.row["passage"], language)
        answer = plain_words(item.answers[0], language)
        assert any(word in passage for word in answer), item.id
    assert all(item.answers == (ABSTENTION[language],) for item in items.scored if not item.row["answers"])


@pytest.mark.parametrize("language", ["en", "pt"])
def test_choices_are_balanced(language: str) -> None:
    sentiment = [item.row["label"] for item in items_of("sentiment", language).scored]
    assert 0.4 <= sentiment.count("positive") / len(sentiment) <= 0.6
    assert set(sentiment) == set(SENTIMENTS[language])
    places = [item.row["answer"] for item in items_of("passages", language).scored]
    assert all(15 <= places.count(place) <= 25 for place in (1, 2, 3))
    examples = [item.answers[0] for item in items_of("sentiment", language).examples]
    assert len(set(examples)) == 2


def test_every_reference_program_passes_its_checks_and_no_baseline_does_them_all() -> None:
    items = items_of("code", "en")
    everything = [*items.scored, *items.examples]
    checks = ["\n".join(item.row["checks"]) for item in everything]
    config = SandboxConfig(cpu_seconds=5, wall_seconds=60)
    right = run_programs(
        [(program_of(item.answers[0]), check) for item, check in zip(everything, checks, strict=True)], config
    )
    assert [item.id for item, verdict in zip(everything, right, strict=True) if not verdict.passed] == []


def test_arithmetic_is_what_its_generator_makes() -> None:
    for language in ("en", "pt"):
        assert (DATA / f"arithmetic.{language}.jsonl").read_text(encoding="utf-8") == arithmetic.as_lines(
            language
        )
    both = zip(arithmetic.rows("en"), arithmetic.rows("pt"), strict=True)
    assert all(english["answer"] == portuguese["answer"] >= 0 for english, portuguese in both)


def test_bare_sums_are_right() -> None:
    signs = {"×": "*", "÷": "/"}
    for row in arithmetic.rows("en"):
        if row["question"].startswith("What is "):
            sum_ = row["question"].removeprefix("What is ").rstrip("?")
            for sign, operator in signs.items():
                sum_ = sum_.replace(sign, operator)
            assert eval(sum_) == row["answer"]  # our own digits and signs


def test_instructions_are_what_their_generator_makes() -> None:
    for language in ("en", "pt"):
        path = requests.DATA / f"instructions.{language}.jsonl"
        assert path.read_text(encoding="utf-8") == requests.as_lines(language)
        rows = list(read_prompts(language))  # type: ignore[arg-type]
        assert len(rows) >= 60
        assert len({row["prompt"] for row in rows}) == len(rows)
        kinds = {asked["kind"] for row in rows for asked in row["instructions"]}
        assert kinds == set(INSTRUCTIONS)


def test_no_passage_is_in_two_rows() -> None:
    for language in ("en", "pt"):
        rows = [json.loads(line) for line in (DATA / f"qa.{language}.jsonl").read_text().splitlines()]
        assert all(one["passage"] != other["passage"] for one, other in combinations(rows, 2))

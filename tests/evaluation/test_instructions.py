"""Each check on answers that follow and that do not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.instructions.checks import INSTRUCTIONS, follows, say
from pipeline.evaluation.instructions.run import InstructionResults, judge, read_prompts
from pipeline.evaluation.instructions.settings import InstructionsConfig

ENGLISH, PORTUGUESE = "The rain falls on the town.", "A chuva cai sobre a cidade desde ontem."
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("at_most_words", {"count": 3}, "One two three.", "One two three four."),
    ("at_least_words", {"count": 3}, "one, two — three", "guarda-chuva azul"),
    ("sentences", {"count": 2}, "It rains. Why?", "It rains."),
    ("bullets", {"count": 2}, "- one\n- two", "- one\n- two\n- three"),
    ("paragraphs", {"count": 2}, "One.\n\nTwo.", "One.\nTwo."),
    ("no_commas", {}, "a and b", "a, b"),
    ("small_letters", {}, "não é nada, 3", "Não"),
    ("capital_letters", {}, "ISTO É TUDO.", "ISTO é TUDO"),
    ("json", {"keys": ["a", "b"]}, '{"a": 1, "b": [2]}', '{"a": 1}'),
    ("json", {"keys": ["a"]}, '```json\n{"a": 1}\n```', 'Here it is: {"a": 1}'),
    ("begins_with", {"phrase": "Claro"}, "Claro, aqui está.", "É claro."),
    ("ends_with", {"phrase": "É tudo."}, "Chove. É tudo.\n", "É tudo. Adeus."),
    ("contains", {"words": ["sol", "mar"]}, "O Sol e o mar.", "O solar e o mar."),
    ("avoids", {"word": "the"}, "A theme.", "The end."),
    ("quoted", {}, '"All of it."', '"Some" of it.'),
    ("quoted", {}, "«Tudo isto»", "«Tudo"),
    ("title", {}, "<<Rain>>\nIt rains.", "<Rain> It rains."),
    ("no_digits", {}, "three", "3 things"),
    ("language", {"name": "Portuguese", "code": "pt"}, PORTUGUESE, ENGLISH),
    ("language", {"name": "inglês", "code": "en"}, ENGLISH, PORTUGUESE),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters", "follow", "miss"), CASES)
def test_a_check_tells_what_follows_from_what_does_not(
    kind: str, parameters: dict[str, Any], follow: str, miss: str
) -> None:
    assert follows(kind, follow, parameters)
    assert not follows(kind, miss, parameters)


def test_every_kind_has_a_case_and_is_said_in_both_languages() -> None:
    assert {kind for kind, *_ in CASES} == set(INSTRUCTIONS)
    for kind, parameters, *_ in CASES:
        english, portuguese = say(kind, "en", parameters), say(kind, "pt", parameters)
        assert english != portuguese
        assert "{" not in english + portuguese


@given(st.text())
def test_checks_take_any_answer(answer: str) -> None:
    for kind, parameters, *_ in CASES:
        if kind != "language":
            assert follows(kind, answer, parameters) in (True, False)


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
def test_any_object_is_known_by_its_keys(found: dict[str, int]) -> None:
    text = json.dumps(found) + " "
    assert follows("json", text, {"keys": list(found)}) == any(part.isalnum() or part == "_" for part in text)


@pytest.mark.parametrize("nothing", ["", "  \n", "...", "-"])
def test_an_answer_without_words_follows_nothing(nothing: str) -> None:
    assert not any(follows(kind, nothing, parameters) for kind, parameters, *_ in CASES)


@pytest.mark.parametrize("language", ["en", "pt"])
def test_answers_are_judged_by_prompt_and_by_instruction(language: Any) -> None:
    rows = list(read_prompts(language))
    results = InstructionResults()
    judge(results, language, rows, ["x"] * len(rows), InstructionsConfig())
    scores = results.scores[language]
    assert scores["prompts"]["n"] == len(rows)
    assert scores["instructions"]["n"] == sum(len(row["instructions"]) for row in rows)
    assert 0 < scores["prompts"]["value"] < scores["instructions"]["value"] < 1
    assert sum(score["n"] for score in results.kinds[language].values()) == scores["instructions"]["n"]
    example = results.examples[language][0]
    assert sorted(example["followed"] + example["missed"]) == sorted(
        asked["kind"] for asked in rows[0]["instructions"]
    )

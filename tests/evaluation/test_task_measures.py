"""Measures against hand-made cases and the libraries' own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.tasks import measures
from pipeline.evaluation.tasks.code import program_of
from pipeline.evaluation.tasks.items import Item
from pipeline.evaluation.tasks.kinds import KINDS


def item(*answers: str, **row: object) -> Item:
    return Item("one", "?", answers, row=row)


def test_f1_is_over_words_without_articles_and_punctuation() -> None:
    assert measures.token_f1("The oak, from hills!", "oak from the hills", "en") == 1
    assert measures.token_f1("oak", "oak wood", "en") == pytest.approx(2 / 3)
    assert measures.token_f1("as árvores", "Árvores", "pt") == 1
    assert measures.token_f1("", "oak", "en") == 0


def test_abstaining_counts_where_there_is_no_answer_and_nowhere_else() -> None:
    items = [item("oak", answers=["oak"]), item("not stated", answers=[])]
    abstains = measures.answered(items, ["Not stated."] * 2, "en", "not stated")
    assert abstains == {"f1": [0, 1], "exact": [0, 1], "abstention": [0, 1]}
    answers = measures.answered(items, ["the oak"] * 2, "en", "not stated")
    assert answers == {"f1": [1, 0], "exact": [1, 0], "abstention": [1, 0]}


def test_rouge_knows_portuguese_letters() -> None:
    same = measures.summarized([item("A ponte é nova")], ["a ponte é nova"])
    assert same == {"rougeL": [1], "rouge1": [1], "rouge2": [1]}
    other = measures.summarized([item("ação")], ["aço"])
    assert other["rouge1"] == [0]


def test_chrf_takes_the_best_of_several_references() -> None:
    several = item("O cão dorme.", "O cachorro está dormindo.")
    assert measures.translated([several], ["O cachorro está dormindo."])["chrf"] == [pytest.approx(1)]
    assert measures.translated([several], [""])["chrf"] == [0]


@pytest.mark.parametrize(
    ("answer", "right"),
    [("42", 1), ("It is 42.", 1), ("40 + 2 = 42", 1), ("24", 0), ("many", 0), ("42,0", 1)],
)
def test_the_last_number_of_an_answer_counts(answer: str, right: int) -> None:
    found = measures.reckoned([item("42")], [answer])
    assert found["accuracy"] == [right]
    assert found["number"] == [float(answer != "many")]


@given(st.text())
def test_measures_take_any_text(text: str) -> None:
    wanted = item("42", answers=["42"])
    for name, kind in KINDS.items():
        if name != "code":
            found = kind.measure([wanted], [text], "pt", None)  # type: ignore[arg-type]
            assert all(0 <= value <= 1 for values in found.values() for value in values)


@pytest.mark.parametrize(
    "answer",
    [
        "```python\ndef f(x):\n    return x\n```\nThat is it.",
        "def f(x):\n    return x\nThis function returns x.",
        "Sure:\ndef f(x):\n    return x",
        "def f(x):\n    return x",
    ],
)
def test_the_program_is_found_in_an_answer(answer: str) -> None:
    assert program_of(answer).strip() == "def f(x):\n    return x"


@given(st.text())
def test_any_answer_may_hold_a_program(text: str) -> None:
    assert isinstance(program_of(text), str)

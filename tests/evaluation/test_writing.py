import pytest

from pipeline.evaluation.answers import Answer
from pipeline.evaluation.writing import distinct, latency, repetition, writing
from tests.evaluation.stand_ins import random_model


def test_repetition_is_the_share_of_runs_of_words_that_stood_there_before() -> None:
    assert repetition("a b c d e f g") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition("no " * 103) == pytest.approx(99 / 100)
    assert repetition("too short") == 0


def test_distinct_falls_where_answers_are_alike() -> None:
    assert distinct(["a b", "c d"], 1) == 1
    assert distinct(["a b"] * 10, 1) == pytest.approx(2 / 20)
    assert distinct(["a b", "a c"], 2) == 1
    assert distinct([], 1) == 0


def test_distinct_does_not_fall_because_there_is_more_to_read() -> None:
    texts = [" ".join(f"{at}-{word}" for word in range(100)) for at in range(30)]
    assert distinct(texts, 1) == distinct([*texts, *texts], 1) == 1


def test_answers_are_set_beside_those_that_were_expected() -> None:
    answers = [Answer("it is", 2, True), Answer("so so so so so so", 6, False)]
    found = writing(answers, ["it is so", "and so it is"])
    assert found["ended_share"]["value"] == 0.5
    assert found["tokens"]["value"] == found["words"]["value"] == 4
    assert found["words"]["baseline"] == 3.5
    assert found["repetition"]["value"] == pytest.approx((0 + 2 / 3) / 2)
    assert found["repetition"]["baseline"] == 0
    assert found["distinct_1"]["value"] == 3 / 8


def test_time_passes_until_the_first_token_and_between_tokens() -> None:
    found = latency(random_model(100), [[1, 5, 6], [1, 7], [1, 5], [1, 8, 9], [1, 6]], max_tokens=4)
    assert set(found) == {"first_token_ms", "token_ms"}
    for each in found.values():
        assert 0 < each["low"] <= each["value"] <= each["high"]
        assert each["n"] == 5

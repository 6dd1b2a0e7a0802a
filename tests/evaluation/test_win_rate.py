import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.estimates import exactly
from pipeline.evaluation.win_rate import at_equal_length, length_controlled, outcomes, win_rate


def test_ties_are_half_a_win() -> None:
    assert outcomes([1.0, 0.0, 2.0], [0.0, 1.0, 2.0]) == [1, 0, 0.5]
    found = win_rate([1, 0, 0.5, 1, 1])
    assert (found["value"], found["n"]) == (0.7, 5)
    assert found["low"] < 0.7 < found["high"]


def test_against_itself_a_model_wins_half() -> None:
    scores = np.random.default_rng(0).normal(size=50).tolist()
    found = win_rate(outcomes(scores, scores))
    assert found == exactly(0.5, 50, baseline=0.5), "of ties alone no interval can be told"
    assert length_controlled(outcomes(scores, scores), [5] * 50, [5] * 50)["value"] == pytest.approx(0.5)


def test_what_a_judge_gives_for_length_alone_is_taken_out() -> None:
    random = np.random.default_rng(1)
    mine, other = random.integers(20, 60, 400), random.integers(10, 50, 400)
    won = (mine > other).astype(float)
    raw, controlled = win_rate(won), length_controlled(won, mine, other)
    assert raw["low"] > 0.6
    assert controlled["low"] < 0.5 < controlled["high"]
    assert abs(controlled["value"] - 0.5) < 0.15


def test_what_a_model_wins_whatever_the_length_stays() -> None:
    random = np.random.default_rng(2)
    mine, other = random.integers(10, 60, 300), random.integers(10, 60, 300)
    won = (random.random(300) < 0.8).astype(float)
    controlled = length_controlled(won, mine, other)
    assert controlled["value"] == pytest.approx(won.mean(), abs=0.03)
    assert controlled["low"] > 0.7


def test_a_model_that_always_wins_does_so_at_equal_length() -> None:
    assert length_controlled([1.0] * 9, list(range(9)), [4] * 9)["value"] == pytest.approx(1)


def test_the_regressions_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(4)
    longer = np.tanh(random.normal(size=(3, 80)))
    won = (random.random((3, 80)) < expit(0.5 + 2 * longer)).astype(float)
    won[0, :20] = 0.5
    for row, found in enumerate(at_equal_length(won, longer)):
        lengths, answers = np.concatenate([longer[row]] * 2)[:, None], np.repeat([1, 0], 80)
        weights = np.concatenate([won[row], 1 - won[row]])
        model = LogisticRegression(C=1, tol=1e-8).fit(lengths, answers, sample_weight=weights)
        assert found == pytest.approx(model.predict_proba(np.zeros((1, 1)))[0, 1], abs=1e-4)

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.estimates import apart, exactly, mean, ratio, share
from pipeline.evaluation.win_rate import at_equal_length, length_controlled, outcomes, win_rate


def test_ties_are_half_a_win() -> None:
    assert outcomes([1.0, 0.0, 2.0], [0.0, 1.0, 2.0]) == [1, 0, 0.5]
    found = win_rate([1, 0, 0.5, 1])
    assert found["value"] == 0.625
    assert found["n"] == 4
    assert found["low"] < 0.625 < found["high"]


def test_against_itself_a_model_wins_half() -> None:
    scores = np.random.default_rng(0).normal(size=50).tolist()
    found = win_rate(outcomes(scores, scores))
    assert found["value"] == found["low"] == found["high"] == 0.5
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


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = [mean(random.normal(1, 2, 60).tolist(), seed=trial) for trial in range(100)]
    assert 88 <= sum(each["low"] <= 1 <= each["high"] for each in held) <= 100


def test_a_quotient_is_that_of_the_sums() -> None:
    found = ratio([8.0, 1.0, 3.0], [2.0, 1.0, 3.0])
    assert found["value"] == 2
    assert 1 <= found["low"] < 2 < found["high"] <= 4
    assert ratio([3.0], [2.0])["low"] is None


def test_figures_are_apart_if_their_intervals_are() -> None:
    low, high = share(5, 100), share(50, 100)
    assert apart(low, high)
    assert apart(high, low)
    assert not apart(low, low)
    assert not apart(low, exactly(0.9, 100))
    assert share(0, 20)["high"] > 0.1

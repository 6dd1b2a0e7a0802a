"""Intervals hold what they say, and are not told where too little is known."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from pipeline.evaluation.estimates import apart, exactly, mean, median, ratio, resampled, score, share
from pipeline.evaluation.harness.portuguese import correlation, pearson


@pytest.mark.parametrize("draw", ["normal", "yes or no"])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(draw: str) -> None:
    random = np.random.default_rng(0)
    truth = 1.0 if draw == "normal" else 0.4
    held = 0
    for trial in range(200):
        values = random.normal(1, 2, 60) if draw == "normal" else random.binomial(1, 0.4, 60).astype(float)
        found = (mean if draw == "normal" else score)(values.tolist(), seed=trial)
        held += found["low"] <= truth <= found["high"]
    assert 0.88 <= held / 200 <= 0.99


def test_nothing_right_of_sixty_is_not_surely_nothing() -> None:
    found = score([0.0] * 60)
    assert found["low"] == pytest.approx(0, abs=1e-9)
    assert found["high"] == pytest.approx(0.06, abs=0.01)
    assert found == share(0, 60)


def test_of_a_handful_no_interval_is_told() -> None:
    for found in (mean([0.5] * 4), median([1.0, 2.0]), ratio([3.0, 1.0], [2.0, 2.0])):
        assert (found["low"], found["high"]) == (None, None)
    assert mean([0.5, 0.7, 0.1, 0.2, 0.4])["low"] < 0.38


def test_of_equal_values_no_interval_is_told_unless_they_are_shares() -> None:
    assert mean([0.5] * 60) == exactly(0.5, 60)
    assert ratio([3.0] * 9, [2.0] * 9) == exactly(1.5, 9)
    assert score([1.0] * 60)["low"] < 1


def test_a_quotient_is_that_of_the_sums() -> None:
    found = ratio([8.0, 1.0, 3.0, 8.0, 4.0], [2.0, 1.0, 3.0, 2.0, 4.0])
    assert found["value"] == 2
    assert 1 <= found["low"] < 2 < found["high"] <= 4


def test_a_median_lies_in_its_interval_which_one_slow_answer_does_not_widen() -> None:
    found = median([5.0, 6.0, 7.0, 6.0, 5.0, 7.0, 6.0, 6.0, 900.0])
    assert found["value"] == 6
    assert 5 <= found["low"] <= 6 <= found["high"] <= 7


def test_a_correlation_is_that_of_scipy_with_an_interval_around_it() -> None:
    random = np.random.default_rng(1)
    one = random.normal(size=40)
    other = one + random.normal(size=40)
    found = resampled(correlation, (one.tolist(), other.tolist()))
    assert found["value"] == pytest.approx(pearsonr(one, other).statistic)
    assert found["low"] < found["value"] < found["high"]
    assert pearson([(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)]) == 0


def test_figures_are_apart_if_their_intervals_are() -> None:
    low, high = share(5, 100), share(50, 100)
    assert apart(low, high)
    assert apart(high, low)
    assert not apart(low, low)
    assert not apart(low, exactly(0.9, 100))
    assert share(0, 20)["high"] > 0.1

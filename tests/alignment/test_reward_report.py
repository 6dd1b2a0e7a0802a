"""A reward model's report: confidence against what is true, and length, on models whose faults are known."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from pipeline.alignment.reward_plots import plot_reward
from pipeline.alignment.reward_report import Scored, report


def pairs_of(confidence: float, count: int = 4000) -> list[Scored]:
    """A model that says margins `confidence` times as large as they are; lengths mean nothing."""
    random = np.random.default_rng(0)
    margins = random.exponential(1.0, count)
    right = random.random(count) < 1 / (1 + np.exp(-margins))
    lengths = random.integers(2, 60, (count, 2)).tolist()
    signs = np.where(right, 1.0, -1.0)
    return [
        Scored(float(confidence * sign * margin), 0.0, *own, language="en" if own[0] % 2 else "pt")
        for sign, margin, own in zip(signs, margins, lengths, strict=True)
    ]


def test_the_calibration_error_is_that_of_an_independent_curve_and_near_zero_for_an_honest_model():
    pairs = pairs_of(1.0)
    found = report(pairs)["calibration"]
    sure = np.array([1 / (1 + math.exp(-abs(pair.margin))) for pair in pairs])
    right = np.array([pair.margin > 0 for pair in pairs])
    theirs, at = calibration_curve(right, (sure - 0.5) * 2, n_bins=10)  # its bins go from 0 to 1
    assert [each["value"] for each in found["bins"]] == pytest.approx(theirs)
    assert [each["confidence"] for each in found["bins"]] == pytest.approx(0.5 + at / 2)
    weights = np.array([each["pairs"] for each in found["bins"]]) / len(pairs)
    assert found["error"] == pytest.approx(float(np.sum(weights * np.abs(0.5 + at / 2 - theirs))))
    assert found["error"] < 0.03  # what chance leaves of 0 among 4,000
    assert found["brier"] == pytest.approx(float(np.mean((sure - right) ** 2)))


def test_a_model_that_is_too_sure_has_a_greater_error_and_the_same_accuracy():
    honest, boastful = report(pairs_of(1.0)), report(pairs_of(4.0))
    assert boastful["calibration"]["error"] > 0.1
    assert boastful["accuracy"] == honest["accuracy"]
    assert abs(honest["length"]["correlation"]) < 0.05
    assert {name: each["pairs"] for name, each in honest["languages"].items()}.keys() == {"en", "pt"}


def test_a_model_that_only_counts_tokens_is_found_out():
    random = np.random.default_rng(1)
    lengths = random.integers(5, 50, (300, 2)).tolist()
    pairs = [Scored(0.1 * chosen, 0.1 * rejected, chosen, rejected) for chosen, rejected in lengths]
    found = report(pairs)
    assert found["length"]["correlation"] == pytest.approx(1)
    assert found["length"]["within_prompts"] == pytest.approx(1)
    assert found["length"]["chosen_is_shorter"]["value"] == 0
    assert found["length"]["chosen_is_longer"]["value"] == 1
    assert abs(found["length"]["in_preferences"]) < 0.1
    assert found["accuracy"]["value"] == pytest.approx(found["baselines"]["longer"])
    parts = ("chosen_is_shorter", "chosen_is_longer", "same_length")
    assert sum(found["length"][part]["pairs"] for part in parts) == 300


def test_a_model_that_gives_all_the_same_is_right_half_the_time():
    found = report([Scored(1.0, 1.0, 3, 4), Scored(1.0, 1.0, 4, 3)])
    assert found["accuracy"]["value"] == 0.5
    assert found["length"]["correlation"] == 0


def test_the_pictures_are_drawn_whatever_is_missing(tmp_path):
    for number, pairs in enumerate((pairs_of(1.0, 200), [Scored(1.0, 0.0, 3, 3)])):
        folder = tmp_path / str(number)
        plot_reward(report(pairs), pairs, folder)
        assert {path.name for path in folder.iterdir()} == {"rewards.png", "calibration.png", "length.png"}

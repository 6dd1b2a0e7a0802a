"""From the seconds of a few trainings to those of each quantity."""

import pytest

from pipeline.models.cost import passes
from pipeline.training.measure import TRIALS, solve

SECONDS = {
    "eager.bf16.flops": 5e-12,
    "eager.bf16.layer_values": 8e-8,
    "eager.bf16.scores": 1e-8,
    "eager.bf16.layers": 2e-3,
}
WORKS = [passes("eager.bf16", trial.shape, trial.pieces, 256, trial.rows * 256, 1) for trial in TRIALS]


def seconds_of(work: dict[str, float], rates: dict[str, float]) -> float:
    return sum(amount * rates[quantity] for quantity, amount in work.items())


def test_the_trials_tell_each_quantity_apart():
    found = solve([(work, seconds_of(work, SECONDS)) for work in WORKS])
    assert found == pytest.approx(SECONDS)


def test_what_was_measured_badly_takes_no_less_than_nothing():
    noise = (1.3, 0.8, 1.0, 0.7, 1.2, 0.9)
    found = solve([(work, seconds_of(work, SECONDS) * off) for work, off in zip(WORKS, noise, strict=True)])
    assert all(seconds >= 0 for seconds in found.values())
    for work in WORKS:
        assert seconds_of(work, found) == pytest.approx(seconds_of(work, SECONDS), rel=0.35)

"""The spike guard: what stands out is skipped, and nothing else; its memory is exact."""

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.guard import WINDOW_STEPS, SpikeGuard

numbers = st.floats(0.1, 100)


def steady(guard: SpikeGuard, steps: int, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for step in range(steps):
        assert guard.spike(step, 3 + 0.1 * random.normal(), 0.5 + 0.05 * random.normal()) is None


def test_a_loss_far_above_the_recent_ones_is_a_spike_and_one_below_is_none():
    guard = SpikeGuard(20.0)
    steady(guard, WINDOW_STEPS)
    found = guard.spike(WINDOW_STEPS, 9.0, 0.5)
    assert found is not None
    assert (found.name, found.value) == ("loss", 9.0)
    assert 2.9 < found.median < 3.1 < found.bar < 6.5
    found = guard.spike(WINDOW_STEPS + 1, 3.0, 30.0)
    assert found is not None
    assert found.name == "gradient_norm"
    assert guard.skipped == [WINDOW_STEPS, WINDOW_STEPS + 1]
    assert guard.in_a_row == 2
    assert guard.spike(WINDOW_STEPS + 2, 0.01, 0.001) is None
    assert guard.in_a_row == 0


def test_nothing_is_a_spike_before_there_is_a_window_to_compare_with():
    guard = SpikeGuard(1.0)
    assert all(guard.spike(step, 10.0**step, 1.0) is None for step in range(WINDOW_STEPS))


def test_a_level_that_stays_is_taken_for_the_new_one_within_a_window():
    guard = SpikeGuard(20.0)
    steady(guard, WINDOW_STEPS)
    skipped = [guard.spike(WINDOW_STEPS + step, 9 + step % 3 / 10, 0.5) for step in range(WINDOW_STEPS)]
    assert skipped[0] is not None
    assert skipped[-1] is None


@given(st.lists(st.tuples(numbers, numbers), max_size=2 * WINDOW_STEPS), st.integers(0, 2 * WINDOW_STEPS))
def test_a_guard_that_was_saved_and_restored_decides_as_if_it_had_gone_on(steps, saved_at):
    whole, before = SpikeGuard(3.0), SpikeGuard(3.0)
    for number, (loss, norm) in enumerate(steps):
        if number == saved_at:
            after = SpikeGuard(3.0)
            after.restore(json.loads(json.dumps(before.state())))
            before = after
        assert whole.spike(number, loss, norm) == before.spike(number, loss, norm)
    assert whole.state() == before.state()


@given(st.lists(numbers, min_size=WINDOW_STEPS, max_size=WINDOW_STEPS), numbers)
def test_a_step_is_skipped_if_and_only_if_it_lies_above_the_bar(losses, value):
    guard = SpikeGuard(1.0)
    for step, loss in enumerate(losses):
        guard.spike(step, loss, 1.0)
    found = guard.spike(len(losses), value, 1.0)
    median = float(np.median(losses))
    spread = 1.4826 * float(np.median(np.abs(np.array(losses) - median)))
    bar = median + max(spread, 0.01 * median)
    assert (found is not None) == (value > bar) or math.isclose(value, bar)

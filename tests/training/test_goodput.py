"""The stopwatch and which checkpoints are kept."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.checkpoint_reading import Manifest
from pipeline.training.goodput import Stopwatch
from pipeline.training.retention import Retention


def test_every_second_goes_to_one_part():
    start, watch = time.monotonic(), Stopwatch()
    with watch.during("step"):
        time.sleep(0.05)
        with watch.during("save_wait"):
            time.sleep(0.02)
        time.sleep(0.01)
    seconds = watch.seconds()
    assert sum(seconds.values()) == pytest.approx(time.monotonic() - start, abs=0.01)
    assert seconds["step"] == pytest.approx(0.06, abs=0.03)
    assert seconds["save_wait"] == pytest.approx(0.02, abs=0.02)


def test_goodput_counts_what_was_lost_and_the_restart():
    watch = Stopwatch()
    for part, seconds in {"step": 60.0, "lost": 20.0, "restart": 20.0}.items():
        watch.add(part, seconds)
    assert watch.goodput() == pytest.approx(0.6, abs=0.001)


manifests = st.lists(
    st.tuples(st.integers(0, 50), st.none() | st.floats(0, 10)), unique_by=lambda pair: pair[0], max_size=20
).map(
    lambda pairs: {
        f"step-{step:08}": Manifest(step=step, tokens=0, workers=1, resolved={}, held_out_loss=loss)
        for step, loss in pairs
    }
)


@given(manifests, st.integers(1, 3), st.integers(0, 2), st.none() | st.integers(1, 9))
def test_kept_are_the_last_the_best_and_those_at_multiples(finished, last, best, every):
    kept = Retention(last, best, every).kept(finished)
    steps = {finished[folder].step for folder in kept}
    assert set(sorted(manifest.step for manifest in finished.values())[-last:]) <= steps
    if every:
        assert {m.step for m in finished.values() if m.step and m.step % every == 0} <= steps
    else:
        assert len(kept) <= last + best
    losses = sorted(m.held_out_loss for m in finished.values() if m.held_out_loss is not None)
    kept_losses = sorted(finished[f].held_out_loss for f in kept if finished[f].held_out_loss is not None)
    assert kept_losses[:best] == losses[:best]

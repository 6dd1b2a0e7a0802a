import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tokens.order import batch_rows, permute, places


@given(
    seed=st.integers(0, 2**70), total=st.integers(1, 300), batch=st.integers(1, 50), epochs=st.integers(1, 3)
)
def test_every_epoch_goes_through_all_rows_once(seed: int, total: int, batch: int, epochs: int):
    steps = -(-total * epochs // batch)
    rows = np.concatenate([batch_rows(seed, step, batch, total) for step in range(steps)])
    for epoch in range(epochs):
        assert sorted(rows[epoch * total : (epoch + 1) * total]) == list(range(total))


@given(total=st.integers(1, 10**12), step=st.integers(0, 10**9))
def test_rows_of_huge_corpora_are_in_range(total: int, step: int):
    rows = batch_rows(7, step, 16, total)
    assert rows.dtype == np.int64
    assert rows.min() >= 0
    assert rows.max() < total


@given(seed=st.integers(0, 2**70), size=st.integers(1, 2_000), epoch=st.integers(0, 5))
def test_from_a_row_back_to_its_place(seed: int, size: int, epoch: int):
    rows = permute(np.arange(size, dtype=np.uint64), size, seed, epoch)
    assert places(rows, size, seed, epoch).tolist() == list(range(size))


def test_a_row_that_there_is_not_has_no_place():
    with pytest.raises(ValueError, match="there are 5"):
        places(np.array([64]), 5, seed=1, epoch=0)


def test_the_order_does_not_depend_on_how_steps_are_cut():
    small = np.concatenate([batch_rows(3, step, 5, 77) for step in range(60)])
    large = np.concatenate([batch_rows(3, step, 20, 77) for step in range(15)])
    np.testing.assert_array_equal(small, large)


def test_the_order_is_the_same_on_every_machine_and_in_every_version():
    assert batch_rows(1, 0, 8, 100).tolist() == [4, 85, 19, 11, 50, 26, 21, 98]


def test_seeds_and_epochs_have_orders_of_their_own():
    first = batch_rows(1, 0, 1000, 1000)
    assert (first == batch_rows(2, 0, 1000, 1000)).mean() < 0.02
    assert (first == batch_rows(1, 1, 1000, 1000)).mean() < 0.02


def test_neighbouring_rows_are_spread_over_the_epoch():
    order = batch_rows(0, 0, 10_000, 10_000)
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize(("step", "batch", "total"), [(-1, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_impossible_sizes_are_refused(step: int, batch: int, total: int):
    with pytest.raises(ValueError, match="no batch"):
        batch_rows(0, step, batch, total)

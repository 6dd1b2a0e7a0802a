"""Two texts in one training: which rows are drawn, and that a number leads to the right row of its text."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tokens.mixture import MixedRows
from pipeline.tokens.order import mixed_rows
from pipeline.tokens.rows import Batch
from pipeline.training.loader import Loader
from pipeline.training.steps import Steps
from tests.training.toys import rows_of, toy_texts

SEED, BATCH = 3, 7


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> MixedRows:
    folder = tmp_path_factory.mktemp("mixture")
    domain = rows_of(folder / "domain", "train", ["the cat sees a dog. " * 9 for _ in range(9)], 32)
    return MixedRows(domain, rows_of(folder / "general", "train", toy_texts(20, seed=1), 32), 0.3)


@given(
    st.integers(0, 5),
    st.integers(1, 30),
    st.integers(1, 60),
    st.integers(1, 60),
    st.floats(0, 0.99),
    st.integers(1, 12),
)
def test_of_any_beginning_of_a_training_the_share_is_general_and_no_row_comes_twice_in_an_epoch(
    seed: int, batch: int, domain: int, general: int, share: float, steps: int
):
    drawn = np.concatenate([mixed_rows(seed, step, batch, domain, general, share) for step in range(steps)])
    of_domain, of_general = drawn[drawn < domain], drawn[drawn >= domain] - domain
    assert len(drawn) == steps * batch
    assert len(of_general) == int(steps * batch * share)
    for rows, size in ((of_domain, domain), (of_general, general)):
        for first in range(0, len(rows), size):
            epoch = rows[first : first + size]
            assert len(set(epoch.tolist())) == len(epoch)
            assert epoch.size == 0 or (epoch.min() >= 0 and epoch.max() < size)


@given(st.floats(0, 0.99), st.integers(1, 8), st.integers(2, 6))
def test_the_rows_do_not_hang_on_how_a_batch_is_cut_into_steps(share: float, batch: int, times: int):
    small = [mixed_rows(1, step, batch, 41, 17, share) for step in range(times)]
    large = mixed_rows(1, 0, batch * times, 41, 17, share)
    assert sorted(np.concatenate(small).tolist()) == sorted(large.tolist())


def test_a_text_without_rows_is_refused():
    with pytest.raises(ValueError, match="both must have some"):
        mixed_rows(0, 0, 8, 5, 0, 0.5)
    with pytest.raises(ValueError, match="below 1"):
        mixed_rows(0, 0, 8, 5, 5, 1.0)


def test_a_batch_has_each_texts_own_rows_in_the_order_asked_for(mixed):
    first = len(mixed.domain)
    found = mixed.batch(np.array([first + 2, 1, first, 4]))
    domain, general = mixed.domain.batch(np.array([1, 4])), mixed.general.batch(np.array([2, 0]))
    for name in Batch.__dataclass_fields__:
        rows = getattr(found, name)
        assert np.array_equal(rows[[1, 3]], getattr(domain, name))
        assert np.array_equal(rows[[0, 2]], getattr(general, name))
        assert rows.dtype == getattr(domain, name).dtype
    with pytest.raises(IndexError):
        mixed.batch(np.array([len(mixed)]))


def test_the_record_leads_from_a_step_to_the_documents_and_to_their_text(mixed):
    steps = Steps.of(mixed, seed=SEED, batch_rows=BATCH, steps=20, skipped=(3,))
    again = Steps.model_validate(steps.as_json())
    loader = Loader(mixed, seed=SEED, batch_rows=BATCH, micro_batch_rows=3, steps=20)
    texts = []
    for step in (0, 1, 11):
        rows = again.rows(step)
        assert rows == loader.take(step).rows.tolist()
        for row, origins in again.origins(step, mixed).items():
            texts.append(again.text_of(row))
            tokens = mixed.batch(np.array([row])).tokens_BT[0]
            assert any(ord("a") <= token <= ord("z") for token in tokens) == (texts[-1] == "domain")
            assert origins
            assert all(origin.url.startswith("http://test/") for origin in origins)
    assert 0 < texts.count("general") < texts.count("domain")


def test_every_number_of_workers_shares_the_same_rows(mixed):
    whole = Loader(mixed, seed=SEED, batch_rows=BATCH, micro_batch_rows=2, steps=9).take(4)
    for workers in (2, 3):
        parts = [
            Loader(
                mixed, seed=SEED, batch_rows=BATCH, micro_batch_rows=2, steps=9, part=part, parts=workers
            ).take(4)
            for part in range(workers)
        ]
        shared = [row for part in parts for each in part.micro_batches for row in each.rows.tolist()]
        assert shared == whole.rows.tolist()


def test_a_training_of_one_text_is_recorded_as_ever(tmp_path: Path):
    rows = rows_of(tmp_path, "train", toy_texts(5, seed=1), 32)
    told = Steps.of(rows, seed=1, batch_rows=2, steps=4).as_json()
    assert set(told) == {"order", "seed", "batch_rows", "total_rows", "steps", "skipped"}
    assert Steps.model_validate(told).text_of(0) == "domain"

"""Several texts in one training: which rows are drawn, and which row a number leads to."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tokens.mixture import TrainingRows, with_general
from pipeline.tokens.order import Stretch, drawn, mixed_rows
from pipeline.tokens.rows import Batch
from pipeline.training.loader import Loader
from pipeline.training.steps import Mixture, Shares, Steps
from tests.training.toys import rows_of, toy_texts

SEED, BATCH = 3, 7


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> TrainingRows:
    folder = tmp_path_factory.mktemp("mixture")
    domain = rows_of(folder / "domain", "train", ["the cat sees a dog. " * 9 for _ in range(9)], 32)
    return with_general(domain, rows_of(folder / "general", "train", toy_texts(20, seed=1), 32), 0.3)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[int], list[Stretch]]:
    """Rows of up to five texts, and shares that change up to three times."""
    texts = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    begins = [0, *sorted(draw(st.lists(st.integers(1, 300), max_size=3, unique=True)))]
    plan = []
    for begin in begins:
        weights = draw(st.lists(st.integers(0, 5), min_size=len(texts), max_size=len(texts)).filter(any))
        plan.append(Stretch(begin, tuple(weight / sum(weights) for weight in weights)))
    return texts, plan


@given(plans(), st.integers(0, 5), st.integers(1, 30), st.integers(1, 12))
def test_each_text_gives_its_share_and_goes_through_epochs_of_its_own(
    mixture: tuple[list[int], list[Stretch]], seed: int, batch: int, steps: int
):
    texts, plan = mixture
    rows = np.concatenate([mixed_rows(seed, step, batch, texts, plan) for step in range(steps)])
    assert len(rows) == steps * batch
    counts = drawn(steps * batch, plan)
    for text, size in enumerate(texts):
        first = sum(texts[:text])
        own = [row - first for row in rows.tolist() if first <= row < first + size]
        assert len(own) == counts[text]
        for begin in range(0, len(own), size):
            epoch = own[begin : begin + size]
            assert len(set(epoch)) == len(epoch)


@given(plans(), st.integers(0, 500))
def test_shares_hold_at_every_moment_and_nothing_is_taken_back(
    mixture: tuple[list[int], list[Stretch]], rows: int
):
    texts, plan = mixture
    counts, more = drawn(rows, plan), drawn(rows + 1, plan)
    assert sum(counts) == rows
    assert all(after >= before for before, after in zip(counts, more, strict=True))
    ends = [*(stretch.first_row for stretch in plan[1:]), rows]
    lengths = [max(0, min(end, rows) - stretch.first_row) for stretch, end in zip(plan, ends, strict=True)]
    for text, count in enumerate(counts):
        asked = sum(length * stretch.shares[text] for length, stretch in zip(lengths, plan, strict=True))
        assert abs(count - asked) < len(texts) * len(plan) + 1e-6


@given(plans(), st.integers(1, 8), st.integers(2, 6))
def test_the_rows_do_not_hang_on_how_a_batch_is_cut_into_steps(
    mixture: tuple[list[int], list[Stretch]], batch: int, times: int
):
    small = [mixed_rows(1, step, batch, *mixture) for step in range(times)]
    large = mixed_rows(1, 0, batch * times, *mixture)
    assert sorted(np.concatenate(small).tolist()) == sorted(large.tolist())


@given(st.floats(0, 0.99), st.integers(0, 10**6))
def test_of_two_texts_the_second_has_its_share_rounded_down(share: float, rows: int):
    """As trainings were recorded before there could be more than two."""
    assert drawn(rows, [Stretch(0, (1 - share, share))])[1] == int(rows * share)


def test_a_record_of_two_texts_of_before_is_read():
    old = '{"order": 1, "seed": 3, "batch_rows": 7, "total_rows": 9, "steps": 20, "skipped": [], '
    steps = Steps.model_validate_json(old + '"general": {"total_rows": 20, "share": 0.3}}')
    assert steps.rows(11) == mixed_rows(SEED, 11, BATCH, [9, 20], [Stretch(0, (0.7, 0.3))]).tolist()
    assert [steps.text_of(row) for row in (0, 8, 9, 28)] == ["domain", "domain", "general", "general"]


def test_shares_that_are_none_are_refused():
    for shares in ((0.5, 0.4), (1.5, -0.5)):
        with pytest.raises(ValueError, match="1 together"):
            Stretch(0, shares)


def test_a_text_without_rows_is_refused():
    with pytest.raises(ValueError, match="must have rows"):
        mixed_rows(0, 0, 8, [5, 0], [Stretch(0, (0.5, 0.5))])
    assert set(mixed_rows(0, 0, 8, [5, 0], [Stretch(0, (1.0, 0.0))]).tolist()) == {0, 1, 2, 3, 4}


def test_a_batch_has_each_texts_own_rows_in_the_order_asked_for(mixed):
    first = len(mixed.parts[0])
    found = mixed.batch(np.array([first + 2, 1, first, 4]))
    domain, general = (
        text.batch(np.array(rows)) for text, rows in zip(mixed.parts, ([1, 4], [2, 0]), strict=True)
    )
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


@given(plans(), st.integers(1, 9), st.integers(1, 25))
def test_from_a_row_to_the_steps_that_used_it(
    mixture: tuple[list[int], list[Stretch]], batch: int, count: int
):
    texts, plan = mixture
    shares = tuple(Shares(first_row=each.first_row, shares=each.shares) for each in plan)
    names = tuple(f"text-{number}" for number in range(len(texts)))
    steps = Steps(
        seed=SEED,
        batch_rows=batch,
        total_rows=sum(texts),
        steps=count,
        mixture=Mixture(names=names, rows=tuple(texts), plan=shares),
    )
    used: dict[int, list[int]] = {row: [] for row in range(sum(texts))}
    for step in range(count):
        for row in dict.fromkeys(steps.rows(step)):
            used[row].append(step)
    assert {row: steps.uses(row) for row in used} == used


def test_of_one_text_too_the_steps_are_found():
    steps = Steps(seed=SEED, batch_rows=BATCH, total_rows=23, steps=20)
    used = {row: [step for step in range(20) if row in steps.rows(step)] for row in range(23)}
    assert {row: steps.uses(row) for row in used} == used


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
    assert Steps.model_validate(told).text_of(0) is None

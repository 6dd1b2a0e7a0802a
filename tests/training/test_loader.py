"""The loader that works ahead: the same batches, an error that comes through, no thread left behind."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.tokens.order import batch_rows
from pipeline.tokens.rows import NO_LABEL, Rows
from pipeline.training.forward import to_device
from pipeline.training.loader import Loader, StepBatch
from tests.training.toys import toy_data

BATCH_ROWS, MICRO, STEPS = 8, 3, 30


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return toy_data(tmp_path_factory.mktemp("toy")).train


def loader_of(rows: Rows, **given: int) -> Loader:
    values = {"seed": 5, "batch_rows": BATCH_ROWS, "micro_batch_rows": MICRO, "steps": STEPS} | given
    return Loader(rows, **values)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def assert_same(found: StepBatch, expected: StepBatch) -> None:
    assert (found.step, found.rows.tolist()) == (expected.step, expected.rows.tolist())
    assert [part.labels for part in found.micro_batches] == [part.labels for part in expected.micro_batches]
    for ours, theirs in zip(found.micro_batches, expected.micro_batches, strict=True):
        for one, other in zip(ours.tensors.given, theirs.tensors.given, strict=True):
            assert torch.equal(one, other)


def test_what_was_prepared_ahead_is_what_is_made_on_the_spot(rows):
    with loader_of(rows) as ahead:
        for step in [0, 1, 2, 9, 10, 3, STEPS - 1]:
            assert_same(ahead.take(step), loader_of(rows).take(step))


def test_a_batch_is_the_rows_of_its_step_and_every_micro_batch_has_one_shape(rows):
    found = loader_of(rows).take(7)
    expected = batch_rows(5, 7, BATCH_ROWS, len(rows))
    assert found.rows.tolist() == expected.tolist()
    whole = to_device(rows.batch(expected), BATCH_ROWS, rows.pad, torch.device("cpu"))
    parts = [part.tensors for part in found.micro_batches]
    assert [part.tokens_BT.shape for part in parts] == [(MICRO, rows.row_tokens)] * 3
    assert torch.equal(torch.cat([part.tokens_BT for part in parts])[:BATCH_ROWS], whole.tokens_BT)
    assert torch.equal(torch.cat([part.labels_BT for part in parts])[:BATCH_ROWS], whole.labels_BT)
    assert (parts[-1].labels_BT[2:] == NO_LABEL).all()
    assert sum(part.labels for part in found.micro_batches) == int((whole.labels_BT != NO_LABEL).sum())


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_ranks_share_a_batch_without_gap_or_overlap(rows, parts):
    tokens = [
        part.tensors.tokens_BT
        for rank in range(parts)
        for part in loader_of(rows, part=rank, parts=parts, micro_batch_rows=1).take(4).micro_batches
    ]
    whole = rows.batch(batch_rows(5, 4, BATCH_ROWS, len(rows))).tokens_BT
    assert np.array_equal(torch.cat(tokens).numpy(), whole)


def test_the_next_batch_is_there_when_the_step_took_longer_than_preparing_it(rows, monkeypatch):
    original = Rows.batch

    def slow(self, indices):
        time.sleep(0.02)
        return original(self, indices)

    monkeypatch.setattr(Rows, "batch", slow)
    with loader_of(rows) as ahead:
        ahead.take(0)
        waited = ahead.waited_seconds
        assert waited >= 0.06  # three micro-batches, made on the spot
        for step in range(1, 4):
            time.sleep(0.3)  # the device computes
            ahead.take(step)
        assert ahead.waited_seconds - waited < 0.03


def test_an_error_in_the_thread_is_raised_for_its_step_and_the_thread_is_gone_after(rows, monkeypatch):
    original = Rows.batch
    bad = set(batch_rows(5, 1, BATCH_ROWS, len(rows)).tolist())

    def torn(self, indices):
        if set(indices.tolist()) <= bad:
            raise OSError("the shard is gone")
        return original(self, indices)

    monkeypatch.setattr(Rows, "batch", torn)
    with loader_of(rows) as ahead:
        assert ahead.take(0).step == 0
        assert threads()
        with pytest.raises(OSError, match="the shard is gone"):
            ahead.take(1)
    assert not threads()


def test_nothing_is_prepared_beyond_the_last_step(rows, monkeypatch):
    prepared = []
    original = Loader.prepare
    monkeypatch.setattr(Loader, "prepare", lambda self, step: prepared.append(step) or original(self, step))
    with loader_of(rows, steps=3) as ahead:
        for step in range(3):
            ahead.take(step)
    assert prepared == [0, 1, 2]


def test_a_loop_that_ends_by_an_exception_leaves_no_thread(tmp_path: Path, monkeypatch):
    from pipeline.compute_config import ComputeConfig
    from pipeline.training.group import Group
    from pipeline.training.loop import Loop
    from pipeline.training.worker import train
    from tests.training.toys import toy_attempt, toy_config

    original = Loop.train_step
    seen = []

    def train_step(self):
        seen.extend(threads())
        if self.step == 3:
            raise KeyError("the fourth step")
        return original(self)

    monkeypatch.setattr(Loop, "train_step", train_step)
    with pytest.raises(KeyError):
        train(
            toy_config(),
            ComputeConfig(compile=False, threads=1),
            toy_attempt(tmp_path),
            toy_data(tmp_path / "data"),
            Group.alone(),
        )
    assert seen
    assert not threads()

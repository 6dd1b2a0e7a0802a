"""What a run does about spikes, notices to leave, and another number of workers; where its time goes."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import stop_notice
from pipeline.compute_config import ComputeConfig, worker_range
from pipeline.stop_wish import await_checkpoint, heard, was_wished
from pipeline.store import Attempt, JournalReader, Storage, sha256_of
from pipeline.tokens.order import batch_rows
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.group import Group
from pipeline.training.guard import SKIPS_IN_A_ROW, WINDOW_STEPS
from pipeline.training.loader import MicroBatch
from pipeline.training.loop import Loop
from pipeline.training.preemption import PreemptedError, Preemption
from pipeline.training.steps import STEPS, Steps, UnknownOrderError
from pipeline.training.update import LossSpikesError
from pipeline.training.worker import Data, train
from tests.training.toys import toy_attempt, toy_config, toy_data

COMPUTE = ComputeConfig(compile=False, threads=1, checkpoint_seconds=1000, keep_every_steps=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"))


def lines_of(attempt: Attempt, kind: str) -> list[dict[str, Any]]:
    lines = JournalReader(attempt.storage, f"{attempt.folder}/journal").read()
    return [line for line in lines if line["kind"] == kind]


def weights_of(attempt: Attempt) -> str:
    return sha256_of(attempt.path("model/model.safetensors"))


class KilledError(Exception):
    """Stands for a kill where the process itself has to live on."""


def before_each_step(monkeypatch: pytest.MonkeyPatch, do: Any) -> None:
    original = Loop.train_step

    def train_step(self: Loop) -> Any:
        do(self)
        return original(self)

    monkeypatch.setattr(Loop, "train_step", train_step)


def stop_at(step: int) -> Any:
    def stop(loop: Loop) -> None:
        if loop.step == step:
            raise KilledError

    return stop


# --- spikes ---


@pytest.fixture
def spiky(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps whose gradients are a thousand times too large; to be filled."""
    steps: list[int] = []
    original = Loop._average_gradients

    def average(self: Loop, labels: float) -> float:
        return original(self, labels) * (1000 if self.step in steps else 1)

    monkeypatch.setattr(Loop, "_average_gradients", average)
    return steps


LONG = toy_config(steps=WINDOW_STEPS + 12, evaluate_every=100, prompts=())


def test_an_update_that_spikes_is_skipped_and_told_with_its_urls(tmp_path, data, spiky):
    spiky += [3, WINDOW_STEPS + 2]  # the first is in a window that is not full
    attempt = toy_attempt(tmp_path)
    train(LONG, COMPUTE, attempt, data, Group.alone())
    [told] = lines_of(attempt, "skipped-update")
    assert told["step"] == WINDOW_STEPS + 2
    assert told["spike"]["name"] == "gradient_norm"
    rows = batch_rows(LONG.seed, told["step"], 8, len(data.train))
    assert {int(row): urls for row, urls in told["rows"].items()} == {
        int(row): [origin.url for origin in data.train.origin(int(row))] for row in rows
    }
    assert "update skipped" in lines_of(attempt, "warning")[0]["message"]
    steps = Steps.model_validate_json(attempt.path(STEPS).read_text())
    assert steps.skipped == (told["step"],)
    result = json.loads(attempt.storage.read(f"{attempt.folder}/result.json"))
    labels = int((data.train.batch(rows).labels_BT >= 0).sum())
    whole = sum(
        int((data.train.batch(np.array(steps.rows(step))).labels_BT >= 0).sum())
        for step in range(steps.steps)
    )
    assert result["counts"]["tokens"] == whole - labels


def test_a_run_that_is_resumed_before_a_spike_skips_it_as_the_undisturbed_one_does(
    tmp_path, data, spiky, monkeypatch
):
    spiky += [WINDOW_STEPS + 1, WINDOW_STEPS + 6]
    whole = toy_attempt(tmp_path / "whole")
    train(LONG, COMPUTE, whole, data, Group.alone())
    with pytest.MonkeyPatch.context() as patch:
        before_each_step(patch, stop_at(WINDOW_STEPS + 5))
        with pytest.raises(KilledError):
            train(LONG, COMPUTE, toy_attempt(tmp_path), data, Group.alone())
    second = toy_attempt(tmp_path, "second")
    train(LONG, COMPUTE, second, data, Group.alone())
    assert [line["step"] for line in lines_of(second, "resumed")] == [WINDOW_STEPS + 4]
    assert weights_of(second) == weights_of(whole)
    assert Steps.model_validate_json(second.path(STEPS).read_text()).skipped == tuple(spiky)


def test_one_spike_after_another_ends_the_training_with_what_to_do(tmp_path, data, spiky):
    spiky += range(WINDOW_STEPS, WINDOW_STEPS + SKIPS_IN_A_ROW)
    config = toy_config(steps=WINDOW_STEPS + SKIPS_IN_A_ROW + 1, prompts=())
    attempt = toy_attempt(tmp_path)
    with pytest.raises(
        LossSpikesError, match=r"Lower pretrain\.learning_rate \(now 0\.01\) or raise pretrain"
    ):
        train(config, COMPUTE, attempt, data, Group.alone())
    assert len(lines_of(attempt, "skipped-update")) == SKIPS_IN_A_ROW


def test_a_healthy_run_skips_nothing(tmp_path, data):
    attempt = toy_attempt(tmp_path)
    train(toy_config(steps=3 * WINDOW_STEPS, prompts=()), COMPUTE, attempt, data, Group.alone())
    assert not lines_of(attempt, "skipped-update")


# --- notices ---


def test_sigterm_while_training_saves_at_the_next_step_and_leaves(tmp_path, data, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    stop_notice.take_notices()
    try:
        with pytest.MonkeyPatch.context() as patch:
            before_each_step(
                patch, lambda loop: os.kill(os.getpid(), signal.SIGTERM) if loop.step == 6 else None
            )
            with pytest.raises(PreemptedError):
                train(toy_config(), COMPUTE, toy_attempt(tmp_path), data, Group.alone())
    finally:
        signal.signal(signal.SIGTERM, before)
    found, _ = Checkpoints(toy_attempt(tmp_path, "second"), "x").newest()
    assert found is not None
    assert found.manifest.step == 7


def test_a_driver_that_is_stopped_waits_until_the_step_is_saved(tmp_path, data, monkeypatch):
    attempt, driver = toy_attempt(tmp_path), threading.Event()
    monkeypatch.setattr("pipeline.stop_wish.LOOK_SECONDS", 0.01)

    def stop(loop: Loop) -> None:
        if loop.step == 6:
            driver.set()
            time.sleep(0.1)  # in which the wish is heard

    def drive() -> None:
        driver.wait()
        await_checkpoint(attempt)

    before_each_step(monkeypatch, stop)
    (thread := threading.Thread(target=drive)).start()
    with pytest.raises(PreemptedError), heard(attempt):
        train(toy_config(), COMPUTE, attempt, data, Group.alone())
    thread.join()
    (told,) = lines_of(attempt, "preempted")
    found, _ = Checkpoints(toy_attempt(tmp_path, "second"), "x").newest()
    assert found is not None
    assert told["step"] == found.manifest.step >= 7
    assert not lines_of(attempt, "warning")
    assert was_wished(attempt)


def test_a_stop_does_not_wait_for_a_training_that_has_nothing_to_save_or_does_not_answer(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.stop_wish.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("pipeline.stop_wish.ANSWER_SECONDS", 0.3)
    attempt, began = toy_attempt(tmp_path), time.monotonic()
    await_checkpoint(attempt)
    other = toy_attempt(tmp_path, "other")
    with heard(other), stop_notice.listening(lambda: False):
        await_checkpoint(other)
    assert time.monotonic() - began < 5
    assert not lines_of(attempt, "warning")
    assert not lines_of(other, "warning")


def test_a_node_that_is_foretold_to_go_is_saved_for_once_and_trained_on(tmp_path, data, monkeypatch):
    monkeypatch.setattr("pipeline.training.preemption.ASK_SECONDS", 0.0)
    asked = []

    def ask() -> bool:
        asked.append(True)
        return len(asked) >= 5

    attempt = toy_attempt(tmp_path)
    train(toy_config(), COMPUTE, attempt, data, Group.alone(), preemption=Preemption(ask))
    assert [line["step"] for line in lines_of(attempt, "preempted")] == [5]
    assert len(asked) == 5
    train(toy_config(), COMPUTE, whole := toy_attempt(tmp_path / "whole"), data, Group.alone())
    assert weights_of(attempt) == weights_of(whole)


# --- time ---


def test_what_an_interruption_cost_is_counted(tmp_path, data):
    with pytest.MonkeyPatch.context() as patch:
        before_each_step(patch, lambda loop: time.sleep(0.2))
        before_each_step(patch, stop_at(11))
        with pytest.raises(KilledError):
            train(toy_config(), COMPUTE, attempt := toy_attempt(tmp_path), data, Group.alone())
    died = time.time()
    time.sleep(2)
    train(toy_config(), COMPUTE, attempt, data, Group.alone())
    result = json.loads(attempt.storage.read(f"{attempt.folder}/result.json"))
    seconds = result["compute"]["seconds"]
    assert 0.1 < seconds["lost"] < 3  # steps 8 to 10, as far as they were told
    assert 2 <= seconds["restart"] <= time.time() - died
    assert result["figures"]["goodput"] == pytest.approx(seconds["step"] / sum(seconds.values()), abs=0.02)


# --- another number of workers ---

CONFIG = toy_config(steps=18, evaluate_every=6, precision="fp32", prompts=())


def recording(folder: Path, rank: int, stop: int | None) -> pytest.MonkeyPatch:
    """Write down the rows of each step, and stop before one."""
    patch, accumulate = pytest.MonkeyPatch(), Loop._accumulate

    def noted(self: Loop, micro_batches: list[MicroBatch]) -> Any:
        if self.step == stop:
            raise KilledError
        totals = accumulate(self, micro_batches)
        rows = [int(row) for each in micro_batches for row in each.rows]
        told = {"rows": rows, "loss": float(totals[0] / totals[1])}
        (folder / f"step-{self.step:02}-rank-{rank}.json").write_text(json.dumps(told))
        return totals

    patch.setattr(Loop, "_accumulate", noted)
    return patch


def part_of_two(rank: int, folder: str, port: int, stop: int) -> None:
    """One of two processes that train together by gloo until a step."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    data = toy_data(Path(folder) / f"data-{rank}")
    recording(Path(folder), rank, stop)
    attempt = Attempt(Storage(f"{folder}/store"), "pretrain", "toy", "two")
    with pytest.raises(KilledError):
        train(CONFIG, COMPUTE, attempt, data, Group(rank, 2, torch.device("cpu")))
    torch.distributed.destroy_process_group()


def train_alone(folder: Path, data: Data, id: str, stop: int | None) -> Attempt:
    attempt, patch = toy_attempt(folder, id), recording(folder, 0, stop)
    try:
        train(CONFIG, COMPUTE, attempt, data, Group.alone())
    except KilledError:
        assert stop is not None
    finally:
        patch.undo()
    return attempt


def noted(folder: Path) -> tuple[list[list[int]], list[float]]:
    """Rows and loss of each step, ranks put together."""
    steps: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("step-*.json")):
        steps.setdefault(path.name[:7], []).append(json.loads(path.read_text()))
    rows = [[row for part in steps[step] for row in part["rows"]] for step in sorted(steps)]
    return rows, [steps[step][0]["loss"] for step in sorted(steps)]


def test_one_worker_then_two_then_one_see_the_same_rows_and_losses(tmp_path, data):
    whole, changing = tmp_path / "whole", tmp_path / "changing"
    whole.mkdir()
    changing.mkdir()
    train_alone(whole, data, "whole", None)
    train_alone(changing, data, "one", 7)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(part_of_two, (str(changing), port, 14), nprocs=2)
    for path in changing.glob("step-*-rank-0.json"):  # steps after the last checkpoint are done again
        if int(path.name[5:7]) >= 12:
            path.unlink()
            path.with_name(path.name.replace("rank-0", "rank-1")).unlink()
    last = train_alone(changing, data, "again", None)
    resumed = [
        line["step"] for id in ("two", "again") for line in lines_of(toy_attempt(changing, id), "resumed")
    ]
    assert resumed == [4, 12]
    (rows, losses), (expected_rows, expected) = noted(changing), noted(whole)
    assert rows == expected_rows
    assert losses == pytest.approx(expected, abs=1e-3)
    steps = Steps.model_validate_json(last.path(STEPS).read_text())
    assert [steps.rows(step) for step in range(steps.steps)] == rows
    assert steps.origins(3, data.train) == {row: data.train.origin(row) for row in rows[3]}


def test_steps_of_another_order_are_refused():
    with pytest.raises(UnknownOrderError, match="order 0"):
        Steps(order=0, seed=0, batch_rows=2, total_rows=4, steps=1).rows(0)


# --- settings ---


@pytest.mark.parametrize(("given", "expected"), [(None, None), (3, (3, 3)), ("3", (3, 3)), ("2-8", (2, 8))])
def test_workers_are_a_number_or_a_range(given, expected):
    assert worker_range(given) == expected
    assert ComputeConfig(training_workers=given).training_workers == (3 if given in (3, "3") else given)


@pytest.mark.parametrize("given", [0, "0-3", "a", "2-", "-2", "1-2-3", -1])
def test_what_is_neither_is_refused_with_what_would_do(given):
    with pytest.raises(ValueError, match="such as '2-8'"):
        ComputeConfig(training_workers=given)


def test_a_range_that_is_the_wrong_way_round_is_told_so():
    with pytest.raises(ValueError, match="write '2-8'"):
        ComputeConfig(training_workers="8-2")

"""Killed and run again: the same bits. Torn checkpoints: noticed, named, and the one before taken."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.compute_config import ComputeConfig
from pipeline.hardware import products
from pipeline.store import Attempt, JournalReader, NoRoomError, sha256_of
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.compiled import CompileError
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.resolve import has_compiler
from pipeline.training.worker import Data, train
from tests.machine import small_disk
from tests.training.toys import toy_attempt, toy_config, toy_data

EVERY_STEP = ComputeConfig(compile=False, threads=1, checkpoint_seconds=0)
CONFIG = toy_config(steps=20, evaluate_every=10)


class KilledError(Exception):
    """Stands for a kill where the process itself has to live on."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Data) -> str:
    """SHA-256 of the weights of a run that nobody disturbed."""
    attempt = toy_attempt(tmp_path_factory.mktemp("undisturbed"))
    train(CONFIG, EVERY_STEP, attempt, data, Group.alone())
    return weights_of(attempt)


def weights_of(attempt: Attempt) -> str:
    return sha256_of(attempt.path("model/model.safetensors"))


def stop_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop end when it comes to this step."""
    original = Loop.train_step

    def train_step(self):
        if self.step == step:
            raise KilledError
        return original(self)

    monkeypatch.setattr(Loop, "train_step", train_step)


def train_until(step: int, folder: Path, data: Data) -> Attempt:
    attempt = toy_attempt(folder)
    with pytest.MonkeyPatch.context() as patch:
        stop_before(step, patch)
        with pytest.raises(KilledError):
            train(CONFIG, EVERY_STEP, attempt, data, Group.alone())
    return attempt


def resume(folder: Path, data: Data) -> tuple[str, list[dict]]:
    """A new attempt at the same artifact: the weights' hash, and its journal."""
    attempt = toy_attempt(folder, "second")
    train(CONFIG, EVERY_STEP, attempt, data, Group.alone())
    return weights_of(attempt), list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())


@pytest.mark.parametrize("step", [0, 1, 10, 19])
def test_a_run_that_stopped_at_any_step_ends_with_the_same_bits(tmp_path, data, undisturbed, step):
    train_until(step, tmp_path, data)
    weights, journal = resume(tmp_path, data)
    assert weights == undisturbed
    assert [line["step"] for line in journal if line["kind"] == "resumed"] == [step]


def test_a_run_that_was_done_but_not_published_is_exported_without_another_step(tmp_path, data, undisturbed):
    train(CONFIG, EVERY_STEP, toy_attempt(tmp_path), data, Group.alone())
    weights, journal = resume(tmp_path, data)
    assert weights == undisturbed
    assert not [line for line in journal if line["kind"] == "progress"]


def test_a_full_disk_costs_no_step_that_was_saved(tmp_path, data, undisturbed):
    with small_disk(tmp_path / "disk") as disk:
        train_until(3, disk.folder, data)
        disk.leave(100_000)
        attempt = toy_attempt(disk.folder, "full")
        with pytest.raises(NoRoomError, match="Make room"):
            train(CONFIG, EVERY_STEP, attempt, data, Group.alone())
        assert not list(attempt.path(".").glob("checkpoints/*/*"))
        disk.resize(256 << 20)
        weights, journal = resume(disk.folder, data)
    assert weights == undisturbed
    assert [line["step"] for line in journal if line["kind"] == "resumed"] == [3]


def run_slowly(attempt: Attempt, data: Data) -> None:
    original = Loop.train_step

    def train_step(self):
        time.sleep(0.05)
        return original(self)

    Loop.train_step = train_step
    train(CONFIG, EVERY_STEP, attempt, data, Group.alone())


def test_a_process_killed_by_sigkill_goes_on_to_the_same_bits(tmp_path, data, undisturbed):
    attempt = toy_attempt(tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=run_slowly, args=(attempt, data))
    process.start()
    end = time.monotonic() + 120
    while not (found := Checkpoints(attempt, "x").newest()[0]) or found.manifest.step < 5:
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    weights, journal = resume(tmp_path, data)
    assert weights == undisturbed
    assert next(line["step"] for line in journal if line["kind"] == "resumed") >= 5


FILES = ["manifest.json", ".metadata", "__0_0.distcp", "random-00000.pt"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_torn_checkpoint_is_named_and_the_one_before_taken(tmp_path, data, name, damage):
    attempt = train_until(3, tmp_path, data)
    newest = sorted(attempt.path("checkpoints").iterdir())[-1]
    file, content = newest / name, (newest / name).read_bytes()
    middle = len(content) // 2
    if damage == "gone":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[:middle])
    else:
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    found, faults = Checkpoints(toy_attempt(tmp_path, "second"), "x").newest()
    assert found is not None
    assert found.manifest.step == 2
    assert len(faults) == 1
    assert newest.name in faults[0]


def test_a_run_goes_on_from_before_a_torn_checkpoint_to_the_same_bits(tmp_path, data, undisturbed):
    attempt = train_until(7, tmp_path, data)
    newest = sorted(attempt.path("checkpoints").iterdir())[-1]
    (newest / "__0_0.distcp").write_bytes(b"")
    weights, journal = resume(tmp_path, data)
    assert weights == undisturbed
    assert newest.name in next(line["message"] for line in journal if line["kind"] == "warning")


def test_only_the_last_two_checkpoints_are_kept_over_all_attempts(tmp_path, data):
    first = train_until(9, tmp_path, data)
    assert [folder.name[:13] for folder in sorted(first.path("checkpoints").iterdir())] == [
        "step-00000008",
        "step-00000009",
    ]
    resume(tmp_path, data)
    assert list(first.path("checkpoints").iterdir()) == []


def test_what_was_chosen_automatically_is_kept_on_resume(tmp_path, data):
    attempt = toy_attempt(tmp_path)
    by_hand = EVERY_STEP.model_copy(update={"micro_batch_rows": 3, "threads": 2})
    with pytest.MonkeyPatch.context() as patch:
        stop_before(2, patch)
        with pytest.raises(KilledError):
            train(CONFIG, by_hand, attempt, data, Group.alone())
    second = toy_attempt(tmp_path, "second")
    train(CONFIG, ComputeConfig(checkpoint_seconds=0), second, data, Group.alone())
    found, _ = Checkpoints(second, "x").newest()
    assert found is not None
    assert found.manifest.resolved == {
        "device": "cpu",
        "workers": 1,
        "threads": 2,
        "micro_batch_rows": 3,
        "compile": False,
        "products": products("bf16", "cpu"),
        "attention": "dense",
        "fused_loss": False,
        "shards": 1,
        "tensor_parallel": 1,
        "activation_checkpointing": "none",
        "offload_optimizer": False,
    }


@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs g++ and Python's headers")
@pytest.mark.everything
def test_a_compiled_run_on_several_threads_goes_on_to_the_same_bits(tmp_path, data):
    compiled = ComputeConfig(compile=True, threads=2, checkpoint_seconds=0)
    config = toy_config(steps=6, evaluate_every=6, width=64)
    whole = toy_attempt(tmp_path / "whole")
    train(config, compiled, whole, data, Group.alone())
    with pytest.MonkeyPatch.context() as patch:
        stop_before(3, patch)
        with pytest.raises(KilledError):
            train(config, compiled, toy_attempt(tmp_path), data, Group.alone())
    second = toy_attempt(tmp_path, "second")
    train(config, compiled, second, data, Group.alone())
    assert weights_of(second) == weights_of(whole)


@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs g++ and Python's headers")
def test_a_compiler_that_is_asked_for_and_missing_is_told(tmp_path, data):
    import torch
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    nowhere = {"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True}
    with inductor.patch(nowhere), pytest.raises(CompileError, match=r"install g\+\+"):
        train(CONFIG, ComputeConfig(compile=True, threads=1), toy_attempt(tmp_path), data, Group.alone())

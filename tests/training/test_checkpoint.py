"""Checkpoints by themselves: what is saved is loaded to the bit, and nothing torn or foreign is believed."""

import json
import os
import pickle
import shutil
from pathlib import Path, PosixPath
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING

from pipeline.store import Attempt, Storage, sha256_of
from pipeline.training.checkpoint import Checkpoints, Manifest
from pipeline.training.checkpoint_reading import MANIFEST, Checkpoint, State, sealed
from pipeline.training.group import Group
from pipeline.training.retention import Retention
from tests.training.toys import toy_attempt

ALONE = Group.alone()


def state_of(seed: int) -> State:
    torch.manual_seed(seed)
    return {
        "model": {"a.weight": torch.randn(5, 3), "b.weight": torch.randn(4).bfloat16()},
        "optimizer": {"a.weight.exp_avg": torch.randn(5, 3), "a.weight.step": torch.tensor(float(seed))},
    }


def manifest(step: int) -> Manifest:
    return Manifest(step=step, tokens=step, workers=1, resolved={})


def equal(left: State, right: State) -> bool:
    return all(torch.equal(left[part][name], right[part][name]) for part in left for name in left[part])


def loaded(checkpoint: Checkpoint) -> State:
    found = state_of(99)
    checkpoint.load(found)
    return found


def saved(attempt: Attempt, steps: int = 2) -> list[Path]:
    """Checkpoints of steps 1 to `steps`, whose state has the step as seed; the files of the newest."""
    with Checkpoints(attempt, "x") as checkpoints:
        for step in range(1, steps + 1):
            checkpoints.save(ALONE, manifest(step), state_of(step))
    return sorted(attempt.path(f"checkpoints/step-{steps:08}-x").iterdir())


def test_what_is_written_is_what_was_there_when_saving_began(tmp_path):
    checkpoints, state = Checkpoints(toy_attempt(tmp_path), "x"), state_of(1)
    checkpoints.save(ALONE, manifest(1), state)
    for tensors in state.values():
        for tensor in tensors.values():
            tensor.zero_()
    checkpoints.finish()
    found, faults = checkpoints.newest()
    assert found is not None
    assert not faults
    assert equal(loaded(found), state_of(1))
    assert torch.equal(found.weights()["a.weight"], state_of(1)["model"]["a.weight"])


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    saved(toy_attempt(folder))
    return folder


@settings(max_examples=60)
@given(choice=st.data())
def test_no_file_can_be_cut_or_changed_unnoticed(two_steps, tmp_path_factory, choice):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(two_steps / "store", folder / "store", symlinks=True)
    attempt = toy_attempt(folder)
    file = choice.draw(st.sampled_from(sorted(attempt.path("checkpoints/step-00000002-x").iterdir())))
    content = file.read_bytes()
    place = choice.draw(st.integers(0, len(content) - 1))
    bit = choice.draw(st.none() | st.integers(0, 7))
    changed = bytes([content[place] ^ (1 << bit)]) + content[place + 1 :] if bit is not None else b""
    file.write_bytes(content[:place] + changed)
    found, faults = Checkpoints(toy_attempt(folder, "second"), "y").newest()
    if file.name == MANIFEST and found and found.manifest.step == 2:
        # spaces may change: what the manifest says is sealed, not how it is written
        assert found.manifest == Checkpoints(toy_attempt(two_steps), "y").newest()[0].manifest
        assert equal(loaded(found), state_of(2))
        return
    assert found is not None
    assert found.manifest.step == 1
    assert equal(loaded(found), state_of(1))
    assert len(faults) == 1
    assert "step-00000002" in faults[0]


class Foreign:
    """Calls something when a careless reader unpickles it."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ((os.system, ("touch ran",)), "its index names posix.system"),
        ((getattr, (PosixPath, "home")), "asks for the attribute home"),
        ((getattr, (_MEM_FORMAT_ENCODING, "no such member")), "cannot be read"),
    ],
)
def test_an_index_that_is_more_than_an_index_is_refused_before_it_runs(tmp_path, monkeypatch, call, told):
    monkeypatch.chdir(tmp_path)
    attempt = toy_attempt(tmp_path)
    saved(attempt)
    folder = attempt.path("checkpoints/step-00000002-x")
    (folder / ".metadata").write_bytes(pickle.dumps(Foreign(*call)))
    changed = json.loads((folder / MANIFEST).read_text())["manifest"]
    changed["files"][".metadata"]["sha256"] = sha256_of(folder / ".metadata")
    (folder / MANIFEST).write_bytes(sealed(Manifest.model_validate(changed)))
    found, faults = Checkpoints(attempt, "y").newest()
    assert found is not None
    assert found.manifest.step == 1
    assert told in faults[0]
    assert not (tmp_path / "ran").exists()


def test_on_an_object_store_nothing_stays_behind_on_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    attempt = Attempt(Storage(f"memory://{tmp_path.name}"), "pretrain", "toy", "first")
    with Checkpoints(attempt, "x", Retention(last=1, best=0)) as checkpoints:
        for step in (1, 2):
            checkpoints.save(ALONE, manifest(step), state_of(step))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    found, faults = Checkpoints(attempt, "y").newest()
    assert found is not None
    assert (found.manifest.step, faults) == (2, [])
    assert equal(loaded(found), state_of(2))
    assert attempt.storage.list(f"{attempt.folder}/checkpoints") == ["step-00000002-x"]


def test_a_rank_that_was_not_there_has_no_random_state(tmp_path):
    attempt = toy_attempt(tmp_path)
    saved(attempt, steps=1)
    found, _ = Checkpoints(attempt, "y").newest()
    assert found is not None
    torch.manual_seed(5)
    assert found.restore_random(0)
    first = torch.rand(3)
    assert found.restore_random(0)
    assert torch.equal(torch.rand(3), first)
    assert not found.restore_random(1)

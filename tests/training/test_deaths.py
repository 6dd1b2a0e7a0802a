"""Workers and drivers die in every way at every moment: the weights end with the same bits.

Two workers that talk by gloo, through Ray Train as a run uses it.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt, JournalReader, Storage, sha256_of
from pipeline.training.pretrain import RESULT
from pipeline.training.resolve import has_compiler
from pipeline.training.worker import Data
from tests.training.deaths import EVERY_STEPS, Death, Toy, dying_worker
from tests.training.toys import toy_config, toy_data

CONFIG = toy_config(steps=32, evaluate_every=16)
GROUP_SECONDS = 10
LONG = 500
MODES = ["eager", pytest.param("compiled", marks=pytest.mark.skipif(not has_compiler(), reason="no g++"))]


def settings(mode: str, workers: int | str = 2) -> ComputeConfig:
    return ComputeConfig(
        compile=mode == "compiled",
        threads=1,
        training_workers=workers,
        training_restarts=8,
        checkpoint_seconds=1000,
        keep_every_steps=EVERY_STEPS,
        process_group_timeout_seconds=GROUP_SECONDS,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def two_workers(compute: Compute) -> Iterator[Compute]:
    before, compute.config = compute.config, settings("eager")
    yield compute
    compute.config = before


def toy(folder: Path, data: Data, deaths: tuple[Death, ...], mode: str = "eager", attempt: str = "1") -> Toy:
    markers = folder / "markers"
    markers.mkdir(parents=True, exist_ok=True)
    place = Attempt(Storage(str(folder / "store")), "pretrain", "toy", attempt)
    return Toy(CONFIG, settings(mode), place, data, deaths, markers)


def trained(compute: Compute, toy: Toy) -> str:
    """Train it to its end; the SHA-256 of its weights."""
    compute.train(dying_worker, {"toy": toy}, toy.attempt)
    assert len(list(toy.markers.iterdir())) == len(toy.deaths)
    return sha256_of(toy.attempt.path("model/model.safetensors"))


def journal(attempt: Attempt) -> list[dict]:
    return list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())


def resumed(attempt: Attempt) -> list[int]:
    return [line["step"] for line in journal(attempt) if line["kind"] == "resumed"]


_undisturbed: dict[str, str] = {}


@pytest.fixture
def undisturbed(
    two_workers: Compute, data: Data, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> str:
    """The SHA-256 of the weights of a run that nobody disturbed, in the mode of the test."""
    mode = request.node.callspec.params.get("mode", "eager") if hasattr(request.node, "callspec") else "eager"
    if mode not in _undisturbed:
        _undisturbed[mode] = trained(two_workers, toy(tmp_path_factory.mktemp(mode), data, (), mode))
    return _undisturbed[mode]


@pytest.mark.slow
def test_a_training_that_dies_in_one_way_after_the_other_ends_with_the_same_bits(
    two_workers: Compute, data: Data, undisturbed: str, tmp_path: Path
) -> None:
    deaths = (
        Death("exit", 0, 6, "between"),
        Death("SIGKILL", 1, 12, "writing"),
        Death("exception", 0, 16, "committed"),
        Death("SIGTERM", 1, 21, "between"),
        Death("hang", 1, 26, "between"),
    )
    training = toy(tmp_path, data, deaths)
    assert trained(two_workers, training) == undisturbed
    assert resumed(training.attempt) == [4, 8, 16, 22, 24] == [death.resumed_at for death in deaths]
    assert [line["step"] for line in journal(training.attempt) if line["kind"] == "preempted"] == [22]
    result = json.loads(training.attempt.storage.read(f"{training.attempt.folder}/{RESULT}"))
    seconds = result["compute"]["seconds"]
    assert 0 < result["figures"]["goodput"] < 0.9
    assert seconds["restart"] > GROUP_SECONDS  # the hung worker's
    assert not list(training.attempt.path("ray-train").rglob("*snapshot*.json"))


@pytest.mark.everything
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "rank", "moment"),
    itertools.product(
        ["exit", "SIGKILL", "exception", "hang"],
        [0, 1],
        [("between", 10), ("committed", 12), ("writing", 12)],
    ),
)
def test_a_worker_that_dies_leaves_the_same_bits(
    kind, rank, moment, mode, two_workers: Compute, data: Data, undisturbed: str, tmp_path: Path
) -> None:
    death = Death(kind, rank, moment[1], moment[0])
    training = toy(tmp_path, data, (death,), mode)
    assert trained(two_workers, training) == undisturbed
    assert resumed(training.attempt) == [death.resumed_at]


def damage_ray_snapshot(attempt: Attempt) -> None:
    """Ray Train's own account of the run, as a driver leaves it that is killed while writing."""
    folder = attempt.path(f"ray-train/{attempt.id}/.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint_manager_snapshot.json").write_text('{"checkpoint_results": [{"chec')


DRIVER = """
import pickle, sys
from pipeline.compute import Compute
from tests.training.deaths import dying_worker
config, toy = pickle.loads(open(sys.argv[1], "rb").read())
Compute(config).train(dying_worker, {"toy": toy}, toy.attempt)
"""


@pytest.mark.everything
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("moment", "step"), [("writing", 12), ("between", 10), ("committed", 12)])
def test_a_driver_that_is_killed_leaves_the_same_bits(
    moment, step, mode, two_workers: Compute, data: Data, undisturbed: str, tmp_path: Path
) -> None:
    import ray

    death = Death("waits", 1, step, moment)
    dying = toy(tmp_path, data, (death,), mode)
    address = ray.get_runtime_context().gcs_address
    given = tmp_path / "given"
    given.write_bytes(cloudpickle.dumps((dying.compute.model_copy(update={"ray_address": address}), dying)))
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(given)])
    try:
        end = time.monotonic() + LONG
        while not (tmp_path / "markers/0").exists():
            assert driver.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    damage_ray_snapshot(dying.attempt)
    again = toy(tmp_path, data, (death,), mode, attempt="2")
    assert trained(two_workers, again) == undisturbed
    assert resumed(again.attempt) == [death.resumed_at]


@pytest.mark.everything
def test_a_training_goes_on_with_the_workers_that_are_left_when_a_node_is_gone(
    data: Data, tmp_path: Path
) -> None:
    death = Death("waits", 1, 10, "between")
    training = replace(toy(tmp_path, data, (death,)), compute=settings("eager", "1-2"))
    given = tmp_path / "given"
    given.write_bytes(cloudpickle.dumps((training.compute, training)))
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "tests.training.node_gone", str(given)]
        done = subprocess.run(command, stdout=log, stderr=log, timeout=LONG, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert resumed(training.attempt) == [8]
    result = json.loads(training.attempt.storage.read(f"{training.attempt.folder}/{RESULT}"))
    assert result["compute"]["workers"] == 1
    assert result["counts"]["steps"] == CONFIG.steps

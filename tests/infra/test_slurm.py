"""The job script of infra/slurm on a real Slurm of two nodes, each with an address of its own."""

import os
import stat
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.infra.hosts import Host
from tests.infra.slurm import NODES, POLL_SECONDS, Slurm, running_slurm
from tests.road import CONFIG, command_of

pytestmark = [pytest.mark.everything, pytest.mark.timeout(2400)]

SCRIPT = str(Path(__file__).parents[2] / "infra/slurm/moinho.sbatch")
STEPS = 200
SMALL = ("--set", "compute.compile=false", "--set", f"pretrain.steps={STEPS}")
TRAINING_WORKER = "ray::RayTrainWorker"
END_SECONDS = 60


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with running_slurm(tmp_path_factory.mktemp("slurm"), cpus=2) as running:
        yield running


def commands_on(host: Host) -> list[str]:
    return [command_of(process) for process in host.processes()]


def wait_for_training_on(slurm: Slurm, job: int) -> None:
    """Until each node has a worker of the training."""
    end = time.monotonic() + 900
    while not all(any(TRAINING_WORKER in each for each in commands_on(slurm.hosts[name])) for name in NODES):
        assert slurm.job(job)["JobState"] == "RUNNING", slurm.output(job)
        assert time.monotonic() < end, slurm.output(job)
        time.sleep(POLL_SECONDS)


def wait_for_no_ray(slurm: Slurm) -> None:
    end = time.monotonic() + END_SECONDS
    while left := [each for name in NODES for each in commands_on(slurm.hosts[name]) if "ray" in each]:
        assert time.monotonic() < end, left
        time.sleep(POLL_SECONDS)


def test_two_jobs_on_one_node_do_not_meet_and_one_that_its_user_stops_is_not_requeued(slurm: Slurm) -> None:
    road = ("--nodes=1", "--nodelist=node1", SCRIPT, str(CONFIG), *SMALL)
    stopped, other = (
        slurm.submit(*road, "--store", str(slurm.folder / store), "--until", "tokens")
        for store in ("stopped", "store")
    )
    for job in (stopped, other):
        slurm.wait_for_output(job, "> site")
    folder = slurm.folder / f"moinho-{other}"
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "token").read_text() != (slurm.folder / f"moinho-{stopped}/token").read_text()
    slurm.run("scancel", "--signal=INT", "--batch", str(stopped))
    ended = slurm.wait(stopped, "FAILED")
    assert (ended["ExitCode"], ended["Restarts"]) == ("130:0", "0")
    assert "Stopped. What is finished stays in the store" in slurm.output(stopped)
    done = slurm.wait(other, "COMPLETED")
    assert datetime.fromisoformat(done["StartTime"]) < datetime.fromisoformat(ended["EndTime"])
    assert datetime.fromisoformat(ended["EndTime"]) < datetime.fromisoformat(done["EndTime"])
    assert not (folder / "token").exists()
    wait_for_no_ray(slurm)


def test_a_training_over_both_nodes_that_slurm_stops_goes_on_from_its_checkpoint_when_requeued(
    slurm: Slurm,
) -> None:
    store = slurm.folder / "store"
    road = (SCRIPT, str(CONFIG), *SMALL, "--store", str(store))
    one_cpu_each = ("--cpus-per-task=1", "--nodes=2")
    corpus = slurm.submit("--nodes=1", *road, "--until", "tokens")
    workers = ("--set", "compute.training_workers=2", "--until", "pretrain")
    training = slurm.submit(f"--dependency=afterok:{corpus}", *one_cpu_each, *road, *workers)
    assert slurm.job(training)["Reason"] == "Dependency"
    slurm.wait(corpus, "COMPLETED")
    slurm.wait(training, "RUNNING")
    wait_for_training_on(slurm, training)
    slurm.wait_for_output(training, f"/{STEPS} steps")
    slurm.run("scancel", "--signal=TERM", "--batch", str(training))
    slurm.wait(training, "PENDING")
    done = slurm.wait(training, "COMPLETED")
    told = slurm.output(training)
    assert done["Restarts"] == "1", told
    assert "back into the queue" in told
    first, again = told.split("back into the queue")
    assert "Stopped. What is finished stays in the store" in first
    assert "= tokens" in first, "what the job before it finished is reused"
    assert "goes on from step" in again
    assert f"steps {STEPS}" in again
    wait_for_no_ray(slurm)
    assert not [name for name in os.listdir("/tmp") if name.startswith("mo-")]

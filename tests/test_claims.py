"""Drivers of one cluster make a shared stage once, and a driver that is killed keeps none waiting."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import RunningCluster, running_cluster

pytestmark = [pytest.mark.everything, pytest.mark.timeout(600)]

DRIVER = """
import json, os, sys, time
from pathlib import Path
import filelock
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt, Made, Store
from tests.store.stages import Flour, GrindConfig

root, address, log, seconds = sys.argv[1:]
log = Path(log)
def tell(**what):
    with log.open("a") as file:
        file.write(json.dumps(what) + "\\n")

def build(attempt: Attempt) -> Made:
    tell(event="began", attempt=attempt.id)
    time.sleep(float(seconds))
    return Made(files={})

compute = Compute(ComputeConfig(ray_address=address))
store = Store(root)
# As on machines of their own: what locks files here does not lock them there.
store.claim_lock = lambda base: filelock.FileLock(log.with_suffix(f".{os.getpid()}.lock"))
store.claim_elsewhere = compute.claim
compute.start()
tell(event="ready")
made = store.make(Flour, GrindConfig(), {}, build)
tell(event="ended", attempt=made.record.attempt)
compute.stop()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(1, tmp_path_factory.mktemp("cluster")) as running:
        yield running


class Driver:
    """A program that joins the cluster and makes flour, which takes some seconds."""

    def __init__(self, cluster: RunningCluster, folder: Path, name: str, seconds: float) -> None:
        self.log = folder / f"{name}.jsonl"
        arguments = [str(folder / "store"), cluster.gcs, str(self.log), str(seconds)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            cwd=Path(__file__).parents[1],
            env=os.environ | cluster.environment,
            start_new_session=True,
        )

    def told(self, event: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.get("attempt", "") for line in map(json.loads, lines) if line["event"] == event]

    def wait_until(self, event: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not self.told(event):
            assert self.process.poll() is None or self.told(event), f"ended before it told {event}"
            assert time.monotonic() < end, f"no {event}"
            time.sleep(0.05)


def test_of_drivers_that_want_the_same_at_once_one_makes_it(cluster: RunningCluster, tmp_path: Path) -> None:
    drivers = [Driver(cluster, tmp_path, f"driver-{number}", seconds=8) for number in range(4)]
    for driver in drivers:
        assert driver.process.wait(180) == 0
    began = [attempt for driver in drivers for attempt in driver.told("began")]
    ended = {attempt for driver in drivers for attempt in driver.told("ended")}
    assert len(began) == 1
    assert ended == set(began)


def test_a_killed_driver_gives_its_claim_up(cluster: RunningCluster, tmp_path: Path) -> None:
    first = Driver(cluster, tmp_path, "first", seconds=600)
    first.wait_until("began")
    second = Driver(cluster, tmp_path, "second", seconds=0)
    second.wait_until("ready")
    time.sleep(2)
    assert second.told("began") == []
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    assert second.process.wait(120) == 0
    assert len(second.told("ended")) == 1

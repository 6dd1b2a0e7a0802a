"""MLflow servers that are dead, die, or are slow: no run is held up, and the next one sends what is left."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tracking import Flow, Tracker
from pipeline.tracking.destination import runs_page
from tests.tracking import driver
from tests.tracking.recorded import Recorded, SlowProxy, free_port, mlflow_server, wait_for


def test_a_server_that_was_away_gets_everything_later(store: Store, tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    remains = driver.run(store.storage.root, uri, timeout_seconds=500)
    assert time.monotonic() - started < 200, "a server that takes nothing is not waited for to the end"
    assert remains is not None
    assert "Connection refused" in remains
    assert "the next run sends it" in remains

    with mlflow_server(tmp_path, port):
        assert driver.run(store.storage.root, uri, timeout_seconds=300) is None
        found = Recorded(uri)
        found.check_sound()
        first, second = found.flows()
        stages = found.stages(first)
        assert set(stages) == {"clean", "pretrain"}
        assert found.steps(stages["pretrain"], "loss") == list(range(driver.STEPS))
        assert {run.info.status for run in (first, second)} == {"FINISHED"}
        wanted = "searchFilter=attributes.run_name%20%3D%20%27little%27"
        assert runs_page(uri, "little") == f"{uri}/#/experiments/{found.experiment}/runs?{wanted}"
    assert runs_page(uri, "little") == f"{uri}/#/experiments", "nothing is asked for that does not answer"


@pytest.mark.everything
def test_a_server_that_dies_in_the_middle_has_everything_once_when_it_is_back(
    store: Store, tmp_path: Path
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"

    class Long(Artifact):
        stage, role = "pretrain", "long"

    with mlflow_server(tmp_path, port) as server:

        def curve(attempt: Attempt) -> Made:
            journal = attempt.journal("train")
            for step in range(1500):
                journal.metrics(step, loss=1 / (step + 1))
            wait_for(lambda: any("loss" in run.data.metrics for run in Recorded(uri).runs))
            os.killpg(server.pid, signal.SIGKILL)
            for step in range(1500, 3000):
                journal.metrics(step, loss=1 / (step + 1))
            return Made({})

        tracker = Tracker(store.storage, Flow("little", {}), uri)
        store.listeners.append(tracker)
        store.make(Long, Config(), {}, curve)
        started = time.monotonic()
        assert tracker.close() is not None
        assert time.monotonic() - started < 30
    with mlflow_server(tmp_path, port):
        assert driver.run(store.storage.root, uri, timeout_seconds=300) is None
        found = Recorded(uri)
        found.check_sound()
        first, second = found.flows()
        assert found.steps(found.stages(first)["pretrain"], "loss") == list(range(3000))
        assert {run.info.status for run in (first, second)} == {"FINISHED"}


@pytest.mark.everything
def test_a_slow_server_holds_up_neither_the_run_nor_for_long_its_end(store: Store, tmp_path: Path) -> None:
    port = free_port()
    with mlflow_server(tmp_path, port), SlowProxy(port, delay_seconds=3) as proxy:
        uri = f"http://127.0.0.1:{proxy.port}"
        started = time.monotonic()
        remains = driver.run(store.storage.root, uri, timeout_seconds=15)
        assert time.monotonic() - started < 25
        assert remains is not None
        assert "the next run sends it" in remains
        proxy.delay_seconds = 0
        assert driver.run(store.storage.root, uri, timeout_seconds=300) is None
        found = Recorded(f"http://127.0.0.1:{port}")
        found.check_sound()
        first, second = found.flows()
        assert found.steps(found.stages(first)["pretrain"], "loss") == list(range(driver.STEPS))
        assert {run.info.status for run in (first, second)} == {"FINISHED"}

"""kill -9 on the process that writes to MLflow: the run goes on, and nothing is lost or doubled."""

import os
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tracking import Flow, Tracker
from tests.tracking import driver
from tests.tracking.recorded import recorded, wait_for


class Long(Artifact):
    stage, role = "pretrain", "long"


def senders() -> list[psutil.Process]:
    """Those of this process that have begun their work."""
    found = []
    for child in psutil.Process().children():
        try:
            if "pipeline.tracking.sender" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def points(database: Path) -> int:
    """How many metrics have arrived."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize("kills", [1, pytest.param(7, marks=pytest.mark.everything)])
def test_a_sender_that_is_killed_while_it_writes_costs_nothing(store: Store, kills: int) -> None:
    database, chance = Path(store.storage.full("mlflow.db")), random.Random(kills)
    told: list[int] = []
    is_over = threading.Event()

    def curve(attempt: Attempt) -> Made:
        journal = attempt.journal("train")
        while not is_over.is_set():
            journal.metrics(len(told), loss=1 / (len(told) + 1))
            told.append(len(told))
            time.sleep(0.001)
        return Made({})

    def kill() -> None:
        try:
            for _ in range(kills):
                before = points(database)
                wait_for(lambda before=before: points(database) > before or not is_kept(tracker), 120)
                time.sleep(chance.uniform(0, 1.5))
                for sender in senders():
                    os.kill(sender.pid, signal.SIGKILL)
                    killed.append(sender.pid)
        finally:
            is_over.set()

    killed: list[int] = []
    tracker = Tracker(store.storage, Flow("little", {}))
    store.listeners.append(tracker)
    killer = threading.Thread(target=kill)
    killer.start()
    store.make(Long, Config(), {}, curve)
    killer.join()
    remains = tracker.close(300)
    assert killed
    if remains is not None:
        assert driver.run(store.storage.root, None, timeout_seconds=300) is None

    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = recorded(store)
    found.check_sound()
    long = next(run for run in found.runs if run.data.tags.get("moinho.stage") == "pretrain")
    assert found.steps(long, "loss") == told


def is_kept(tracker: Tracker) -> bool:
    """Whether a sender is there or will be started again."""
    return any(thread.name == "mlflow-sender" for thread in threading.enumerate())

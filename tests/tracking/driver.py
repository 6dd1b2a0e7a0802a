"""A small flow with tracking, run in a process of its own so that it can be killed in the middle.

`python driver.py STORE URI(or -) [WAIT_AT_STEP]`: with the last, it stops there until it is killed.
"""

import sys
import time
from pathlib import Path

from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tracking import Flow, Tracker

STEPS = 1500
"""More than MLflow takes in one call."""


class Documents(Artifact):
    stage, role = "clean", "documents"


class Curve(Artifact):
    stage, role = "pretrain", "curve"


class Settings(Config):
    rate: float = 0.5


def documents(attempt: Attempt) -> Made:
    return Made({}, {"pages": 16, "kept": 5, "dropped.few-words": 2, "dropped.duplicate-near": 9})


def curve(attempt: Attempt, wait_at: int | None) -> Made:
    journal = attempt.journal("train")
    journal.text("prompt", 0, "the quick brown fox")
    for step in range(wait_at or STEPS):
        journal.metrics(step, loss=1 / (step + 1), norm=float("nan"))
    if wait_at is not None:
        Path(attempt.path("waiting")).touch()
        time.sleep(600)
    return Made({}, {"steps": STEPS}, {"loss": 0.1, "bits_per_byte": 2.5}, {"threads": 2})


def run(root: str, uri: str | None, wait_at: int | None = None, timeout_seconds: float = 60) -> str | None:
    store = Store(root)
    tracker = Tracker(store.storage, Flow("little", {"clean": {"rules": ["x" * 900]}}, "little.toml"), uri)
    store.listeners.append(tracker)
    try:
        made = store.make(Documents, Settings(), {}, documents)
        store.make(Curve, Settings(), {"documents": made}, lambda attempt: curve(attempt, wait_at))
    except BaseException as error:
        tracker.ended(error)
        raise
    finally:
        remains = tracker.close(timeout_seconds)
    return remains


if __name__ == "__main__":
    run(sys.argv[1], None if sys.argv[2] == "-" else sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else None)

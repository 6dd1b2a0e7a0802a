"""Processes that race for the same stages, as one or as several machines would."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import filelock

from pipeline.store import Attempt, Made, Store
from tests.store.stages import Flour, GrindConfig


@dataclass(frozen=True)
class Result:
    """What one racer saw in one trial."""

    trial: int
    built: bool
    attempt: str
    """Of the record that it ended up with."""
    content: str


class StoreOfAnotherMachine(Store):
    """A store whose locks nobody else sees, as those of a machine apart."""

    def claim_lock(self, base: str) -> filelock.BaseFileLock:
        folder = Path(tempfile.gettempdir()) / f"apart-{os.getpid()}"
        folder.mkdir(exist_ok=True)
        return filelock.FileLock(folder / base.replace("/", "-"))


def grind_once(store: Store, trial: int) -> Result:
    """Make the trial's stage, with content that tells who made it."""
    built: list[str] = []

    def build(attempt: Attempt) -> Made:
        built.append(attempt.id)
        path = attempt.path("flour.txt")
        path.write_text(attempt.id)
        return Made(files={"flour.txt": attempt.publish(path)})

    flour = store.make(Flour, GrindConfig(fineness=trial + 10), {}, build)
    record = Flour(store.storage, flour.key).record
    return Result(trial, bool(built), record.attempt, flour.path("flour.txt").read_text())


def race(
    root: str,
    environment: Mapping[str, str],
    apart: bool,
    trials: int,
    start: Barrier,
    results: "Queue[Result]",
) -> None:
    """A racer's whole life."""
    with _own_cache(environment):
        for trial in range(trials):
            start.wait(120)
            results.put(grind_once((StoreOfAnotherMachine if apart else Store)(root), trial))


def hold(root: str, environment: Mapping[str, str], trial: int, mark: str) -> None:
    """Begin the trial's stage and never finish it."""

    def build(attempt: Attempt) -> Made:
        path = attempt.path("flour.txt")
        path.write_text("half")
        attempt.publish(path)
        Path(mark).touch()
        time.sleep(600)
        return Made(files={})

    with _own_cache(environment):
        Store(root).make(Flour, GrindConfig(fineness=trial + 10), {}, build)


@contextlib.contextmanager
def _own_cache(environment: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOINHO_CACHE"] = folder
        yield

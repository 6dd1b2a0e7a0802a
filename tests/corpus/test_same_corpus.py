"""The same corpus, byte for byte, whatever the workers and the input's files were, and after kills."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.tables import Row, read_rows
from pipeline.shards import ShardFunction
from pipeline.store import Artifact, Attempt, ShardRecord, Store
from pipeline.store.verify import verify
from tests.corpus.conftest import InThisProcess
from tests.corpus.whole import corpus_of, write_inputs
from tests.road import Run, command_of

FEW, MANY = 3, 50
MOST = 180
"""60 of each kind: so many that a file of a table or an archive holds one document, and none of them none."""
END_SECONDS = 600.0
REASONS = ("too-large", "language", "language-unsure", "duplicate-exact", "duplicate-near", "duplicate-url")


@dataclass
class Workers(Compute):
    """Runs so many tasks at once on the tests' one Ray, whatever CPUs that has."""

    count: int = 1

    def map_shards(
        self,
        attempt: Attempt,
        step: str,
        shards: Mapping[str, Any],
        function: ShardFunction,
        *,
        cpus: float = 1,
        beside_driver: bool = False,
    ) -> list[ShardRecord]:
        # Tasks beside the driver claim no CPU: here they take their turns as all others do.
        each = cpus * self.cpus() / self.count
        return super().map_shards(attempt, step, shards, function, cpus=each)


@dataclass(frozen=True)
class Expected:
    """What one process makes of few files."""

    folder: Path
    made: tuple[Artifact, ...]

    def digests(self) -> dict[str, str]:
        return {each.stage: each.record.digest for each in self.made}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    folder = tmp_path_factory.mktemp("expected")
    write_inputs(folder / "in", FEW)
    store = Store(str(folder / "store"))
    return Expected(folder / "in", corpus_of(folder / "in", store, InThisProcess(ComputeConfig())))


def test_the_corpus_has_documents_kept_and_dropped_for_many_reasons(expected: Expected) -> None:
    counts = expected.made[1].record.counts
    assert {f"dropped.{reason}" for reason in REASONS} <= counts.keys()
    assert counts["kept"] >= 20
    assert counts["personal.email"] >= 5


MATRIX = [(2, MANY)]
REST = [(count, files) for count in (1, 2, 4) for files in (FEW, MANY, MOST) if (count, files) not in MATRIX]


@pytest.mark.parametrize(
    ("count", "files"),
    [*MATRIX, *(pytest.param(*given, marks=pytest.mark.everything) for given in REST)],
)
def test_workers_and_files_change_nothing(
    compute: Compute, expected: Expected, tmp_path: Path, count: int, files: int
) -> None:
    """With the same files all bytes are equal. With others all is equal but the places in them, by which
    rows are called that have no name."""
    compute.start()
    folder = expected.folder if files == FEW else write_inputs(tmp_path / "in", files)
    workers = Workers(ComputeConfig(workers=count), count=count)
    made = corpus_of(folder, Store(str(tmp_path / "store")), workers)
    if files == FEW:
        assert {each.stage: each.record.digest for each in made} == expected.digests()
    for one, other in zip(made, expected.made, strict=True):
        assert one.record.counts == other.record.counts
        assert content(one) == content(other)


def content(made: Artifact) -> dict[str, list[Row]]:
    """The rows of every file in their order, without the URLs that only say where a row lies."""
    return {
        name: [
            row | {"url": ""} if row.get("url", "").startswith("rows/") else row
            for row in read_rows([made.path(name)])
        ]
        for name in sorted(made.record.files)
    }


VICTIMS = {"worker": "ray::", "extractor": "pipeline.corpus.extractor_process"}
"""What stands in the command line of a victim; the driver is the run itself, the tree all of it."""


@pytest.mark.everything
@pytest.mark.parametrize("trial", range(11))
@pytest.mark.timeout(1200)
def test_a_killed_run_goes_on_to_the_same_bytes(expected: Expected, tmp_path: Path, trial: int) -> None:
    chance = random.Random(trial)
    victim = chance.choice(["driver", "worker", "extractor", "tree"])
    run = start(expected.folder, tmp_path)
    wait_for_stages(run, tmp_path / "store")
    time.sleep(chance.uniform(0, 12))
    hit = kill(run, victim, chance)
    code = run.wait(END_SECONDS)
    run.wait_for_family()
    if hit in ("driver", "tree"):
        assert code == -signal.SIGKILL
        run = start(expected.folder, tmp_path)
        code = run.wait(END_SECONDS)
    assert code == 0, (hit, run.text())
    store = Store(str(tmp_path / "store"))
    found = {record.stage: record.digest for record in store.records() if record.stage != "sources"}
    assert found == expected.digests(), hit
    assert verify(store).faults == []


def start(folder: Path, outputs: Path) -> Run:
    output = outputs / f"output-{time.monotonic_ns():x}.txt"
    command = [sys.executable, "-m", "tests.corpus.whole", str(folder), str(outputs / "store")]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
    return Run(process, output)


def wait_for_stages(run: Run, store: Path) -> None:
    """Until the first stage is at work: what comes before is the start of Ray."""
    end = time.monotonic() + END_SECONDS
    while not list(store.glob("sources/*/attempts")):
        assert run.process.poll() is None, run.text()
        assert time.monotonic() < end, run.text()
        time.sleep(0.05)


def kill(run: Run, victim: str, chance: random.Random) -> str:
    """kill -9; what was hit: the driver, where there is no process of the kind."""
    if run.process.poll() is not None:
        return "nothing"
    if victim == "tree":
        os.killpg(run.process.pid, signal.SIGKILL)
        return "tree"
    mark = VICTIMS.get(victim, "\0")
    found = [process for process in run.family() if mark in command_of(process)]
    if not found:
        run.process.kill()
        return "driver"
    with contextlib.suppress(psutil.NoSuchProcess):
        chance.choice(sorted(found, key=lambda process: process.pid)).kill()
    return victim

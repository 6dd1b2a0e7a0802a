"""Seconds from `moinho submit` to the first training step on a cluster that is up, against `moinho run`."""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.store import JournalReader, Storage, Store, read_record
from tests.benchmarks.measure import Result, in_turn
from tests.cluster import RunningCluster, running_cluster
from tests.road import CONFIG, MOINHO, Run

STEPS = 3
LIMIT_SECONDS = 900.0
SETTINGS = (
    f"pretrain.steps={STEPS}",
    "pretrain.prompts=[]",
    "compute.compile=false",
    "compute.overlap=false",
)
TRAINING = ("the stage begins", "its worker is there", "the first step is done")


def arguments(parser: argparse.ArgumentParser) -> None:
    """There are none of its own."""


def run(given: argparse.Namespace) -> Result:
    """Everything up to the tokens is in the store, and each turn trains with a seed of its own. A ratio is
    the seconds of `moinho run`, which starts a Ray for itself, by those of `moinho submit`."""
    seeds = itertools.count(1)
    parts: dict[str, list[dict[str, float]]] = {"submit": [], "run": []}
    with tempfile.TemporaryDirectory(prefix="moinho-submit-") as name:
        folder = Path(name)
        filled = Run.start(folder / "store", *SETTINGS, until="tokens")
        if filled.wait(LIMIT_SECONDS) != 0:
            raise RuntimeError(f"the store was not filled:\n{filled.text()}")
        with running_cluster(1, folder) as cluster:

            def submitted() -> float:
                parts["submit"].append(_submitted(cluster, folder / "store", next(seeds)))
                return 60 / sum(parts["submit"][-1].values())

            def local() -> float:
                parts["run"].append(_local(folder / "store", next(seeds)))
                return 60 / sum(parts["run"][-1].values())

            pairs = in_turn(submitted, local, given.pairs)
    medians = {
        word: {part: statistics.median(turn[part] for turn in turns) for part in turns[0]}
        for word, turns in parts.items()
    }
    return Result("submit", "first steps per minute", 0.5, pairs, {"seconds": medians})


def _submitted(cluster: RunningCluster, store: Path, seed: int) -> dict[str, float]:
    """Seconds by part."""
    given = {"RAY_API_SERVER_ADDRESS": cluster.address, **cluster.environment}
    asked = time.time()
    told = _moinho("submit", str(CONFIG), "--store", str(store), *_sets(seed), **given)
    job = next(line.split()[1] for line in told.splitlines() if line.startswith("job "))
    marks = {"asked": asked, "the job is accepted": _job(job, given)["started"]}
    _moinho("logs", "-f", job, **given)
    assert _job(job, given)["status"] == "succeeded", _moinho("logs", job, **given)
    return _parts(marks, store, seed)


def _local(store: Path, seed: int) -> dict[str, float]:
    marks = {"asked": time.time()}
    _moinho("run", str(CONFIG), "--store", str(store), *_sets(seed))
    return _parts(marks, store, seed)


def _sets(seed: int) -> list[str]:
    given = (*SETTINGS, f'name="turn-{seed}"', f"pretrain.seed={seed}")
    return [*(word for setting in given for word in ("--set", setting)), "--until", "pretrain"]


def _job(job: str, environment: dict[str, str]) -> dict[str, Any]:
    return next(row for row in json.loads(_moinho("jobs", "--json", **environment)) if row["id"] == job)


def _moinho(*words: str, **environment: str) -> str:
    """What it prints. Raises RuntimeError if it fails."""
    done = subprocess.run(
        [str(MOINHO), *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env=os.environ | environment,
    )
    if done.returncode != 0:
        raise RuntimeError(f"moinho {words[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def _parts(marks: dict[str, float], store: Path, seed: int) -> dict[str, float]:
    """Seconds by part, with those of the training by the times of its record and its journal."""
    storage, found = Storage(str(store)), Store(str(store)).target_of(f"turn-{seed}/base")
    assert found is not None
    base = "/".join(found)
    record = read_record(storage, base)
    assert record is not None
    told = JournalReader(storage, f"{base}/attempts/{record.attempt}/journal").read()
    lines = sorted(told, key=lambda line: line["time"])
    stepped = next(line["time"] for line in lines if line["kind"] == "progress" and line["done"] >= 1)
    began = datetime.fromisoformat(record.started).timestamp()
    marks |= dict(zip(TRAINING, (began, lines[0]["time"], stepped), strict=True))
    return {name: at - before for (_, before), (name, at) in itertools.pairwise(marks.items())}

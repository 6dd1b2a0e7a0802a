"""Clean, tokens and pretrain by two workers against one; and more workers whose tasks only wait."""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.store import Store
from pipeline.store.discard import discard
from tests.benchmarks.measure import Pair, Result, note
from tests.benchmarks.texts import texts
from tests.benchmarks.waiting import TOOK
from tests.cluster import ENVIRONMENT, running_cluster
from tests.road import CONFIG, Run

STAGES = ("clean", "tokens", "pretrain")
FILES = 8
WORKERS = (2, 8, 32)
TASKS_EACH, TASK_SECONDS = 6, 2.0
EMPTY_TASKS = 300
LIMIT_SECONDS = 1800.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--megabytes", type=int, default=40, help="of text")
    parser.add_argument("--steps", type=int, default=60, help="of pretraining")


def run(given: argparse.Namespace) -> Result:
    """A ratio is the speed of two workers by twice that of one, over the seconds of all three stages: 1 is
    perfect. A worker is a process with one thread. Beside it, for tasks of 2 s that only wait, on a Ray that
    counts more CPUs than there are: the share of the time in which the workers were busy."""
    turns: list[dict[int, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="moinho-scale-") as name:
        folder = Path(name)
        written(folder / "texts", given.megabytes)
        for number in range(given.pairs):
            turns.append({workers: seconds_of(folder, workers, given.steps) for workers in (2, 1)})
            note(f"{number + 1}/{given.pairs}: {turns[-1]}")
        waiting = {workers: busy_share(folder / f"waiting-{workers}", workers) for workers in WORKERS}
        each = overhead_seconds(folder / "nothing")
    pairs = [Pair(1 / sum(turn[2].values()), 2 / sum(turn[1].values())) for turn in turns]
    stages = {
        stage: statistics.median(turn[1][stage] / turn[2][stage] / 2 for turn in turns) for stage in STAGES
    }
    tell(stages, waiting, each)
    figures = {"stages": stages, "waiting": waiting, "driver_seconds_per_task": each, "turns": turns}
    return Result("scale", "roads per second and worker", 0.8, pairs, figures)


def written(folder: Path, megabytes: int) -> None:
    """Documents of twelve lines of documentation each, put together by chance, in files of equal size."""
    folder.mkdir()
    chance = random.Random(0)
    lines = [line for text in texts() for line in text.splitlines() if len(line) > 40]
    for number in range(FILES):
        with (folder / f"{number}.jsonl").open("w", encoding="utf-8") as file:
            while file.tell() < megabytes * 1e6 / FILES:
                text = "\n".join(chance.sample(lines, 12))
                file.write(json.dumps({"text": text}) + "\n")


def seconds_of(folder: Path, workers: int, steps: int) -> dict[str, float]:
    """Of each stage, made anew by so many workers."""
    store = folder / "store"
    if store.exists():
        for record in list(Store(str(store)).records()):
            if record.stage in STAGES:
                discard(Store(str(store)), f"{record.stage}/{record.key}")
    config = folder / "scale.toml"
    config.write_text(
        f'extends = "{CONFIG}"\nname = "scale"\n'
        f'[[sources]]\nname = "texts"\npath = "{folder}/texts/*.jsonl"\nlanguage = "en"\n'
    )
    settings = [f"compute.{name}={workers}" for name in ("workers", "training_workers")]
    settings += [
        "compute.threads=1",
        "compute.compile=false",
        f"pretrain.steps={steps}",
        "pretrain.prompts=[]",
    ]
    done = Run.start(store, *settings, config=config, until="pretrain")
    if done.wait(LIMIT_SECONDS) != 0:
        raise RuntimeError(f"the run failed:\n{done.text()}")
    return {record.stage: record.seconds for record in Store(str(store)).records() if record.stage in STAGES}


def busy_share(folder: Path, workers: int) -> float:
    """Of the time of so many workers, what they spent as they should: waiting."""
    ideal = TASKS_EACH * TASK_SECONDS
    return ideal / waiting_seconds(folder, workers, TASKS_EACH * workers, TASK_SECONDS)


def overhead_seconds(folder: Path) -> float:
    """Of a task that has nothing to do: one over it is what a driver hands out in a second at most."""
    return waiting_seconds(folder, 2, EMPTY_TASKS, 0.0) / EMPTY_TASKS


def waiting_seconds(folder: Path, workers: int, count: int, seconds: float) -> float:
    """Of so many tasks, each so long, on a Ray that counts a CPU for each worker. One for each worker goes
    before: then the processes are there, and have imported what they need."""
    folder.mkdir()
    groups = [f"{workers}:{TASK_SECONDS}", f"{count}:{seconds}"]
    with running_cluster(1, folder, cpus=workers) as cluster:
        command = [sys.executable, "-m", "tests.benchmarks.waiting", cluster.gcs, str(folder / "store")]
        environment = os.environ | ENVIRONMENT | cluster.environment
        told = subprocess.run(
            [*command, *groups], check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
    took = [line.removeprefix(TOOK) for line in told.stdout.splitlines() if line.startswith(TOOK)]
    return float(took[-1])


def tell(stages: dict[str, float], waiting: dict[int, float], each: float) -> None:
    table = Table("what", "efficiency", title="of workers", title_justify="left")
    for stage, share in stages.items():
        table.add_row(f"{stage}: 2 workers against 1", f"{share:.2f}")
    for workers, share in waiting.items():
        table.add_row(f"tasks of {TASK_SECONDS:g} s that wait: {workers} workers", f"{share:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"A task takes the driver {each * 1e3:.1f} ms, so that of one minute each it keeps up to "
        f"{60 / each:,.0f} workers busy."
    )

"""Seconds from a worker's death to the end of the next step, by part."""

import argparse
import itertools
import tempfile
from pathlib import Path

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt, JournalReader, Storage
from tests.benchmarks.measure import Result, in_turn
from tests.training.deaths import Death, Toy, dying_worker
from tests.training.toys import toy_config, toy_data

REFERENCE_SECONDS = 16.0
"""Ray Train 2.60 by itself, with a function that does nothing, took 9 to 16 seconds on 2 cores."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=2, help="that train together")


def run(given: argparse.Namespace) -> Result:
    """One of two workers is killed by SIGKILL; the reference is 16 seconds. The parts: until Ray Train has
    noticed it and has new workers that have imported what they need and found the checkpoint
    (workers_again); until the model is made and filled (assembled); and the first step."""
    parts: dict[str, list[float]] = {"workers_again": [], "assembled": [], "first_step": []}
    turns = itertools.count()
    with (
        tempfile.TemporaryDirectory(prefix="moinho-restart-") as folder,
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as ray_folder,
    ):
        data = toy_data(Path(folder) / "data")
        config = ComputeConfig(
            compile=False,
            threads=1,
            training_workers=given.workers,
            checkpoint_seconds=1000,
            keep_every_steps=4,
        )
        compute = Compute(config, temp_dir=ray_folder)

        def ours() -> float:
            place = Path(folder) / str(next(turns))
            (place / "markers").mkdir(parents=True)
            attempt = Attempt(Storage(str(place / "store")), "pretrain", "toy", "1")
            death = Death("SIGKILL", given.workers - 1, 6, "between")
            toy = Toy(toy_config(steps=8), config, attempt, data, (death,), place / "markers")
            compute.train(dying_worker, {"toy": toy}, attempt)
            for name, seconds in _parts(attempt, (place / "markers/0").stat().st_mtime).items():
                parts[name].append(seconds)
            return 1 / sum(each[-1] for each in parts.values())

        try:
            pairs = in_turn(ours, lambda: 1 / REFERENCE_SECONDS, given.pairs)
        finally:
            compute.stop()
    return Result("restart", "restarts per second", 1.0, pairs, parts)


def _parts(attempt: Attempt, killed: float) -> dict[str, float]:
    """By the times of the lines of rank 0's journals."""
    lines = list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())
    found = next(line["time"] for line in lines if line["kind"] == "resumed")
    after = [line for line in lines if line["time"] > found]
    ready = next(line["time"] for line in after if line["kind"] == "order")
    stepped = next(line["time"] for line in after if line["kind"] == "progress")
    return {"workers_again": found - killed, "assembled": ready - found, "first_step": stepped - ready}

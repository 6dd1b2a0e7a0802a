"""How long a checkpoint holds the loop up, against one that the loop waits for."""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline.store import Attempt, Storage
from pipeline.training.checkpoint import Checkpoints, Manifest
from pipeline.training.checkpoint_reading import State
from pipeline.training.group import Group
from pipeline.training.retention import Retention
from tests.benchmarks.measure import Result, in_turn

WEIGHT = 1024
"""Rows and columns of each of the matrices that a checkpoint is made of."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--megabytes", type=int, default=384, help="of weights and optimizer in a checkpoint")
    parser.add_argument("--folder", default=None, help="where checkpoints are written (default: temporary)")


def run(given: argparse.Namespace) -> Result:
    """Ours is a save as the loop makes it: it counts until the loop may go on, and so does what the steps
    beside the writing thread take longer than others. The reference waits until all is on the disk."""
    with tempfile.TemporaryDirectory(prefix="moinho-checkpoint-", dir=given.folder) as folder:
        saves = Saves(Path(folder), given.megabytes)
        saves.waited()  # the first makes room for copies
        pairs = in_turn(saves.beside, saves.waited, given.pairs)
        figures = {"megabytes": given.megabytes, "cpus": torch.get_num_threads(), **saves.figures}
        return Result("checkpoint", "saves per second that the loop is held up", 10.0, pairs, figures)


@dataclass
class Saves:
    """Checkpoints of a state of a given size, weights with two moments each."""

    folder: Path
    megabytes: int
    step: int = 0
    figures: dict[str, list[float]] = field(
        default_factory=lambda: {"copy_seconds": [], "slower_seconds": [], "written_after_seconds": []}
    )

    def __post_init__(self) -> None:
        attempt = Attempt(Storage(str(self.folder / "store")), "pretrain", "benchmark", "1")
        self.checkpoints = Checkpoints(attempt, "x", Retention(last=1, best=0))
        names = [f"layers.{number}.weight" for number in range(self.megabytes * 1_000_000 // 12 // WEIGHT**2)]
        self.state: State = {
            "model": {name: torch.randn(WEIGHT, WEIGHT) for name in names},
            "optimizer": {
                f"{name}.{moment}": torch.randn(WEIGHT, WEIGHT)
                for name in names
                for moment in ("exp_avg", "exp_avg_sq")
            },
        }
        self.work = torch.randn(WEIGHT, WEIGHT)

    def _save(self) -> None:
        self.step += 1
        manifest = Manifest(step=self.step, tokens=0, workers=1, resolved={})
        self.checkpoints.save(Group.alone(), manifest, self.state)

    def waited(self) -> float:
        start = time.perf_counter()
        self._save()
        self.checkpoints.finish()
        return 1 / (time.perf_counter() - start)

    def beside(self) -> float:
        """Steps of matrix products by all threads, before the save and while it is written."""
        usual = statistics.median(self._work() for _ in range(20))
        start = time.perf_counter()
        self._save()
        copied = time.perf_counter() - start
        steps = []
        while self.checkpoints.is_writing:
            steps.append(self._work())
        written = time.perf_counter() - start
        self.checkpoints.finish()
        slower = max(0.0, sum(steps) - usual * len(steps))
        self.figures["copy_seconds"].append(copied)
        self.figures["slower_seconds"].append(slower)
        self.figures["written_after_seconds"].append(written)
        return 1 / copied

    def _work(self) -> float:
        start = time.perf_counter()
        for _ in range(4):
            self.work @ self.work
        return time.perf_counter() - start

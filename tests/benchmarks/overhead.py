"""Tokens/s of a training inside a run, against the same steps in a bare loop."""

import argparse
import itertools
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.display import Display
from pipeline.cluster import LOCAL_RAY_ENVIRONMENT
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import JournalReader, Store
from pipeline.tokens.encode import Tokens, TokensConfig, tokenize
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from pipeline.tracking import Flow, Tracker
from pipeline.training.pretrain import BaseModel, pretrain
from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks.measure import Result, in_turn
from tests.benchmarks.texts import texts
from tests.tokens.conftest import small_corpus

WORKER_NICENESS = int(LOCAL_RAY_ENVIRONMENT["RAY_worker_niceness"])


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=180, help="of each training; a sixth is not timed")


def run(given: argparse.Namespace) -> Result:
    """Ours is the stage as `moinho run` runs it: a Ray worker, with journal, checkpoints, evaluations,
    progress display and the process that sends metrics to MLflow. Counted are all seconds from a sixth
    of the steps on but those of evaluations, which the bare loop does not have."""
    with (
        tempfile.TemporaryDirectory(prefix="moinho-overhead-") as folder,
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as ray_folder,
    ):
        trainings = Trainings(Path(folder), ray_folder, given.steps)
        pairs = in_turn(trainings.ours, trainings.bare, given.pairs)
        figures = {"steps": given.steps, **trainings.config(0).shape().__dict__, **trainings.figures}
        return Result("overhead", "training tokens per second", 0.95, pairs, figures)


@dataclass
class Trainings:
    """Trainings of one model on one corpus; each turn has another seed, so that none is reused."""

    folder: Path
    ray_folder: str
    steps: int
    figures: dict[str, list[float]] = field(default_factory=lambda: {"in_steps": [], "with_evaluations": []})
    """Tokens per second of ours: in the steps alone, as its metrics have it; with evaluations."""
    turn: int = 0
    resolved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settled = self.steps // 6
        self.store = Store(str(self.folder / "store"))
        self.settings = ComputeConfig(store=str(self.folder / "store"), compile=False)
        self.tokens, self.vocabulary = self._data()

    def _data(self) -> tuple[Tokens, Vocabulary]:
        corpus = small_corpus(self.store, texts())
        vocabulary = train_vocabulary(self.store, corpus, VocabularyConfig(pieces=4096))
        compute = Compute(self.settings, self.ray_folder)
        try:
            return tokenize(self.store, corpus, vocabulary, TokensConfig(row_tokens=256), compute), vocabulary
        finally:
            compute.stop()

    def config(self, turn: int) -> PretrainConfig:
        """The model of the quickstart."""
        return PretrainConfig(
            depth=3,
            batch_tokens=2048,
            steps=self.steps,
            evaluate_every=self.steps // 3,
            evaluation_rows=64,
            seed=turn,
        )

    def ours(self) -> float:
        compute, config = Compute(self.settings, self.ray_folder), self.config(self.turn)
        with (
            Tracker(self.store.storage, Flow("overhead", config.resolved())) as tracker,
            Display(Console(quiet=True)) as display,
        ):
            self.store.listeners = [tracker, display]
            try:
                base = pretrain(self.store, self.tokens, self.vocabulary, config, compute)
            finally:
                compute.stop()
        self.resolved = dict(base.record.compute)
        return self._read(base)

    def _read(self, base: BaseModel) -> float:
        """Tokens per second by the times at which the worker wrote how many it had trained on."""
        journal = f"{base.base}/attempts/{base.record.attempt}/journal"
        read = JournalReader(self.store.storage, journal).read()
        lines = [line for line in read if line["kind"] == "metrics"]
        evaluations = {line["step"] for line in lines if "held_out_loss" in line["values"]}
        told = [line for line in lines if "tokens" in line["values"] and line["step"] >= self.settled]
        tokens = seconds = 0.0
        for before, after in itertools.pairwise(told):
            if evaluations.isdisjoint(range(before["step"], after["step"])):
                tokens += after["values"]["tokens"] - before["values"]["tokens"]
                seconds += after["time"] - before["time"]
        whole = told[-1]["values"]["tokens"] - told[0]["values"]["tokens"]
        self.figures["with_evaluations"].append(whole / (told[-1]["time"] - told[0]["time"]))
        recorded = [line["values"]["tokens_per_second"] for line in told]
        self.figures["in_steps"].append(sum(recorded) / len(recorded))
        return tokens / seconds

    def bare(self) -> float:
        """In a new process, as nice as Ray makes its workers."""
        from tests.benchmarks.bare_loop import Bare, tokens_per_second

        config = self.config(self.turn)
        rows, tokenizer = self.tokens.rows("train"), self.vocabulary.folder("tokenizer")
        bare = Bare(config, rows, tokenizer, self.resolved, WORKER_NICENESS, self.settled)
        self.turn += 1
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(tokens_per_second, bare).result()

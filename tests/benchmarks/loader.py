"""Rows/s that the loader prepares, against those that a training eats."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks import train
from tests.benchmarks.measure import Result, in_turn
from tests.benchmarks.train import Task
from tests.benchmarks.turns import AfterStep, turns

DOCUMENTS_PER_ROW = 4
LOADED_STEPS = 200
"""For each step that a training does in a turn."""


def arguments(parser: argparse.ArgumentParser) -> None:
    train.arguments(parser)


class Packed(Task):
    """Rows of several documents."""

    def data(self) -> Any:
        from pipeline.training.synthetic import synthetic_data

        shape = {"pieces": self.pieces, "row_tokens": self.row_tokens, "rows": 4096}
        return synthetic_data(self.folder, **shape, documents_per_row=DOCUMENTS_PER_ROW)


def run(given: argparse.Namespace) -> Result:
    """Ours: batches taken one after the other, with nothing in between, from the thread that works ahead.
    The reference: the rows that the compiled training of a small model takes; larger ones take fewer."""
    config = PretrainConfig(
        depth=given.depth,
        batch_tokens=given.batch_tokens,
        steps=train.STEPS,
        evaluate_every=train.STEPS,
        evaluation_rows=8,
        prompts=(),
    )
    rows = config.recipe().batch_tokens // given.row_tokens
    with tempfile.TemporaryDirectory(prefix="moinho-loader-") as folder:
        task = Packed(Path(folder), config, given.pieces, given.row_tokens)
        with (
            turns(load, task, given.steps * LOADED_STEPS) as loading,
            turns(train.ours, task, given.steps) as training,
        ):
            loading.settle()
            training.settle()
            pairs = in_turn(
                lambda: loading.steps_per_second() * rows,
                lambda: training.steps_per_second() * rows,
                given.pairs,
            )
    figures = {"documents_per_row": DOCUMENTS_PER_ROW, "row_tokens": given.row_tokens, "batch_rows": rows}
    return Result("loader", "rows per second", 20.0, pairs, figures | config.shape().__dict__)


def load(task: Task, after_step: AfterStep) -> None:
    from pipeline.training.loader import Loader

    rows, recipe = task.data().train, task.config.recipe()
    size = recipe.batch_tokens // task.row_tokens
    steps = 1 << 40
    loader = Loader(rows, seed=0, batch_rows=size, micro_batch_rows=size, steps=steps)
    with loader:
        for step in range(steps):
            loader.take(step)
            after_step()

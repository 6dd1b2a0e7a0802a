"""Tokens/s of our training loop, against transformers' Trainer and a bare loop of the same model."""

import argparse
import contextlib
import statistics
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.compute_config import ComputeConfig
from pipeline.hardware import products
from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks import bare_loop
from tests.benchmarks.bare_loop import Bare
from tests.benchmarks.measure import Result, in_turn
from tests.benchmarks.turns import AfterStep, turns

STEPS = 100_000
"""Of each training: more than there will be turns for."""
COMPUTE = ComputeConfig(compile=True, checkpoint_seconds=1e9)
PRODUCTS = products("bf16", "cpu")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=10, help="of each turn")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--pieces", type=int, default=4096)
    parser.add_argument("--row-tokens", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=2048)


@dataclass(frozen=True)
class Task:
    """What all train: one model on one corpus of noise."""

    folder: Path
    config: PretrainConfig
    pieces: int
    row_tokens: int

    def data(self) -> Any:
        from pipeline.training.synthetic import synthetic_data

        return synthetic_data(self.folder, pieces=self.pieces, row_tokens=self.row_tokens, rows=512)


def run(given: argparse.Namespace) -> Result:
    """Ours is the loop of the pretrain stage in this one process, by `assemble` and `Loop.run`: bf16,
    compiled, with its loader, journal and figures. The reference is transformers' Trainer with the same
    model, batch, AdamW, bf16 and torch.compile. Beside them: the Trainer as it comes (fp32, not compiled) and
    a bare compiled loop. All four are there all the time, and take turns of a few steps."""
    config = PretrainConfig(
        depth=given.depth,
        batch_tokens=given.batch_tokens,
        steps=STEPS,
        evaluate_every=STEPS,
        evaluation_rows=8,
        prompts=(),
        optimizer="adamw",
        learning_rate=1e-3,
    )
    tokens = config.recipe().batch_tokens
    others: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="moinho-train-") as folder, contextlib.ExitStack() as stack:
        task = Task(Path(folder), config, given.pieces, given.row_tokens)
        start = lambda training: stack.enter_context(turns(training, task, given.steps))  # noqa: E731
        all_four = [start(training) for training in (ours, trainer, trainer_as_it_comes, bare)]
        for each in all_four:
            each.settle()
        our_loop, same, plain, least = all_four

        def turn() -> float:
            found = our_loop.steps_per_second() * tokens
            for name, other in (("trainer_as_it_comes", plain), ("bare", least)):
                others[name].append(other.steps_per_second() * tokens)
            return found

        pairs = in_turn(turn, lambda: same.steps_per_second() * tokens, given.pairs)
    figures: dict[str, Any] = dict(others) | {"threads": torch.get_num_threads(), **config.shape().__dict__}
    for name, found in others.items():
        ratios = [pair.ours / other for pair, other in zip(pairs, found, strict=True)]
        figures[f"{name}_ratio"] = statistics.median(ratios)
        figures[f"{name}_interval"] = [min(ratios), max(ratios)]
    return Result("train", "training tokens per second", 1.0, pairs, figures)


def ours(task: Task, after_step: AfterStep) -> None:
    from pipeline.store import Attempt, Storage
    from pipeline.training.checkpoint import Checkpoints
    from pipeline.training.group import Group
    from pipeline.training.worker import assemble

    attempt = Attempt(Storage(str(task.folder / "store")), "train", "ours", "first")
    data, checkpoints = task.data(), Checkpoints(attempt, "x")
    loop = assemble(task.config, COMPUTE, checkpoints, None, data, Group.alone(), attempt.journal("ours"))
    tell = loop.tell

    def told(update: Any) -> None:
        tell(update)
        after_step()

    loop.tell = told  # type: ignore[method-assign]
    loop.run()


def bare(task: Task, after_step: AfterStep) -> None:
    data = task.data()
    resolved = {"threads": torch.get_num_threads(), "compile": True, "products": PRODUCTS}
    given = Bare(task.config, data.train, data.tokenizer_folder, resolved, niceness=0, settled=0)
    bare_loop.train(given, lambda step, labels: after_step())


def trainer(task: Task, after_step: AfterStep) -> None:
    _trainer(task, after_step, bf16=PRODUCTS == "bf16", torch_compile=True)


def trainer_as_it_comes(task: Task, after_step: AfterStep) -> None:
    _trainer(task, after_step, bf16=False)


def _trainer(task: Task, after_step: AfterStep, **given: Any) -> None:
    """It sees the same rows without borders between documents: each row is one."""
    from transformers import AutoTokenizer, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from pipeline.models.architectures import llama_config
    from pipeline.training.beginning import token_ids

    class Turn(TrainerCallback):
        def on_step_end(self, *words: Any, **named: Any) -> None:
            after_step()

    data, recipe = task.data(), task.config.recipe()
    ids = token_ids(AutoTokenizer.from_pretrained(data.tokenizer_folder))
    torch.manual_seed(task.config.seed)
    model = LlamaForCausalLM(llama_config(task.config.shape(), ids, task.row_tokens))
    rows = data.train.batch(np.arange(len(data.train))).tokens_BT
    examples = [{"input_ids": torch.from_numpy(row), "labels": torch.from_numpy(row)} for row in rows]
    settings = TrainingArguments(
        output_dir=str(task.folder / "trainer"),
        per_device_train_batch_size=recipe.batch_tokens // task.row_tokens,
        max_steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        weight_decay=task.config.weight_decay,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **given,
    )
    Trainer(model=model, args=settings, train_dataset=examples, callbacks=[Turn()]).train()

"""One training for a comparison of recipes: so many FLOPs, then held-out bits per byte."""

import time
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel

from pipeline.hardware import products
from pipeline.models import cost
from pipeline.models.cost import Division
from pipeline.models.families import TokenIds, training_flops_per_token
from pipeline.tokens.order import batch_rows
from pipeline.tokens.rows import NO_LABEL
from pipeline.training import optimizer
from pipeline.training.beginning import token_ids
from pipeline.training.forward import LossFunction, loss_function, to_device
from pipeline.training.group import Group
from pipeline.training.layout import Layout
from pipeline.training.monitor import HeldOut
from pipeline.training.schedule import Schedule, learning_rate_factor
from pipeline.training.worker import Data, compute_repeatably
from tests.benchmarks.recipe_models import Build, built, shape_of

WARMUP_SHARE = 0.05
EVALUATION_ROWS = 256
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ingredients:
    """A recipe. What has its default is ours."""

    build: Build = field(default_factory=Build)
    optimizer: str = "muon"
    embedding_rate: float = 1.0
    """Learning rate of embeddings and norms, in units of the matrices'."""
    schedule: Schedule = "wsd"
    decay_fraction: float = 0.5
    end_factor: float = 0.0
    """Of the peak learning rate, what is left at the end."""
    warmup_share: float = WARMUP_SHARE
    weight_decay: float = 0.1
    clip_norm: float | None = 1.0
    batch_tokens: int = 2048
    borders: bool = True
    """Documents of one row do not see each other in training; when judged they never do."""


@dataclass(frozen=True)
class Trial:
    """A recipe at a size, a learning rate and a seed."""

    ingredients: Ingredients
    depth: int
    learning_rate: float
    seed: int
    flops: float

    @property
    def width(self) -> int:
        return 64 * self.depth


@dataclass(frozen=True)
class Outcome:
    bits_per_byte: float
    steps: int
    tokens: int
    seconds: float


def tried(trial: Trial, data: Data) -> Outcome:
    """Train with so many FLOPs, those of Muon's updates counted, and judge at the end."""
    start = time.monotonic()
    parts, row_tokens = trial.ingredients, data.train.row_tokens
    compute_repeatably(CPU)
    torch.manual_seed(trial.seed)
    ids = token_ids(AutoTokenizer.from_pretrained(data.tokenizer_folder, local_files_only=True))
    shape = shape_of(parts.build, trial.depth, trial.width, row_tokens)
    model = built(parts.build, shape, ids, row_tokens)
    optimizers = _optimizers(model, trial)
    rows = parts.batch_tokens // row_tokens
    steps = steps_for(trial, ids, row_tokens)
    torch.compiler.reset()
    loss_of = torch.compile(loss_function(model, products("bf16", "cpu"), CPU), dynamic=False)
    tokens = 0
    for step in range(steps):
        tokens += _update(step, steps, trial, data, rows, model, loss_of, optimizers)
    model.train(False)
    judge = HeldOut(data.held_out, data.held_out_tokens_per_byte, EVALUATION_ROWS)
    bits = judge.bits_per_byte(judge.loss(loss_of, rows, Layout(Group.alone(), Division())))
    return Outcome(bits, steps, tokens, time.monotonic() - start)


def steps_for(trial: Trial, ids: TokenIds, row_tokens: int) -> int:
    each = step_flops(trial.ingredients, trial.depth, trial.width, ids.vocabulary_size, row_tokens)
    return max(1, round(trial.flops / each))


def step_flops(parts: Ingredients, depth: int, width: int, pieces: int, row_tokens: int) -> float:
    """Of one step, its update counted."""
    shape = shape_of(parts.build, depth, width, row_tokens)
    trained = parts.batch_tokens * training_flops_per_token(shape, pieces, row_tokens)
    return trained + cost.updates(parts.optimizer, shape, pieces, 1).get("muon.flops", 0.0)


def _optimizers(model: PreTrainedModel, trial: Trial) -> optimizer.Optimizers:
    parts = trial.ingredients
    make = {"muon": optimizer.muon, "adamw": optimizer.adamw}[parts.optimizer]
    if parts.embedding_rate == 1.0:
        return make(model, trial.learning_rate, parts.weight_decay)
    made = make(model, trial.learning_rate, parts.weight_decay)
    for group in made.members[-1].param_groups:
        group["lr"] = trial.learning_rate * parts.embedding_rate
    return optimizer.Optimizers(made.members, model)


def _update(
    step: int,
    steps: int,
    trial: Trial,
    data: Data,
    rows: int,
    model: nn.Module,
    loss_of: LossFunction,
    optimizers: optimizer.Optimizers,
) -> int:
    """One step; returns the labels that were trained on."""
    parts = trial.ingredients
    batch = data.train.batch(batch_rows(trial.seed, step, rows, len(data.train)))
    part = to_device(batch, rows, data.train.pad, CPU)
    documents_BT, positions_BT = part.documents_BT, part.positions_BT
    if not parts.borders:
        documents_BT = torch.where(documents_BT < 0, documents_BT, 0)
        positions_BT = torch.arange(documents_BT.shape[1]).expand_as(documents_BT)
    labels = int((batch.labels_BT != NO_LABEL).sum())
    loss = loss_of(part.tokens_BT, documents_BT, positions_BT, part.labels_BT) / labels
    loss.backward()  # type: ignore[no-untyped-call]
    if parts.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), parts.clip_norm)
    warmup = round(parts.warmup_share * steps)
    factor = learning_rate_factor(step, steps, warmup, parts.schedule, parts.decay_fraction)
    warming = step < warmup
    optimizers.step(factor if warming else parts.end_factor + (1 - parts.end_factor) * factor)
    return labels

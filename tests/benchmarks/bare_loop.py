"""The least that training a model takes: model, batch, loss, update, in one process and no more."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from pipeline.models.architectures import llama_config
from pipeline.tokens.order import batch_rows
from pipeline.tokens.rows import NO_LABEL, Rows
from pipeline.training import optimizer
from pipeline.training.beginning import begin_as_identity, token_ids
from pipeline.training.forward import loss_function, to_device
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.schedule import learning_rate_factor


@dataclass(frozen=True)
class Bare:
    """What a bare run gets: the recipe and the data of the other, and what that chose by itself."""

    config: PretrainConfig
    rows: Rows
    tokenizer_folder: Path
    resolved: dict[str, Any]
    niceness: int
    """Added to that of the parent: Ray's workers have one of their own."""
    settled: int
    """Steps that are not timed."""


def tokens_per_second(bare: Bare) -> float:
    """Labels trained on per second, from step `settled` to the last one."""
    os.nice(bare.niceness)
    trained, start = 0, time.monotonic()

    def count(step: int, labels: int) -> None:
        nonlocal trained, start
        trained += labels
        if step + 1 == bare.settled:
            trained, start = 0, time.monotonic()

    train(bare, count)
    return trained / (time.monotonic() - start)


def train(bare: Bare, after_step: Callable[[int, int], None]) -> None:
    """All steps of the recipe; `after_step` gets the number of each, from 0, and its labels."""
    torch.set_num_threads(bare.resolved["threads"])
    config, recipe, device, rows = bare.config, bare.config.recipe(), torch.device("cpu"), bare.rows
    torch.manual_seed(config.seed)
    ids = token_ids(AutoTokenizer.from_pretrained(bare.tokenizer_folder))
    model = LlamaForCausalLM(llama_config(config.shape(), ids, rows.row_tokens))
    begin_as_identity(model)
    loss_of = loss_function(model, bare.resolved["products"], device)
    if bare.resolved["compile"]:
        loss_of = torch.compile(loss_of, dynamic=False)
    make = {"muon": optimizer.muon, "adamw": optimizer.adamw}[config.optimizer]
    optimizers = make(model, recipe.learning_rate, config.weight_decay)
    size = recipe.batch_tokens // rows.row_tokens
    for step in range(recipe.steps):
        batch = rows.batch(batch_rows(config.seed, step, size, len(rows)))
        part = to_device(batch, size, rows.pad, device)
        labels = int((batch.labels_BT != NO_LABEL).sum())
        loss = loss_of(part.tokens_BT, part.documents_BT, part.positions_BT, part.labels_BT) / labels
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip_norm)
        factor = learning_rate_factor(
            step, recipe.steps, recipe.warmup_steps, config.schedule, config.decay_fraction
        )
        optimizers.step(factor)
        after_step(step, labels)

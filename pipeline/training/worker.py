"""What runs in each training worker: assemble the loop, go on from the last checkpoint, export the model."""

import json
import logging
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from pipeline.compute_config import ComputeConfig
from pipeline.models.families import training_flops_per_token
from pipeline.models.family_tokenizer import family_tokenizer, objective_of
from pipeline.models.model import load_tokenizer
from pipeline.store import Attempt, Journal
from pipeline.tokens.mixture import TrainingRows
from pipeline.tokens.rows import Rows
from pipeline.training import fp8, fused_loss, optimizer
from pipeline.training.beginning import first_model, token_ids
from pipeline.training.checkpoint import Checkpoint, Checkpoints, last_checkpoint
from pipeline.training.compiled import compiled
from pipeline.training.family_losses import family_loss
from pipeline.training.fit import Trained
from pipeline.training.forgetting import CURVES, Forgetting
from pipeline.training.forward import ATTENTION, LossFunction, products_of
from pipeline.training.goodput import Stopwatch, go_on
from pipeline.training.group import Group
from pipeline.training.layout import Layout
from pipeline.training.loop import Loop
from pipeline.training.memory import peak_memory
from pipeline.training.mixing import training_rows
from pipeline.training.monitor import HeldOut
from pipeline.training.offload import OffloadedOptimizers
from pipeline.training.preemption import Preemption, ask_ray
from pipeline.training.pretrain import RESULT, Job
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.resolve import (
    DeviceLacksError,
    Resolved,
    refuse_what_is_for_decoders,
    refuse_what_is_not_installed,
    refuse_what_lacks,
    resolve,
)
from pipeline.training.retention import Retention
from pipeline.training.speed import Speedometer
from pipeline.training.steps import STEPS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneralText:
    """Held-out rows of a text that the model knew before, opened on this machine."""

    held_out: Rows
    tokens_per_byte: float


@dataclass(frozen=True)
class Data:
    """What a run learns from and is judged on, opened on this machine."""

    train: TrainingRows
    held_out: Rows
    held_out_tokens_per_byte: float
    tokenizer_folder: Path
    start: Path | None = None
    """The folder of the model that is gone on from, if there is one."""
    general: GeneralText | None = None
    """Beside the domain, of whose rows `train` has a share then."""

    @classmethod
    def of(cls, job: Job) -> "Data":
        general, mixed = None, job.config.general
        if job.general is not None:
            general = GeneralText(job.general.rows("held-out"), job.general.held_out_tokens_per_byte())
        return cls(
            train=training_rows(
                job.tokens,
                job.general,
                mixed.share if mixed else 0.0,
                job.config.mixture,
                job.config.training_rows(job.tokens.row_tokens),
            ),
            held_out=job.tokens.rows("held-out"),
            held_out_tokens_per_byte=job.tokens.held_out_tokens_per_byte(),
            tokenizer_folder=job.vocabulary.folder("tokenizer"),
            start=job.start.model_folder() if job.start is not None else None,
            general=general,
        )


def train_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in every worker; `settings["job"]` is a Job."""
    import ray.train
    import ray.train.torch

    job: Job = settings["job"]
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    train(
        job.config,
        job.compute,
        job.attempt,
        Data.of(job),
        group,
        preemption=Preemption(ask_ray),
        began=settings.get("began"),
    )


def train(
    config: PretrainConfig,
    compute: ComputeConfig,
    attempt: Attempt,
    data: Data,
    group: Group,
    *,
    preemption: Preemption | None = None,
    began: float | None = None,
) -> None:
    """Train to the end as one of the group; rank 0 publishes the model and `result.json`.

    `began`: when the driver asked for it, in seconds since 1970.
    """
    watch = Stopwatch()
    journal = attempt.journal(f"pretrain-{group.rank}")
    checkpoints = Checkpoints(
        attempt,
        group.from_first(secrets.token_hex(3)),
        Retention(compute.keep_checkpoints, compute.keep_best_checkpoints, compute.keep_every_steps),
        compute.process_group_timeout_seconds,
    )
    with watch.during("restore"):
        checkpoint = last_checkpoint(checkpoints, group, journal)
        go_on(watch, checkpoint, began, attempt.id)
    loop = assemble(config, compute, checkpoints, checkpoint, data, group, journal, watch)
    loop.preemption = preemption or loop.preemption
    loss = loop.run()
    peak, weights = peak_memory(group), loop.layout.whole_weights(loop.model)
    if group.is_first:
        _export(loop, weights, data, attempt, loss, peak)
    group.everywhere(True)  # nobody leaves before the model is written


def assemble(
    config: PretrainConfig,
    compute: ComputeConfig,
    checkpoints: Checkpoints,
    checkpoint: Checkpoint | None,
    data: Data,
    group: Group,
    journal: Journal,
    watch: Stopwatch | None = None,
) -> Loop:
    """The loop, ready to run from the checkpoint, or from the first step."""
    tokenizer = family_tokenizer(data.tokenizer_folder, config.family)
    recipe, row_tokens = config.recipe(), data.train.row_tokens
    per_token = training_flops_per_token(config.shape(), len(tokenizer), row_tokens)
    refuse_what_lacks(compute, config.precision, group.device.type)
    refuse_what_is_not_installed(compute)
    refuse_what_is_for_decoders(compute, config.family)
    resolved = _resolved(config, compute, checkpoint, row_tokens, len(tokenizer), group)
    tell = journal.beginning if group.is_first else lambda told: None
    tell("making the model")
    torch.set_num_threads(resolved.threads)
    compute_repeatably(group.device)
    model = first_model(config, tokenizer, row_tokens, data.start)
    eager = family_loss(config.family, model, resolved.products, group.device)
    pieces = len(load_tokenizer(data.tokenizer_folder))
    objective = objective_of(config.family, config.noise(), tokenizer, pieces, row_tokens, config.seed)
    loss_of = _quick_loss(model, config, resolved, row_tokens, group.device)
    layout = Layout.of(group, resolved.division)
    layout.place(model, resolved.products)
    make = {"muon": optimizer.muon, "adamw": optimizer.adamw}[config.optimizer]
    optimizers = make(model, recipe.learning_rate, config.weight_decay)
    watch = watch or Stopwatch()
    if checkpoint is None or checkpoint.manifest.step < recipe.steps:
        if resolved.compile:
            tell("compiling, which takes a minute")
        how: dict[str, Any] = {"asked": compute.compile, "by_layer": layout.is_cut}
        with watch.during("compile"):
            resolved, loss_of = compiled(resolved, loss_of, model, data.train, objective, group, **how)
    loop = Loop(
        config=config,
        resolved=resolved,
        group=group,
        layout=layout,
        model=model,
        tokenizer=tokenizer,
        optimizers=OffloadedOptimizers(optimizers) if resolved.offload_optimizer else optimizers,
        rows=data.train,
        objective=objective,
        held_out=HeldOut(data.held_out, data.held_out_tokens_per_byte, config.evaluation_rows, objective),
        loss_of=loss_of,
        eager_loss_of=eager,
        journal=journal,
        checkpoints=checkpoints,
        checkpoint_seconds=compute.checkpoint_seconds,
        watch=watch,
        speedometer=Speedometer.of(group.device, group.size, per_token, compute.peak_flops),
        forgetting=_forgetting(config, data),
    )
    torch.manual_seed(config.seed + group.rank)
    if checkpoint:
        tell(f"reading the checkpoint of step {checkpoint.manifest.step}")
        with watch.during("restore"):
            loop.restore(checkpoint)
    return loop


def _forgetting(config: PretrainConfig, data: Data) -> Forgetting | None:
    """What the general text is watched by, if there is one."""
    if config.general is None or data.general is None:
        return None
    text = data.general
    held_out = HeldOut(text.held_out, text.tokens_per_byte, config.evaluation_rows)
    return Forgetting(held_out, config.general.limit)


def _resolved(
    config: PretrainConfig,
    compute: ComputeConfig,
    checkpoint: Checkpoint | None,
    row_tokens: int,
    vocabulary_size: int,
    group: Group,
) -> Resolved:
    """How this attempt computes: as the one before, if there was one. Raises LayoutError, DoesNotFitError."""
    recipe, shape = config.recipe(), config.shape()
    per_token = training_flops_per_token(shape, vocabulary_size, row_tokens)
    return resolve(
        compute,
        checkpoint.manifest.resolved if checkpoint else None,
        device=group.device.type,
        workers=group.size,
        batch_rows=recipe.batch_tokens // row_tokens,
        row_tokens=row_tokens,
        vocabulary_size=vocabulary_size,
        flops=per_token * recipe.batch_tokens * recipe.steps,
        products=products_of(config.precision, group),
        trained=Trained(shape, config.optimizer, config.family),
    )


def _quick_loss(
    model: PreTrainedModel, config: PretrainConfig, resolved: Resolved, row_tokens: int, device: torch.device
) -> LossFunction:
    """The loss that is trained by, with what this device has for it. Raises DeviceLacksError."""
    if config.precision == "fp8":
        if fault := fp8.fault(device, row_tokens):
            raise DeviceLacksError(f"pretrain.precision is fp8, but {fault}; try bf16")
        fp8.convert(model)
    if resolved.fused_loss:
        fused_loss.prepare(model, torch.float32 if resolved.products == "fp32" else torch.bfloat16)
    model.set_attn_implementation(ATTENTION[resolved.attention])
    how = (resolved.products, device, resolved.attention, resolved.fused_loss)
    return family_loss(config.family, model, *how)


def compute_repeatably(device: torch.device) -> None:
    """Equal inputs give equal bits. On GPUs a few operations have no such version: told, not refused."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else its sums may differ
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _export(
    loop: Loop,
    weights: dict[str, torch.Tensor],
    data: Data,
    attempt: Attempt,
    loss: float,
    peak: dict[str, int],
) -> None:
    """The model as transformers reads it, and what the driver writes into the record."""
    folder = attempt.path("model/.").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model, ids = loop.model, token_ids(loop.tokenizer)
    model.save_pretrained(folder, state_dict=weights)
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=ids.bos, eos_token_id=ids.eos, pad_token_id=ids.pad, max_length=data.train.row_tokens
    ).save_pretrained(folder)
    if loop.family.continues_text:
        for file in sorted(data.tokenizer_folder.iterdir()):
            shutil.copyfile(file, folder / file.name)
    else:
        loop.tokenizer.save_pretrained(folder)
    steps = attempt.path(STEPS).resolve()
    steps.write_text(json.dumps(loop.steps().as_json(), indent=1))
    files = attempt.publish_folder("model") | {STEPS: attempt.publish(steps)}
    told, forgotten = {}, {}
    if loop.family.continues_text:
        told["held_out_bits_per_byte"] = loop.held_out.bits_per_byte(loss)
    if loop.forgetting is not None:
        forgotten, picture = loop.forgetting.figures(), attempt.path(f"plots/{CURVES}")
        loop.forgetting.draw(picture)
        files[f"plots/{CURVES}"] = attempt.publish(picture.resolve())
    result = {
        "files": {name: file.model_dump() for name, file in files.items()},
        "counts": {
            "steps": loop.step,
            "tokens": loop.tokens,
            "parameters": model.num_parameters(),
        },
        "figures": {
            "held_out_loss": loss,
            **told,
            **forgotten,
            "goodput": loop.watch.goodput(),
        },
        "compute": loop.resolved.as_dict() | peak | {"seconds": loop.watch.seconds()},
    }
    attempt.storage.create(f"{attempt.folder}/{RESULT}", json.dumps(result).encode())

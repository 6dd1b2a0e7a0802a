"""What runs in each training worker: assemble the loop, go on from the last checkpoint, export the model."""

import json
import logging
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel

from pipeline.compute import ComputeConfig
from pipeline.errors import StageError
from pipeline.models.families import training_flops_per_token
from pipeline.store import Attempt, Journal
from pipeline.tokens.rows import Rows
from pipeline.training import optimizer
from pipeline.training.beginning import first_model, token_ids
from pipeline.training.checkpoint import Checkpoint, Checkpoints, last_checkpoint
from pipeline.training.forward import LossFunction, loss_function, to_device
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.memory import peak_memory
from pipeline.training.monitor import HeldOut
from pipeline.training.pretrain import RESULT, Job, PretrainConfig
from pipeline.training.resolve import Resolved, resolve

log = logging.getLogger(__name__)


class CompileError(StageError):
    """torch.compile was asked for by name and does not work here."""

    passes = False
    remedy = "Install g++ and Python's headers (python3-dev), or leave compute.compile out."


@dataclass(frozen=True)
class Data:
    """What a run learns from and is judged on, opened on this machine."""

    train: Rows
    held_out: Rows
    held_out_tokens_per_byte: float
    tokenizer_folder: Path
    start: Path | None = None
    """The folder of the foreign model that is gone on from, if there is one."""

    @classmethod
    def of(cls, job: Job) -> "Data":
        documents = [
            pyarrow.parquet.read_table(path, columns=["tokens", "bytes"])
            for path in job.tokens.paths("held-out/")
            if path.name.endswith(".documents.parquet")
        ]
        # of a document's tokens all but the first, <s>, are predicted
        labels = sum(sum(table["tokens"].to_pylist()) - len(table) for table in documents)
        size = sum(sum(table["bytes"].to_pylist()) for table in documents)
        return cls(
            train=job.tokens.rows("train"),
            held_out=job.tokens.rows("held-out"),
            held_out_tokens_per_byte=labels / size,
            tokenizer_folder=job.vocabulary.folder("tokenizer"),
            start=job.start.model_folder() if job.start is not None else None,
        )


def train_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in every worker; `settings["job"]` is a Job."""
    import ray.train
    import ray.train.torch

    job: Job = settings["job"]
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    train(job.config, job.compute, job.attempt, Data.of(job), group)


def train(config: PretrainConfig, compute: ComputeConfig, attempt: Attempt, data: Data, group: Group) -> None:
    """Train to the end as one of the group; rank 0 publishes the model and `result.json`."""
    journal = attempt.journal(f"pretrain-{group.rank}")
    checkpoints = Checkpoints(attempt, group.from_first(secrets.token_hex(3)))
    checkpoint = last_checkpoint(checkpoints, group, journal)
    loop = assemble(config, compute, checkpoints, checkpoint, data, group, journal)
    loss = loop.run()
    peak = peak_memory(group)
    if group.is_first:
        _export(loop, data, attempt, loss, peak)
    group.everywhere(True)  # nobody leaves before the model is written


def assemble(
    config: PretrainConfig,
    compute: ComputeConfig,
    checkpoints: Checkpoints,
    checkpoint: Checkpoint | None,
    data: Data,
    group: Group,
    journal: Journal,
) -> Loop:
    """The loop, ready to run from the checkpoint, or from the first step."""
    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer_folder, local_files_only=True)
    ids, recipe, shape = token_ids(tokenizer), config.recipe(), config.shape()
    row_tokens = data.train.row_tokens
    per_token = training_flops_per_token(shape, ids.vocabulary_size, row_tokens)
    resolved = resolve(
        compute,
        checkpoint.manifest.resolved if checkpoint else None,
        device=group.device.type,
        workers=group.size,
        batch_rows=recipe.batch_tokens // row_tokens,
        row_tokens=row_tokens,
        vocabulary_size=ids.vocabulary_size,
        flops=per_token * recipe.batch_tokens * recipe.steps,
    )
    torch.set_num_threads(resolved.threads)
    compute_repeatably(group.device)
    model = first_model(config, tokenizer, row_tokens, data.start)
    torch.nn.Module.to(model, group.device)
    make = {"muon": optimizer.muon, "adamw": optimizer.adamw}[config.optimizer]
    eager = loss_function(model, config.precision, group.device)
    done = checkpoint is not None and checkpoint.manifest.step >= recipe.steps
    resolved, loss_of = _compiled(resolved, eager, model, data.train, group, asked=compute.compile, done=done)
    loop = Loop(
        config=config,
        resolved=resolved,
        group=group,
        model=model,
        tokenizer=tokenizer,
        optimizers=make(model, recipe.learning_rate, config.weight_decay),
        rows=data.train,
        held_out=HeldOut(data.held_out, data.held_out_tokens_per_byte, config.evaluation_rows),
        loss_of=loss_of,
        eager_loss_of=eager,
        journal=journal,
        checkpoints=checkpoints,
        checkpoint_seconds=compute.checkpoint_seconds,
    )
    torch.manual_seed(config.seed + group.rank)
    if checkpoint:
        loop.restore(checkpoint)
    return loop


def compute_repeatably(device: torch.device) -> None:
    """Equal inputs give equal bits. On GPUs a few operations have no such version: told, not refused."""
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _compiled(
    resolved: Resolved,
    eager: LossFunction,
    model: PreTrainedModel,
    rows: Rows,
    group: Group,
    *,
    asked: bool | None,
    done: bool,
) -> tuple[Resolved, LossFunction]:
    """The loss compiled and tried on a batch, on every rank; eager where that fails and was not asked for.

    Raises CompileError if `compute.compile` is true and it does not work.
    """
    if not resolved.compile or done:
        return resolved, eager
    compiled: LossFunction = torch.compile(eager, dynamic=False)
    fault = None
    size = resolved.micro_batch_rows
    part = to_device(rows.batch(_first_rows(size, len(rows))), size, rows.pad, group.device)
    try:
        loss = compiled(part.tokens_BT, part.documents_BT, part.positions_BT, part.labels_BT)
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a missing or broken compiler leads to
        fault = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        log.warning("torch.compile does not work here, going on without: %s", fault)
    model.zero_grad(set_to_none=True)
    if group.everywhere(fault is None):
        return resolved, compiled
    if asked:
        raise CompileError(
            f"compute.compile is true, but torch.compile fails here ({fault or 'on another worker'}); "
            "install g++ and Python's headers (python3-dev), or leave compute.compile out"
        )
    return Resolved(**{**resolved.as_dict(), "compile": False}), eager


def _first_rows(size: int, total: int) -> Any:
    return torch.arange(min(size, total)).numpy()


def _export(loop: Loop, data: Data, attempt: Attempt, loss: float, peak: dict[str, int]) -> None:
    """The model as transformers reads it, and what the driver writes into the record."""
    folder = attempt.path("model/.").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model, ids = loop.model, token_ids(loop.tokenizer)
    model.save_pretrained(folder)
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=ids.bos, eos_token_id=ids.eos, pad_token_id=ids.pad, max_length=data.train.row_tokens
    ).save_pretrained(folder)
    for file in sorted(data.tokenizer_folder.iterdir()):
        shutil.copyfile(file, folder / file.name)
    files = attempt.publish_folder("model")
    result = {
        "files": {name: file.model_dump() for name, file in files.items()},
        "counts": {
            "steps": loop.step,
            "tokens": loop.tokens,
            "parameters": model.num_parameters(),
        },
        "figures": {
            "held_out_loss": loss,
            "held_out_bits_per_byte": loop.held_out.bits_per_byte(loss),
        },
        "compute": loop.resolved.as_dict() | peak,
    }
    attempt.storage.create(f"{attempt.folder}/{RESULT}", json.dumps(result).encode())

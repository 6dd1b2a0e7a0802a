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
from transformers import AutoTokenizer, GenerationConfig, LlamaForCausalLM, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline.compute import ComputeConfig
from pipeline.errors import StageError
from pipeline.models.families import TokenIds, llama_config, parameters, training_flops_per_token
from pipeline.store import Attempt, Journal
from pipeline.tokens.rows import Rows
from pipeline.training import optimizer
from pipeline.training.checkpoint import Checkpoint, Checkpoints, last_checkpoint
from pipeline.training.fit import Trained
from pipeline.training.forward import LossFunction, loss_function, to_device
from pipeline.training.goodput import Stopwatch, go_on
from pipeline.training.group import Group
from pipeline.training.layout import Layout
from pipeline.training.loop import Loop
from pipeline.training.memory import peak_memory
from pipeline.training.monitor import HeldOut
from pipeline.training.offload import OffloadedOptimizers
from pipeline.training.preemption import Preemption, ask_ray
from pipeline.training.pretrain import RESULT, Job, PretrainConfig
from pipeline.training.resolve import Resolved, resolve
from pipeline.training.retention import Retention
from pipeline.training.steps import STEPS

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
        trained=Trained(shape, config.precision, config.optimizer),
    )
    torch.set_num_threads(resolved.threads)
    compute_repeatably(group.device)
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(llama_config(shape, ids, row_tokens))
    begin_as_identity(model)
    layout = Layout.of(group, resolved.division)
    layout.place(model, config.precision)
    make = {"muon": optimizer.muon, "adamw": optimizer.adamw}[config.optimizer]
    optimizers = make(model, recipe.learning_rate, config.weight_decay)
    eager = loss_function(model, config.precision, group.device)
    done = checkpoint is not None and checkpoint.manifest.step >= recipe.steps
    watch = watch or Stopwatch()
    with watch.during("compile"):
        resolved, loss_of = _compiled(
            resolved, eager, model, data.train, group, asked=compute.compile, done=done
        )
    loop = Loop(
        config=config,
        resolved=resolved,
        group=group,
        layout=layout,
        model=model,
        tokenizer=tokenizer,
        optimizers=OffloadedOptimizers(optimizers) if resolved.offload_optimizer else optimizers,
        rows=data.train,
        held_out=HeldOut(data.held_out, data.held_out_tokens_per_byte, config.evaluation_rows),
        loss_of=loss_of,
        eager_loss_of=eager,
        journal=journal,
        checkpoints=checkpoints,
        checkpoint_seconds=compute.checkpoint_seconds,
        watch=watch,
    )
    torch.manual_seed(config.seed + group.rank)
    if checkpoint:
        with watch.during("restore"):
            loop.restore(checkpoint)
    return loop


def begin_as_identity(model: PreTrainedModel) -> None:
    """Zero what each layer adds to the residual stream, so that all layers start by passing it on.

    Measured at depth 4 over 400,000 tokens: held-out bits per byte 1.890 in place of 1.928.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()


def token_ids(tokenizer: Tokenizer) -> TokenIds:
    return TokenIds(
        vocabulary_size=len(tokenizer),
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
    )


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
    for file in sorted(data.tokenizer_folder.iterdir()):
        shutil.copyfile(file, folder / file.name)
    steps = attempt.path(STEPS).resolve()
    steps.write_text(json.dumps(loop.steps().as_json(), indent=1))
    files = attempt.publish_folder("model") | {STEPS: attempt.publish(steps)}
    result = {
        "files": {name: file.model_dump() for name, file in files.items()},
        "counts": {
            "steps": loop.step,
            "tokens": loop.tokens,
            "parameters": parameters(loop.config.shape(), ids.vocabulary_size),
        },
        "figures": {
            "held_out_loss": loss,
            "held_out_bits_per_byte": loop.held_out.bits_per_byte(loss),
            "goodput": loop.watch.goodput(),
        },
        "compute": loop.resolved.as_dict() | peak | {"seconds": loop.watch.seconds()},
    }
    attempt.storage.create(f"{attempt.folder}/{RESULT}", json.dumps(result).encode())

"""What runs in each fine-tuning worker: TRL's trainer between our order of rows and our checkpoints.

The trainer is given exactly the rows that are left, in their order, with an optimizer and a
schedule that stand where the last checkpoint stood; it saves nothing by itself and reports to nobody.
"""

import json
import logging
import secrets
import shutil
import tempfile
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PrinterCallback,
)
from transformers import PreTrainedTokenizerBase as Tokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from pipeline.compute_config import ComputeConfig
from pipeline.models.generation import context_tokens, stop_ids
from pipeline.store import Journal
from pipeline.training.chat_rows import chat_rows
from pipeline.training.checkpoint import Checkpoint, Checkpoints, last_checkpoint
from pipeline.training.finetune import (
    RESULT,
    FinetuneConfig,
    Job,
    TooFewConversationsError,
    check_batch,
)
from pipeline.training.group import Group
from pipeline.training.memory import peak_memory
from pipeline.training.resolve import Resolved, resolve
from pipeline.training.retention import Retention
from pipeline.training.schedule import learning_rate_factor
from pipeline.training.tuning import Chats, Run, Watch

log = logging.getLogger(__name__)

ADAM_BETAS = (0.9, 0.95)
NOT_THE_TOKENIZER = ("config.json", "generation_config.json", "model.safetensors")


class QuietTrainer(SFTTrainer):
    """TRL's trainer, without its message to the hub about who trains what."""

    def _send_telemetry(self) -> None:
        return


def sft_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in every worker; `settings["job"]` is a Job."""
    import ray.train
    import ray.train.torch

    job: Job = settings["job"]
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    tune(job, group)


def tune(job: Job, group: Group) -> None:
    """Fine-tune to the end as one of the group; rank 0 publishes the model and `result.json`."""
    journal = job.attempt.journal(f"finetune-{group.rank}")
    checkpoints = Checkpoints(
        job.attempt,
        group.from_first(secrets.token_hex(3)),
        Retention(
            job.compute.keep_checkpoints, job.compute.keep_best_checkpoints, job.compute.keep_every_steps
        ),
        job.compute.process_group_timeout_seconds,
    )
    checkpoint = last_checkpoint(checkpoints, group, journal)
    run = assemble(job, group, journal, checkpoints, checkpoint)
    if run.done == 0:
        run.evaluate()
    if run.done < run.steps:
        with checkpoints:
            train(run)
    loss = run.evaluate() if run.done else run.held_out_loss
    peak = peak_memory(group)
    if group.is_first:
        export(run, job, loss, peak)
    group.everywhere(True)  # nobody leaves before the model is written


def assemble(
    job: Job, group: Group, journal: Journal, checkpoints: Checkpoints, checkpoint: Checkpoint | None
) -> Run:
    """The run, ready to go on from the checkpoint, or from the base model."""
    config = job.config
    model, tokenizer = job.base.load(torch.float32)
    longest = min(config.max_tokens, context_tokens(model))
    chats = _chats(job, tokenizer, longest)
    check_batch(config, len(chats.train), group.size)
    resolved = _resolve(job.compute, config, checkpoint, group, chats.longest, len(tokenizer))
    torch.set_num_threads(resolved.threads)
    torch.use_deterministic_algorithms(True, warn_only=group.device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(config.seed + group.rank)
    torch.nn.Module.to(model, group.device)
    run = Run(
        config=config,
        resolved=resolved,
        group=group,
        model=model,
        tokenizer=tokenizer,
        chats=chats,
        optimizer=_optimizer(model, config),
        journal=journal,
        checkpoints=checkpoints,
        checkpoint_seconds=job.compute.checkpoint_seconds,
        steps=config.steps_for(len(chats.train)),
    )
    if checkpoint is not None:
        checkpoint.load(run.state())
        run.done, run.tokens = checkpoint.manifest.step, checkpoint.manifest.tokens
        run.losses.extend(checkpoint.manifest.loop["losses"])
        checkpoint.restore_random(group.rank)
    return run


def _chats(job: Job, tokenizer: Tokenizer, longest: int) -> Chats:
    config = job.config
    train, too_long = chat_rows(tokenizer, job.conversations.rows("train"), longest)
    held_out = list(job.conversations.rows("held-out"))
    judged = [held_out[index] for index in _spread(len(held_out), config.evaluation_rows)]
    rows, _ = chat_rows(tokenizer, judged, longest)
    if not rows:
        raise TooFewConversationsError(
            f"all {len(judged)} held-out conversations are longer than {longest} tokens; "
            "raise finetune.max_tokens (up to the base model's context) or bring shorter ones"
        )
    shown = [held_out[index]["question"] for index in _spread(len(held_out), config.shown_questions)]
    return Chats(train, rows, shown, too_long)


def _spread(total: int, count: int) -> list[int]:
    """So many numbers below `total` at most, evenly spread and each once."""
    return sorted({int(index) for index in np.linspace(0, total - 1, min(count, total))})


def _resolve(
    compute: ComputeConfig,
    config: FinetuneConfig,
    checkpoint: Checkpoint | None,
    group: Group,
    longest: int,
    vocabulary_size: int,
) -> Resolved:
    """As pretraining chooses, without torch.compile and with micro-batches that divide a worker's rows."""
    chosen = resolve(
        compute.model_copy(update={"compile": False}),
        checkpoint.manifest.resolved if checkpoint else None,
        device=group.device.type,
        workers=group.size,
        batch_rows=config.batch_rows,
        row_tokens=longest,
        vocabulary_size=vocabulary_size,
        flops=0.0,
    )
    each = config.batch_rows // group.size
    rows = next(n for n in range(min(each, chosen.micro_batch_rows), 0, -1) if each % n == 0)
    return Resolved(**{**chosen.as_dict(), "micro_batch_rows": rows})


def _optimizer(model: PreTrainedModel, config: FinetuneConfig) -> torch.optim.AdamW:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if weight.ndim >= 2]
    others = [weight for weight in weights if weight.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=ADAM_BETAS, fused=True)


def _schedule(run: Run) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of the whole run, from the step that is next."""
    config, first = run.config, run.done
    for group in run.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = config.learning_rate
    warmup = round(config.warmup_share * run.steps)

    def factor(step: int) -> float:
        # called once more behind the last step, where nothing is left of the learning rate
        at = min(first + step, run.steps - 1)
        return learning_rate_factor(at, run.steps, warmup, config.schedule, 0.5)

    return torch.optim.lr_scheduler.LambdaLR(run.optimizer, factor)


def train(run: Run) -> None:
    """Let TRL's trainer do the steps that are left."""
    left = [row for step in range(run.done, run.steps) for row in run.rows_of_step(step)]
    rows = datasets.Dataset.from_list(
        [{"input_ids": run.chats.train[row].ids, "labels": run.chats.train[row].labels} for row in left]
    )
    with tempfile.TemporaryDirectory() as nothing:
        trainer = QuietTrainer(
            model=run.model,
            args=_arguments(run, nothing),
            train_dataset=rows,
            processing_class=run.tokenizer,
            optimizers=(run.optimizer, _schedule(run)),
            callbacks=[Watch(run)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    del run.model.forward  # TRL's fused head, put there for its training


def _arguments(run: Run, folder: str) -> SFTConfig:
    each = run.config.batch_rows // run.group.size
    return SFTConfig(
        output_dir=folder,
        max_steps=run.steps - run.done,
        per_device_train_batch_size=run.resolved.micro_batch_rows,
        gradient_accumulation_steps=each // run.resolved.micro_batch_rows,
        train_sampling_strategy="sequential",
        max_length=None,
        max_grad_norm=run.config.gradient_clip_norm,
        bf16=run.config.precision == "bf16",
        use_cpu=run.group.device.type == "cpu",
        activation_checkpointing=False,
        seed=run.config.seed,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        push_to_hub=False,
    )


def export(run: Run, job: Job, loss: float, peak: dict[str, int]) -> None:
    """The model as transformers reads it, and what the driver writes into the record."""
    folder = job.attempt.path("model/.").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run.model.save_pretrained(folder)
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=run.tokenizer.bos_token_id,
        eos_token_id=stop_ids(run.tokenizer),
        pad_token_id=run.tokenizer.pad_token_id,
        max_length=context_tokens(run.model),
    ).save_pretrained(folder)
    for file in sorted(job.base.model_folder().iterdir()):
        if file.name not in NOT_THE_TOKENIZER:
            shutil.copyfile(file, folder / file.name)
    result = {
        "files": {name: file.model_dump() for name, file in job.attempt.publish_folder("model").items()},
        "counts": {
            "steps": run.done,
            "tokens": run.tokens,
            "conversations": len(run.chats.train),
            "too_long": run.chats.too_long,
        },
        "figures": {"train_loss": sum(run.losses) / len(run.losses), "held_out_loss": loss},
        "compute": run.resolved.as_dict() | peak,
    }
    job.attempt.storage.create(f"{job.attempt.folder}/{RESULT}", json.dumps(result).encode())

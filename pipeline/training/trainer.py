"""One of TRL's trainers between our order of rows and our checkpoints.

The trainer is given exactly the rows that are left, in their order, with an optimizer and a schedule
that stand where the last checkpoint stood; it saves nothing by itself and reports to nobody.
"""

import tempfile
import time
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pipeline.training.schedule import learning_rate_factor
from pipeline.training.tuning import Run
from pipeline.training.tuning_config import NonFiniteGradientError

JOURNAL_SECONDS = 0.5


class Silent:
    """Before a trainer of TRL: without its message to the hub about who trains what."""

    def _send_telemetry(self) -> None:
        return


class Watch(TrainerCallback):
    """Tells how far the run is, refuses broken gradients, judges, saves, and stops with a reason.

    The trainer has to log after every step.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.evaluate_every = max(1, run.steps // run.config.evaluations)
        self.told, self.saved = 0.0, time.monotonic()
        self.begun = False

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The first step's rows were fetched, nothing was drawn for it yet."""
        if not self.begun:
            self.run.restore_random()
        self.begun = True

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        run, config = self.run, self.run.config
        gradients = [weight.grad for weight in run.model.parameters() if weight.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not np.isfinite(norm):
            raise NonFiniteGradientError(
                f"{config.section}, step {run.done}: the gradient's norm is {norm} in the batch of "
                f"{config.rows_are} {run.rows_of_step(run.done)[:4]} and others; the update was not made. "
                f"Lower {config.section}.learning_rate (now {config.learning_rate}) or try "
                f"{config.section}.precision fp32"
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.run.done += 1

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Comes after every step, when its loss is known; and once at the end, without one."""
        run = self.run
        if not logs or "loss" not in logs:
            return
        run.losses.append(float(logs["loss"]))
        run.tokens += run.objective.tokens_of(run.rows_of_step(run.done - 1), logs)
        run.stopped = run.group.from_first(run.objective.stop(run, logs))
        last = run.done == run.steps or run.stopped is not None
        self._tell(logs, last)
        if not last and run.done % self.evaluate_every == 0:
            run.evaluate()
        due = time.monotonic() - self.saved >= run.checkpoint_seconds
        if run.group.from_first(due) or last:
            run.save()
            self.saved = time.monotonic()
        if not last:
            run.leave_if_told()
        control.should_training_stop = control.should_training_stop or run.stopped is not None

    def _tell(self, logs: dict[str, float], last: bool) -> None:
        run, now = self.run, time.monotonic()
        if not run.group.is_first or (now - self.told < JOURNAL_SECONDS and not last):
            return
        self.told = now
        told = {**run.objective.told(logs)}
        if "grad_norm" in logs:
            told["gradient_norm"] = float(logs["grad_norm"])
        run.journal.progress(run.done, run.steps, "steps", loss=round(run.losses[-1], 3))
        # the scheduler has already gone on to the next step's rate
        run.journal.metrics(
            run.done,
            loss=run.losses[-1],
            learning_rate=float(logs["learning_rate"]),
            tokens=float(run.tokens),
            **told,
        )
        if run.stopped is not None:
            run.journal.write("stopped", step=run.done, reason=run.stopped)


def train_by(
    trainer: type[Trainer],
    arguments: type[TrainingArguments],
    run: Run,
    rows: datasets.Dataset,
    settings: Mapping[str, Any] | None = None,
    **given: Any,
) -> None:
    """Let one of TRL's trainers do the steps that are left.

    `rows` are those of `run.rows_left()`, each as the trainer wants it; `settings` are arguments beside
    the shared ones, `given` goes to the trainer itself (a reference model, reward functions). For
    trainers that sample, one batch of answers serves one optimizer step, so that a checkpoint after
    any step has all that is needed to go on.
    """
    silent = type(trainer.__name__, (Silent, trainer), {})
    changed = {id(module) for module in run.model.modules() if "forward" in vars(module)}
    with tempfile.TemporaryDirectory() as nothing:
        made = silent(
            model=run.model,
            args=arguments(**shared_arguments(run, nothing), **(settings or {})),
            train_dataset=rows,
            processing_class=run.tokenizer,
            optimizers=(run.optimizer, schedule(run)),
            callbacks=[Watch(run)],
            **given,
        )
        made.remove_callback(PrinterCallback)
        made.train()
    for module in run.model.modules():  # TRL's fused head and autocast, put there for its training
        if id(module) not in changed:
            vars(module).pop("forward", None)


def shared_arguments(run: Run, folder: str) -> dict[str, Any]:
    """TrainingArguments that are the same for every trainer."""
    each = run.config.batch_sequences // run.group.size
    return {
        "output_dir": folder,
        "max_steps": run.steps - run.done,
        "per_device_train_batch_size": run.resolved.micro_batch_rows,
        "gradient_accumulation_steps": each // run.resolved.micro_batch_rows,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": run.config.gradient_clip_norm,
        "bf16": run.resolved.products == "bf16",
        "use_cpu": run.group.device.type == "cpu",
        "activation_checkpointing": False,
        "seed": run.config.seed,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def schedule(run: Run) -> torch.optim.lr_scheduler.LambdaLR:
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

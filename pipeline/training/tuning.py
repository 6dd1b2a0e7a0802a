"""A fine-tuning on its way: what it is judged by, what is told of it, and when it is saved."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline.models.generation import answer_greedily, stop_ids
from pipeline.store import Journal
from pipeline.tokens.order import batch_rows
from pipeline.training.chat_rows import ChatRow, held_out_loss, prompt
from pipeline.training.checkpoint import Checkpoints, Manifest, State
from pipeline.training.finetune import FinetuneConfig, NonFiniteGradientError
from pipeline.training.forward import autocast
from pipeline.training.group import Group
from pipeline.training.loop import weights_of
from pipeline.training.optimizer import Optimizers
from pipeline.training.resolve import Resolved

JOURNAL_SECONDS = 0.5
STEPS_OF_LOSS = 20
WINDOW_STEPS = 8
"""Steps whose conversations are shared out by length."""


@dataclass(frozen=True)
class Chats:
    """What is learned from and judged on, as rows of ids."""

    train: list[ChatRow]
    held_out: list[ChatRow]
    questions: list[str]
    """Held-out questions to show answers to."""
    too_long: int

    @property
    def longest(self) -> int:
        """Tokens of the longest row that is learned from."""
        return max(len(row.ids) for row in self.train)


@dataclass
class Run:
    """A fine-tuning that was assembled, and how far it is."""

    config: FinetuneConfig
    resolved: Resolved
    group: Group
    model: PreTrainedModel
    tokenizer: Tokenizer
    chats: Chats
    optimizer: torch.optim.AdamW
    journal: Journal
    checkpoints: Checkpoints
    checkpoint_seconds: float
    steps: int
    done: int = 0
    """Steps done."""
    tokens: int = 0
    """Tokens of answers learned from."""
    held_out_loss: float = 0.0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS_OF_LOSS))
    """Of the last steps, in nats per token of the answers."""

    def rows_of_step(self, step: int) -> list[int]:
        """The conversations of a step: a pure function of seed and step, whatever the workers.

        Those of a window of steps are sorted by length, so that little of a batch is padding, and
        the window's batches then come in an order of their own.
        """
        size, seed = self.config.batch_rows, self.config.seed
        window, within = divmod(step, WINDOW_STEPS)
        rows = batch_rows(seed, window, size * WINDOW_STEPS, len(self.chats.train))
        ordered = sorted((len(self.chats.train[row].ids), int(row)) for row in rows)
        place = int(batch_rows(seed, window, WINDOW_STEPS, WINDOW_STEPS)[within])
        return [row for _, row in ordered[place * size : (place + 1) * size]]

    def autocast(self) -> Any:
        return autocast(self.config.precision, self.group.device)

    def evaluate(self) -> float:
        """Held-out loss and answers to held-out questions at this step, journalled."""
        training = self.model.training
        self.model.train(False)
        self.held_out_loss = held_out_loss(
            self.model, self.chats.held_out, self.autocast, int(self.tokenizer.pad_token_id), self.group
        )
        if self.group.is_first:
            self.journal.metrics(self.done, held_out_loss=self.held_out_loss)
            if self.chats.questions:
                self.journal.text("answers", self.done, self._answers())
        self.model.train(training)
        return self.held_out_loss

    def _answers(self) -> str:
        """The shown questions with the model's likeliest answers, as Markdown."""
        ends = stop_ids(self.tokenizer)
        with self.autocast():
            answers = answer_greedily(
                self.model,
                [prompt(self.tokenizer, question) for question in self.chats.questions],
                max_tokens=self.config.answer_tokens,
                stop=ends,
            )
        parts = []
        for question, ids in zip(self.chats.questions, answers, strict=True):
            text = self.tokenizer.decode([index for index in ids if index not in ends])
            parts.append(f"**{question}**\n{text}{'' if ids and ids[-1] in ends else ' …'}")
        return "\n\n".join(parts)

    def save(self) -> None:
        """Every rank calls this at the same step."""
        manifest = Manifest(
            step=self.done,
            tokens=self.tokens,
            workers=self.group.size,
            resolved=self.resolved.as_dict(),
            loop={"losses": list(self.losses)},
            held_out_loss=self.held_out_loss,
        )
        self.checkpoints.save(self.group, manifest, self.state())

    def state(self) -> State:
        """All tensors that a checkpoint holds, in place."""
        optimizers = Optimizers([self.optimizer], self.model)
        return {"model": weights_of(self.model), "optimizer": optimizers.state()}


class Watch(TrainerCallback):
    """Tells how far the run is, refuses broken gradients, scores held-out rows, and saves."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.evaluate_every = max(1, run.steps // run.config.evaluations)
        self.told, self.saved = 0.0, time.monotonic()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        gradients = [weight.grad for weight in self.run.model.parameters() if weight.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not np.isfinite(norm):
            rows = self.run.rows_of_step(self.run.done)
            raise NonFiniteGradientError(
                f"finetune, step {self.run.done}: the gradient's norm is {norm} in the batch of "
                f"conversations {rows[:4]} and others; the update was not made. Lower finetune.learning_rate "
                f"(now {self.run.config.learning_rate}) or try finetune.precision fp32"
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        run = self.run
        labels = (run.chats.train[row].labels for row in run.rows_of_step(run.done))
        run.tokens += sum(label >= 0 for row in labels for label in row)
        run.done += 1

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
        self._tell(logs)
        if run.done < run.steps and run.done % self.evaluate_every == 0:
            run.evaluate()
        due = time.monotonic() - self.saved >= run.checkpoint_seconds
        if run.group.from_first(due) or run.done == run.steps:
            run.save()
            self.saved = time.monotonic()

    def _tell(self, logs: dict[str, float]) -> None:
        run, now = self.run, time.monotonic()
        if not run.group.is_first or (now - self.told < JOURNAL_SECONDS and run.done < run.steps):
            return
        self.told = now
        run.journal.progress(run.done, run.steps, "steps", loss=round(run.losses[-1], 3))
        names = {"grad_norm": "gradient_norm", "mean_token_accuracy": "token_accuracy"}
        told = {name: float(logs[key]) for key, name in names.items() if key in logs}
        # the scheduler has already gone on to the next step's rate
        run.journal.metrics(
            run.done,
            loss=run.losses[-1],
            learning_rate=float(logs["learning_rate"]),
            tokens=float(run.tokens),
            **told,
        )

"""The pretraining loop: batch, loss, gradients of all workers, one update; and what is told of it."""

import contextlib
import gc
import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.errors import StageError
from pipeline.store import Journal
from pipeline.tokens.rows import Rows
from pipeline.training.checkpoint import Checkpoint, Checkpoints, Manifest
from pipeline.training.forward import LossFunction, autocast, dense_attention
from pipeline.training.group import Group
from pipeline.training.loader import Loader, MicroBatch
from pipeline.training.monitor import HeldOut, complete
from pipeline.training.optimizer import Optimizers
from pipeline.training.pretrain import PretrainConfig
from pipeline.training.resolve import Resolved
from pipeline.training.schedule import learning_rate_factor
from pipeline.training.speed import STEPS_OF_SPEED, Speedometer, StepClock

log = logging.getLogger(__name__)

JOURNAL_SECONDS = 0.5
ROWS_NAMED = 4


class NonFiniteLossError(StageError):
    """The loss or the gradient became NaN or infinite; the weights were not updated with it."""

    passes = False
    remedy = "Lower pretrain.learning_rate, or train in float32; the run goes on from its last checkpoint."


@dataclass(frozen=True)
class Update:
    """What one optimizer step was."""

    loss: float
    """Mean over all labels of the global batch, in nats."""
    gradient_norm: float
    """Before clipping."""
    labels: int
    learning_rate: float
    seconds: float
    loader_wait_seconds: float
    """Of them, those in which the next batch was not ready yet."""
    save_due: bool
    """By the clock of rank 0, told to all along with the loss."""


@dataclass
class Loop:
    """A run that was assembled: everything is there, `run` goes from where it stands to the end."""

    config: PretrainConfig
    resolved: Resolved
    group: Group
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    optimizers: Optimizers
    rows: Rows
    held_out: HeldOut
    loss_of: LossFunction
    """Perhaps compiled: for the fixed shape of a micro-batch."""
    eager_loss_of: LossFunction
    """For shapes that differ, by a dense mask."""
    journal: Journal
    checkpoints: Checkpoints
    checkpoint_seconds: float
    speedometer: Speedometer
    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Labels trained on."""
    recent: deque[Update] = field(default_factory=lambda: deque(maxlen=STEPS_OF_SPEED), init=False)
    told: float = field(default=0.0, init=False)
    saved: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.recipe = self.config.recipe()
        self.batch_rows = self.recipe.batch_tokens // self.rows.row_tokens
        self.clock = StepClock(self.group.device)
        self.loader = Loader(
            self.rows,
            seed=self.config.seed,
            batch_rows=self.batch_rows,
            micro_batch_rows=self.resolved.micro_batch_rows,
            steps=self.recipe.steps,
            part=self.group.rank,
            parts=self.group.size,
            pinned=self.group.device.type == "cuda",
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stands: weights, optimizer, random generators, position."""
        self.model.load_state_dict(checkpoint.weights(), strict=False)
        self.model.tie_weights()
        self.optimizers.load(checkpoint.optimizer())
        self.step, self.tokens = checkpoint.manifest.step, checkpoint.manifest.tokens
        if not checkpoint.restore_random(self.group.rank):
            torch.manual_seed(hash((self.config.seed, self.step, self.group.rank)))

    def run(self) -> float:
        """Train to the last step. Returns the held-out loss at the end, in nats per label."""
        steps = self.recipe.steps
        self.saved = time.monotonic()
        if self.step == 0:
            self.evaluate()
            self.save()
        with self.loader, _quiet_garbage_collector():
            while self.step < steps:
                update = self.train_step()
                self.step += 1
                self.tokens += update.labels
                self.tell(update)
                if self.step % self.recipe.evaluate_every == 0 and self.step < steps:
                    self.evaluate()
                if update.save_due or self.step == steps:
                    self.save()
        return self.evaluate()

    def train_step(self) -> Update:
        """One update by the batch of this step. Raises NonFiniteLossError before the weights change."""
        start, factor = time.monotonic(), self.learning_rate_factor()
        waited = self.loader.waited_seconds
        batch = self.loader.take(self.step)
        loss, labels, due = self._accumulate(batch.micro_batches).tolist()
        labels = max(1.0, labels)  # rows of single tokens have none
        with self.clock.part("reduce"):
            norm = self._average_gradients(labels)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._refuse(batch.rows, loss / labels, norm)
        with self.clock.part("update"):
            self.optimizers.step(factor)
        self.clock.end_step()
        return Update(
            loss=loss / labels,
            gradient_norm=norm,
            labels=int(labels),
            learning_rate=self.recipe.learning_rate * factor,
            seconds=time.monotonic() - start,
            loader_wait_seconds=self.loader.waited_seconds - waited,
            save_due=due > 0,
        )

    def train_steps(self, count: int) -> None:
        """So many updates of which nothing is told or saved: to measure them."""
        for _ in range(count):
            self.recent.append(self.train_step())
            self.step += 1

    def begin_figures(self) -> None:
        """Figures of speed are of steps from here on."""
        self.recent.clear()
        self.clock = StepClock(self.group.device)

    def _accumulate(self, micro_batches: list[MicroBatch]) -> torch.Tensor:
        """Gradients of this rank's rows, micro-batch by micro-batch; loss, labels and
        rank 0's wish to save summed over ranks."""
        totals = torch.zeros(3, dtype=torch.float64, device=self.group.device)
        with self.clock.part("forward_backward"):
            for micro_batch in micro_batches:
                part = micro_batch.tensors.to(self.group.device)
                loss = self.loss_of(part.tokens_BT, part.documents_BT, part.positions_BT, part.labels_BT)
                (loss / self.recipe.batch_tokens).backward()  # type: ignore[no-untyped-call]
                totals[0] += loss.detach().double()
                totals[1] += micro_batch.labels
        totals[2] = float(self.group.is_first and self._save_due())
        with self.clock.part("reduce"):
            return self.group.sum(totals)

    def _average_gradients(self, labels: float) -> float:
        """Make the gradients those of the mean over all labels of all ranks, clipped. Returns the norm."""
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        if self.group.size > 1:
            flat = self.group.sum(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        torch._foreach_mul_(gradients, self.recipe.batch_tokens / labels)
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.gradient_clip_norm, norm)
        return float(norm)

    def _refuse(self, rows: NDArray[np.int64], loss: float, norm: float) -> None:
        """Name the batch, keep its rows and URLs in the journal, and stop."""
        found = {int(row): [origin.url for origin in self.rows.origin(int(row))] for row in rows}
        if self.group.is_first:
            self.journal.write("refused-batch", step=self.step, loss=str(loss), norm=str(norm), rows=found)
        named = ", ".join(f"{row} ({urls[0]})" for row, urls in list(found.items())[:ROWS_NAMED])
        raise NonFiniteLossError(
            f"pretrain, step {self.step}: the loss is {loss} and the gradient's norm {norm}, in the batch of "
            f"rows {named}{', …' if len(found) > ROWS_NAMED else ''}; the update was not made. "
            f"Lower pretrain.learning_rate (now {self.recipe.learning_rate}) or try precision fp32; "
            f"all rows with their URLs stand in {self.journal.path}"
        )

    def learning_rate_factor(self) -> float:
        return learning_rate_factor(
            self.step,
            self.recipe.steps,
            self.recipe.warmup_steps,
            self.config.schedule,
            self.config.decay_fraction,
        )

    def evaluate(self) -> float:
        """Held-out loss, bits per byte and completions at this step, journalled; the loss is returned."""
        gc.collect()
        self.model.train(False)
        with dense_attention(self.model):
            loss = self.held_out.loss(self.eager_loss_of, self.resolved.micro_batch_rows, self.group)
            bits = self.held_out.bits_per_byte(loss)
            if self.group.is_first:
                self.journal.metrics(self.step, held_out_loss=loss, held_out_bits_per_byte=bits)
                if self.config.prompts:
                    with autocast(self.config.precision, self.group.device):
                        text = complete(self.model, self.tokenizer, self.config.prompts, self.config.seed)
                    self.journal.text("completions", self.step, text)
        self.model.train()
        return loss

    def tell(self, update: Update) -> None:
        """Progress and metrics of rank 0, at most two lines of each a second."""
        self.recent.append(update)
        now = time.monotonic()
        last = self.step == self.recipe.steps
        if not self.group.is_first or (now - self.told < JOURNAL_SECONDS and not last):
            return
        self.told = now
        speed = self.speed()
        self.journal.progress(
            self.step,
            self.recipe.steps,
            "steps",
            loss=round(update.loss, 3),
            tokens_per_second=round(speed["tokens_per_second"]),
        )
        self.journal.metrics(
            self.step,
            loss=update.loss,
            gradient_norm=update.gradient_norm,
            learning_rate=update.learning_rate,
            tokens=float(self.tokens),
            **speed,
        )

    def speed(self) -> dict[str, float]:
        """Figures of the last steps: tokens per second, MFU, memory, and seconds of a step by part."""
        count, seconds = len(self.recent), sum(update.seconds for update in self.recent)
        waited = sum(update.loader_wait_seconds for update in self.recent)
        parts = {f"{part}_seconds": taken for part, taken in self.clock.seconds().items()}
        return {
            **self.speedometer.figures(sum(update.labels for update in self.recent) / seconds),
            "step_seconds": seconds / count,
            "loader_wait_seconds": waited / count,
            **parts,
        }

    def _save_due(self) -> bool:
        return time.monotonic() - self.saved >= self.checkpoint_seconds

    def save(self) -> None:
        manifest = Manifest(
            step=self.step,
            tokens=self.tokens,
            workers=self.group.size,
            resolved=self.resolved.as_dict(),
            files={},
        )
        self.checkpoints.save(self.group, manifest, untied_weights(self.model), self.optimizers.state())
        self.saved = time.monotonic()


def untied_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Every weight once, on the CPU: a tied matrix keeps its first name alone."""
    seen: set[int] = set()
    found: dict[str, Any] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if id(weight) not in seen:
            seen.add(id(weight))
            found[name] = weight.detach().cpu().contiguous()
    return found


@contextlib.contextmanager
def _quiet_garbage_collector() -> Iterator[None]:
    """Python's collector would stop every worker at another moment; it runs at evaluations instead."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()

"""The pretraining loop: batch, loss, gradients of all workers, one update; and what is told of it."""

import gc
import logging
import math
import time
from collections import deque
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import stop_notice
from pipeline.models.families import FAMILIES
from pipeline.models.objectives.batches import Objective
from pipeline.store import Journal
from pipeline.tokens.mixture import TrainingRows
from pipeline.training.checkpoint import Checkpoint, Checkpoints, Manifest, State
from pipeline.training.forgetting import Forgetting, Point
from pipeline.training.forward import LossFunction, autocast, dense_attention
from pipeline.training.goodput import Stopwatch, figures
from pipeline.training.group import Group
from pipeline.training.guard import SKIPS_IN_A_ROW, Spike, SpikeGuard
from pipeline.training.layout import Layout
from pipeline.training.loader import Loader, MicroBatch
from pipeline.training.monitor import HeldOut, complete
from pipeline.training.optimizer import Optimizers
from pipeline.training.preemption import PreemptedError, Preemption
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.quiet import quiet_garbage_collector
from pipeline.training.resolve import Resolved
from pipeline.training.schedule import learning_rate_factor
from pipeline.training.speed import STEPS_OF_SPEED, Speedometer, StepClock
from pipeline.training.steps import Steps
from pipeline.training.update import LossSpikesError, NonFiniteLossError, Told, Update

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
METRICS_SECONDS = 2.0
"""Some twenty figures a time: telling MLflow's database of them costs CPU time that a laptop trains with."""
ROWS_NAMED = 4


@dataclass
class Loop:
    """A run that was assembled: everything is there, `run` goes from where it stands to the end."""

    config: PretrainConfig
    resolved: Resolved
    group: Group
    layout: Layout
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    optimizers: Optimizers
    rows: TrainingRows
    objective: Objective
    held_out: HeldOut
    loss_of: LossFunction
    """Perhaps compiled: for the fixed shape of a micro-batch."""
    eager_loss_of: LossFunction
    """For shapes that differ, by a dense mask."""
    journal: Journal
    checkpoints: Checkpoints
    checkpoint_seconds: float
    speedometer: Speedometer
    forgetting: Forgetting | None = None
    """Of a general text that is watched beside the domain's."""
    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Labels trained on."""
    recent: deque[Update] = field(default_factory=lambda: deque(maxlen=STEPS_OF_SPEED), init=False)
    watch: Stopwatch = field(default_factory=Stopwatch)
    preemption: Preemption = field(default_factory=Preemption)
    held_out_loss: float | None = field(default=None, init=False)
    """Of the last evaluation."""
    progress_told: float = field(default=0.0, init=False)
    metrics_told: float = field(default=0.0, init=False)
    saved: float = field(default=0.0, init=False)
    saved_step: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.recipe, self.family = self.config.recipe(), FAMILIES[self.config.family]
        self.batch_rows = self.recipe.batch_tokens // self.rows.row_tokens
        self.rows_told_in = self.group.from_first(self.journal.path)
        self.guard = SpikeGuard(self.config.spike_guard)
        self.clock = StepClock(self.group.device)
        self.loader = Loader(
            self.rows,
            objective=self.objective,
            seed=self.config.seed,
            batch_rows=self.batch_rows,
            micro_batch_rows=self.resolved.micro_batch_rows,
            steps=self.recipe.steps,
            part=self.layout.data_rank,
            parts=self.layout.data_size,
            passes=self.layout.passes(self.batch_rows, self.resolved.micro_batch_rows)
            if self.layout.is_cut
            else None,
            pinned=self.group.device.type == "cuda",
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stands: weights, optimizer, random generators, position."""
        checkpoint.load(self.state())
        self.step, self.tokens = checkpoint.manifest.step, checkpoint.manifest.tokens
        self.saved_step = self.step
        self.held_out_loss = checkpoint.manifest.held_out_loss
        self.guard.restore(checkpoint.manifest.loop["guard"])
        if self.forgetting is not None:
            self.forgetting.restore(checkpoint.manifest.loop["forgetting"])
        if not checkpoint.restore_random(self.group.rank):
            torch.manual_seed(hash((self.config.seed, self.step, self.group.rank)))

    def state(self) -> State:
        """All tensors that a checkpoint holds, in place."""
        return {"model": weights_of(self.model), "optimizer": self.optimizers.state()}

    def steps(self) -> Steps:
        """Which rows each step took."""
        return Steps.of(
            self.rows,
            seed=self.config.seed,
            batch_rows=self.batch_rows,
            steps=self.recipe.steps,
            skipped=tuple(self.guard.skipped),
        )

    def run(self) -> float:
        """Train to the last step. Returns the held-out loss at the end, in nats per label.

        Raises NonFiniteLossError, LossSpikesError, and PreemptedError when the checkpoint for it is made.
        """
        steps = self.recipe.steps
        self.saved = time.monotonic()
        if self.group.is_first:
            self.journal.write("order", **self.steps().as_json())
        with (
            self.checkpoints,
            self.loader,
            quiet_garbage_collector(),
            stop_notice.listening(lambda: self.saved_step != self.step),
            self.watch.during("other"),
        ):
            if self.step == 0:
                if self.group.is_first:
                    self.journal.beginning("evaluating the model before its first step")
                self.evaluate()
                self.save()
            while self.step < steps:
                with self.watch.during("step"):
                    update = self.train_step()
                self.step += 1
                self.tokens += update.labels
                self.tell(update)
                if self.step % self.recipe.evaluate_every == 0 and self.step < steps:
                    self.evaluate()
                if update.told.save_due or self.step == steps:
                    self.save()
                self._look_ahead(update.told)
            loss = self.evaluate()
            with self.watch.during("save_wait"):
                self.checkpoints.finish()
        return loss

    def train_step(self) -> Update:
        """One update by the batch of this step. Raises NonFiniteLossError before the weights change."""
        start, factor = time.monotonic(), self.learning_rate_factor()
        waited = self.loader.waited_seconds
        with self.watch.during("loader_wait"):
            batch = self.loader.take(self.step)
        totals = self._accumulate(batch.micro_batches)
        loss, labels, save_due, leave, ask_due = totals.tolist()
        labels = max(1.0, labels)  # rows of single tokens have none
        with self.clock.part("reduce"):
            norm = self._average_gradients(labels)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._refuse(batch.rows, loss / labels, norm)
        if spike := self.guard.spike(self.step, loss / labels, norm):
            self._skip(batch.rows, spike)
        else:
            with self.clock.part("update"):
                self.optimizers.step(factor)
        self.clock.end_step()
        return Update(
            loss=loss / labels,
            gradient_norm=norm,
            labels=0 if spike else int(labels),
            learning_rate=self.recipe.learning_rate * factor,
            seconds=time.monotonic() - start,
            loader_wait_seconds=self.loader.waited_seconds - waited,
            told=Told(save_due > 0, leave > 0, ask_due > 0),
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
        what ranks tell each other, summed over ranks."""
        totals = torch.zeros(5, dtype=torch.float64, device=self.group.device)
        with self.clock.part("forward_backward"):
            for number, micro_batch in enumerate(micro_batches):
                self.layout.before_backward(self.model, last=number == len(micro_batches) - 1)
                part = micro_batch.tensors.to(self.group.device)
                loss = self.loss_of(*part.given)
                (loss / self.recipe.batch_tokens).backward()  # type: ignore[no-untyped-call]
                totals[0] += loss.detach().double()
                totals[1] += micro_batch.labels
        totals[2] = float(self.group.is_first and self._save_due())
        totals[3] = float(self.preemption.told_to_leave)
        totals[4] = float(self.group.is_first and self.preemption.ask_due)
        totals[:2] /= self.resolved.tensor_parallel  # so many workers saw these very rows
        with self.clock.part("reduce"):
            return self.group.sum(totals)

    def _average_gradients(self, labels: float) -> float:
        """Make the gradients those of the mean over all labels of all ranks, clipped. Returns the norm."""
        norm = self.layout.average(self.model, self.recipe.batch_tokens / labels)
        self.layout.clip(self.model, norm, self.config.gradient_clip_norm)
        return float(norm)

    def _refuse(self, rows: NDArray[np.int64], loss: float, norm: float) -> None:
        """Name the batch, keep its rows and URLs in the journal, and stop."""
        found = self._urls(rows)
        if self.group.is_first:
            self.journal.write("refused-batch", step=self.step, loss=str(loss), norm=str(norm), rows=found)
        named = ", ".join(f"{row} ({urls[0]})" for row, urls in list(found.items())[:ROWS_NAMED])
        raise NonFiniteLossError(
            f"pretrain, step {self.step}: the loss is {loss} and the gradient's norm {norm}, in the batch of "
            f"rows {named}{', …' if len(found) > ROWS_NAMED else ''}; the update was not made. "
            f"Lower pretrain.learning_rate (now {self.recipe.learning_rate}) or try precision fp32; "
            f"all rows with their URLs stand in {self.rows_told_in}"
        )

    def _skip(self, rows: NDArray[np.int64], spike: Spike) -> None:
        """Forget the gradients, keep the batch's rows and URLs in the journal. Raises LossSpikesError."""
        self.optimizers.forget_gradients()
        told = (
            f"{spike.name} {spike.value:.4g} above {spike.bar:.4g}, the recent median is {spike.median:.4g}"
        )
        if self.group.is_first:
            self.journal.write(
                "skipped-update", step=self.step, reason=told, spike=asdict(spike), rows=self._urls(rows)
            )
            self.journal.write("warning", message=f"pretrain, step {self.step}: update skipped, {told}")
        if self.guard.in_a_row >= SKIPS_IN_A_ROW:
            raise LossSpikesError(
                f"pretrain, step {self.step}: {self.guard.in_a_row} updates in a row were skipped, the last "
                f"for its {told}. Lower pretrain.learning_rate (now {self.recipe.learning_rate}) or raise "
                f"pretrain.spike_guard (now {self.config.spike_guard}); all rows with their URLs stand in "
                f"{self.rows_told_in}"
            )

    def _urls(self, rows: NDArray[np.int64]) -> dict[int, list[str]]:
        found = self.rows.origins(rows.tolist())
        return {row: [origin.url for origin in origins] for row, origins in found.items()}

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
        with self.watch.during("evaluate"):
            self.held_out_loss = self._evaluate()
        return self.held_out_loss

    def _evaluate(self) -> float:
        gc.collect()
        self.model.train(False)
        with dense_attention(self.model):
            loss = self.held_out.loss(self.eager_loss_of, self.resolved.micro_batch_rows, self.layout)
            bits = self.held_out.bits_per_byte(loss)
            if self.group.is_first:
                self.journal.metrics(self.step, held_out_loss=loss)
                if self.family.continues_text:
                    self.journal.metrics(self.step, held_out_bits_per_byte=bits)
            if self.forgetting is not None:
                self._look_back(self.forgetting, bits)
            if (
                self.config.prompts
                and self.family.continues_text
                and (self.group.is_first or self.layout.is_cut)
            ):
                with autocast(self.resolved.products, self.group.device):
                    text = complete(
                        self.model, self.tokenizer, self.config.prompts, self.config.seed, self.layout
                    )
                if self.group.is_first:
                    self.journal.text("completions", self.step, text)
        self.model.train()
        return loss

    def _look_back(self, forgetting: Forgetting, domain_bits: float) -> None:
        """How well the model still knows the general text."""
        loss = forgetting.held_out.loss(self.eager_loss_of, self.resolved.micro_batch_rows, self.layout)
        forgetting.add(Point(self.step, domain_bits, forgetting.held_out.bits_per_byte(loss)))
        if not self.group.is_first:
            return
        self.journal.metrics(self.step, **forgetting.metrics())
        if told := forgetting.told(last=self.step == self.recipe.steps):
            self.journal.write("warning", message=f"pretrain: {told}")

    def tell(self, update: Update) -> None:
        """Progress and metrics of rank 0, as often as someone looks, and of the last step."""
        self.recent.append(update)
        if not self.group.is_first:
            return
        now = time.monotonic()
        last = self.step == self.recipe.steps
        if last or now - self.progress_told >= PROGRESS_SECONDS:
            self.progress_told = now
            self.journal.progress(
                self.step,
                self.recipe.steps,
                "steps",
                loss=round(update.loss, 3),
                tokens_per_second=round(self._tokens_per_second()),
            )
        if last or now - self.metrics_told >= METRICS_SECONDS:
            self.metrics_told = now
            self.journal.metrics(
                self.step,
                loss=update.loss,
                gradient_norm=update.gradient_norm,
                learning_rate=update.learning_rate,
                tokens=float(self.tokens),
                skipped_updates=float(len(self.guard.skipped)),
                **figures(self.watch),
                **self.speed(),
            )

    def _tokens_per_second(self) -> float:
        """In the last steps."""
        return sum(update.labels for update in self.recent) / sum(update.seconds for update in self.recent)

    def speed(self) -> dict[str, float]:
        """Figures of the last steps: tokens per second, MFU, memory, and seconds of a step by part."""
        count, seconds = len(self.recent), sum(update.seconds for update in self.recent)
        waited = sum(update.loader_wait_seconds for update in self.recent)
        parts = {f"{part}_seconds": taken for part, taken in self.clock.seconds().items()}
        return {
            **self.speedometer.figures(self._tokens_per_second()),
            "step_seconds": seconds / count,
            "loader_wait_seconds": waited / count,
            **parts,
        }

    def _save_due(self) -> bool:
        """By the clock, once the checkpoint before is written; without a pause between them, always."""
        if self.checkpoints.retention.due(self.step + 1) or self.checkpoint_seconds == 0:
            return True
        over = time.monotonic() - self.saved >= self.checkpoint_seconds
        return over and not self.checkpoints.is_writing

    def save(self) -> None:
        """Begin a checkpoint of this step, if there is none; it is written while the loop goes on."""
        if self.saved_step == self.step:
            return
        with self.watch.during("save_wait"):
            loop = {
                "guard": self.guard.state(),
                "seconds": self.watch.seconds(),
                "saved_at": time.time(),
                "forgetting": self.forgetting.state() if self.forgetting is not None else [],
            }
            manifest = Manifest(
                step=self.step,
                tokens=self.tokens,
                workers=self.group.size,
                resolved=self.resolved.as_dict(),
                loop=loop,
                held_out_loss=self.held_out_loss,
            )
            self.checkpoints.save(self.group, manifest, self.state())
        self.saved, self.saved_step = time.monotonic(), self.step

    def _look_ahead(self, told: Told) -> None:
        """A checkpoint just in time, where a worker or its node is about to go. Raises PreemptedError."""
        if not (told.leave or (told.ask_due and self.preemption.foretold())):
            return
        self.save()
        with self.watch.during("save_wait"):
            self.checkpoints.finish()
        if self.group.is_first:
            self.journal.write("preempted", step=self.step, leaving=told.leave)
        if told.leave:
            stop_notice.tell_saved(self.step)
            raise PreemptedError(f"a worker was told to go; step {self.step} is saved")


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Every weight once, in place: a tied matrix keeps its first name alone."""
    return {name: weight.detach() for name, weight in model.named_parameters()}

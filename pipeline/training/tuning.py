"""What every training by one of TRL's trainers shares: go on from the last checkpoint, judge, save, export.

An Objective says what is special about one of them: model, rows, how it learns, what it is judged by.
"""

import json
import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel, set_seed
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline import stop_notice
from pipeline.compute_config import ComputeConfig
from pipeline.models.adapters import ADAPTER_FOLDER, base_of, write_adapter
from pipeline.models.model import MODEL_FOLDER, Model
from pipeline.models.saving import save_language_model
from pipeline.store import File, Journal
from pipeline.tokens.order import batch_rows
from pipeline.training.adapter import adapted, merged
from pipeline.training.checkpoint import Checkpoint, Checkpoints, Manifest, State, last_checkpoint
from pipeline.training.forward import autocast, products_of
from pipeline.training.group import Group
from pipeline.training.loop import weights_of
from pipeline.training.memory import peak_memory
from pipeline.training.optimizer import ADAM_BETAS, Optimizers
from pipeline.training.preemption import PreemptedError
from pipeline.training.resolve import Resolved, resolve
from pipeline.training.retention import Retention
from pipeline.training.tuning_config import RESULT, TuningConfig, TuningJob, check_batch

T = TypeVar("T")

STEPS_OF_LOSS = 20
WINDOW_STEPS = 8
"""Steps whose rows are shared out by length, at most."""


@dataclass(frozen=True)
class Result:
    """What a stage's record tells of a training, beside its steps and tokens."""

    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    """Published ones beside the model's."""


class Objective(ABC):
    """What is special about one way of training. Made by a TuningJob, before any checkpoint is loaded."""

    model: PreTrainedModel
    """With fp32 weights, on the CPU; those that require gradients are trained, and saved in checkpoints."""
    tokenizer: Tokenizer
    lengths: Sequence[int]
    """Tokens of each row that is learned from. Rows of like length come in one batch."""
    new_tokens: Sequence[int] = ()
    """Ids that the base may never have seen: an adapter trains their embeddings whole."""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is computed: what a micro-batch's memory is foreseen by."""
        return max(self.lengths)

    @abstractmethod
    def train(self, run: "Run") -> None:
        """Do the steps from `run.done` to `run.steps`; most call trainer.train_by."""

    @abstractmethod
    def evaluate(self, run: "Run") -> float:
        """Judge the model at this step, and journal it. Every rank calls it, in evaluation mode.

        Gives the number, lower is better, by which the best checkpoints are kept.
        """

    def tokens_of(self, rows: Sequence[int], logs: Mapping[str, float]) -> int:
        """Tokens that were learned from in a step of these rows."""
        return 0

    def told(self, logs: Mapping[str, float]) -> dict[str, float]:
        """What of the trainer's logs goes to the journal, by the names there."""
        return {}

    def stop(self, run: "Run", logs: Mapping[str, float]) -> str | None:
        """A reason to end the training after this step, if there is one. What it has to remember from step
        to step it keeps in `run.memory`."""
        return None

    def kept(self, run: "Run") -> dict[str, Any]:
        """Tensors that belong into checkpoints beside weights and optimizer, in place."""
        return {}

    def export(self, run: "Run", base: Model, folder: Path) -> None:
        """Write the model as transformers reads it, and its tokenizer. Rank 0 alone."""
        save_language_model(run.model, self.tokenizer, base, folder)

    def result(self, run: "Run") -> Result:
        """What the record tells. Rank 0 alone, after the last evaluation."""
        return Result()


@dataclass
class Run:
    """A training that was assembled, and how far it is."""

    config: TuningConfig
    resolved: Resolved
    group: Group
    objective: Objective
    optimizer: torch.optim.Optimizer
    journal: Journal
    checkpoints: Checkpoints
    checkpoint_seconds: float
    steps: int
    done: int = 0
    """Steps done."""
    tokens: int = 0
    """Tokens learned from."""
    held_out_loss: float = 0.0
    """Of the last evaluation."""
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS_OF_LOSS))
    """Of the last steps."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What the objective remembers from step to step, as JSON; in every checkpoint."""
    stopped: str | None = None
    """Why it ended before its last step."""
    resumed: Checkpoint | None = None
    """Where this process goes on from."""
    saved_step: int | None = None
    """Of the newest checkpoint."""

    @property
    def model(self) -> PreTrainedModel:
        return self.objective.model

    @property
    def tokenizer(self) -> Tokenizer:
        return self.objective.tokenizer

    def rows_of_step(self, step: int) -> list[int]:
        """The rows of a step: a pure function of seed and step, whatever the workers.

        Those of a window of steps are sorted by length, so that little of a batch is padding, and
        the window's batches then come in an order of their own. No window has more rows than there are,
        or steps than are left: its batches would be copies of a few rows, or some of it never learned from.
        """
        size, seed, lengths = self.config.batch_rows, self.config.seed, self.objective.lengths
        steps = max(1, min(WINDOW_STEPS, len(lengths) // size))
        window, within = divmod(step, steps)
        rows = batch_rows(seed, window, size * steps, len(lengths))
        if step < self.steps:
            steps = min(steps, self.steps - window * steps)
        ordered = sorted((lengths[row], int(row)) for row in rows[: size * steps])
        place = int(batch_rows(seed, window, steps, steps)[within])
        return [row for _, row in ordered[place * size : (place + 1) * size]]

    def rows_left(self) -> list[int]:
        """The rows of all steps that are left, in their order."""
        return [row for step in range(self.done, self.steps) for row in self.rows_of_step(step)]

    def autocast(self) -> Any:
        return autocast(self.resolved.products, self.group.device)

    def evaluate(self) -> float:
        """The objective's judgement at this step; the model is as it was afterwards."""
        training = self.model.training
        self.model.train(False)
        self.held_out_loss = self.objective.evaluate(self)
        self.model.train(training)
        return self.held_out_loss

    def restore_random(self) -> None:
        """Set the random generators to where they stood at this step. A trainer that sets them when it is
        made calls this before its first draw."""
        if self.resumed is None or not self.resumed.restore_random(self.group.rank):
            set_seed(self.config.seed + self.group.rank)

    def save(self) -> None:
        """Begin a checkpoint of this step, if there is none. Every rank calls this at the same step."""
        if self.saved_step == self.done:
            return
        loop: dict[str, Any] = {"losses": list(self.losses), "memory": self.memory, "stopped": self.stopped}
        manifest = Manifest(
            step=self.done,
            tokens=self.tokens,
            workers=self.group.size,
            resolved=self.resolved.as_dict(),
            loop=loop,
            held_out_loss=self.held_out_loss,
        )
        self.checkpoints.save(self.group, manifest, self.state())
        self.saved_step = self.done

    def leave_if_told(self) -> None:
        """Save this step and go, if a rank was told to. Every rank calls this after the same steps.

        Raises PreemptedError.
        """
        if self.group.everywhere(not stop_notice.was_given()):
            return
        self.save()
        self.checkpoints.finish()
        if self.group.is_first:
            self.journal.write("preempted", step=self.done, leaving=True)
        stop_notice.tell_saved(self.done)
        raise PreemptedError(f"a worker was told to go; step {self.done} is saved")

    def state(self) -> State:
        """All tensors that a checkpoint holds, in place."""
        trained = {name for name, weight in self.model.named_parameters() if weight.requires_grad}
        weights = {name: weight for name, weight in weights_of(self.model).items() if name in trained}
        kept = self.objective.kept(self)
        return {"model": weights, "optimizer": Optimizers([self.optimizer], self.model).state(), **kept}


def tuning_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in every worker; `settings["job"]` is a TuningJob."""
    import ray.train
    import ray.train.torch

    job: TuningJob = settings["job"]
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    tune(job, group)


def tune(job: TuningJob, group: Group) -> None:
    """Train to the end as one of the group; rank 0 publishes the model and `result.json`."""
    journal = job.attempt.journal(f"{job.config.section}-{group.rank}")
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
    if run.done < run.steps and run.stopped is None:
        with checkpoints, stop_notice.listening(lambda: run.saved_step != run.done):
            run.objective.train(run)
    if run.done:
        run.evaluate()
    peak = peak_memory(group)
    if group.is_first:
        publish(run, job, peak)
    group.everywhere(True)  # nobody leaves before the model is written


def assemble(
    job: TuningJob, group: Group, journal: Journal, checkpoints: Checkpoints, checkpoint: Checkpoint | None
) -> Run:
    """The run, ready to go on from the checkpoint, or from the model that it begins with."""
    config = job.config
    set_seed(config.seed)
    objective = job.begin(group)
    rows = len(objective.lengths)
    check_batch(config, rows, group.size)
    resolved = _resolve(job.compute, config, checkpoint, group, objective)
    torch.set_num_threads(resolved.threads)
    torch.use_deterministic_algorithms(True, warn_only=group.device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if config.adapter is not None:
        objective.model = adapted(objective.model, config.adapter, objective.new_tokens)
    if config.adapter is None or not config.adapter.quantized:  # which lies on the device already
        torch.nn.Module.to(objective.model, group.device)
    run = Run(
        config=config,
        resolved=resolved,
        group=group,
        objective=objective,
        optimizer=_optimizer(objective.model, config),
        journal=journal,
        checkpoints=checkpoints,
        checkpoint_seconds=job.compute.checkpoint_seconds,
        steps=config.steps_for(rows),
        resumed=checkpoint,
    )
    if checkpoint is not None:
        manifest = checkpoint.manifest
        checkpoint.load(run.state())
        run.done, run.tokens, run.saved_step = manifest.step, manifest.tokens, manifest.step
        run.losses.extend(manifest.loop["losses"])
        run.memory, run.stopped = manifest.loop.get("memory", {}), manifest.loop.get("stopped")
    run.restore_random()
    return run


def _resolve(
    compute: ComputeConfig,
    config: TuningConfig,
    checkpoint: Checkpoint | None,
    group: Group,
    objective: Objective,
) -> Resolved:
    """As pretraining chooses, without torch.compile and with micro-batches that divide a worker's part."""
    chosen = resolve(
        compute.model_copy(update={"compile": False}),
        checkpoint.manifest.resolved if checkpoint else None,
        device=group.device.type,
        workers=group.size,
        batch_rows=config.batch_sequences,
        row_tokens=objective.longest,
        vocabulary_size=len(objective.tokenizer),
        flops=0.0,
        products=products_of(config.precision, group),
    )
    each = config.batch_sequences // group.size
    rows = next(n for n in range(min(each, chosen.micro_batch_rows), 0, -1) if each % n == 0)
    return Resolved(**{**chosen.as_dict(), "micro_batch_rows": rows})


def _optimizer(model: PreTrainedModel, config: TuningConfig) -> torch.optim.AdamW:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if weight.ndim >= 2]
    others = [weight for weight in weights if weight.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=ADAM_BETAS, fused=True)


def publish(run: Run, job: TuningJob, peak: dict[str, int]) -> None:
    """The model or its adapter, and what the driver writes into the record."""
    adapter = job.config.adapter
    kind = ADAPTER_FOLDER if adapter is not None and adapter.keep == "apart" else MODEL_FOLDER
    folder = job.attempt.path(f"{kind}/.").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    told = run.objective.result(run)
    if kind == ADAPTER_FOLDER:
        model: Any = run.model
        write_adapter(model, base_of(job.base, run.tokenizer), folder)
    else:
        if adapter is not None:
            run.objective.model = merged(run.model, job)
        run.objective.export(run, job.base, folder)
    files = {**job.attempt.publish_folder(kind), **told.files}
    result = {
        "files": {name: file.model_dump() for name, file in files.items()},
        "counts": {"steps": run.done, "tokens": run.tokens, **told.counts},
        "figures": {"train_loss": sum(run.losses) / max(1, len(run.losses)), **told.figures},
        "compute": run.resolved.as_dict() | peak,
    }
    job.attempt.storage.create(f"{job.attempt.folder}/{RESULT}", json.dumps(result).encode())


def spread(items: Sequence[T], count: int) -> list[T]:
    """So many of them at most, evenly spread and each once: rows to judge by, and answers to show."""
    places = {int(place) for place in np.linspace(0, len(items) - 1, min(count, len(items)))}
    return [items[place] for place in sorted(places)]

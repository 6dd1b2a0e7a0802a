"""What every training by one of TRL's trainers is told, refuses, and hands to its workers."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.errors import InputError, StageError
from pipeline.models.model import Model
from pipeline.store import Attempt, File, Made
from pipeline.training.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.training.group import Group
    from pipeline.training.tuning import Objective

RESULT = "result.json"


class TuningConfig(Config):
    """One training of a model that was trained before. Every field changes the weights or what is told."""

    section: ClassVar[str]
    """What a configuration file, the journal and messages call it."""
    rows_are: ClassVar[str] = "conversations"
    """What a row is, in messages."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each row is learned from."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps. Default: as many as `epochs` asks for."""
    batch_rows: int = Field(default=32, ge=1)
    """Rows per optimizer step, over all workers."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW. About 1e-3 for models of a few million weights, 2e-5 for billions."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled decay of matrices; norms have none."""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up: "cosine" or "wsd" (plateau, then linear decay)."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    gradient_clip_norm: float = Field(default=1.0, gt=0)
    """Larger gradients are scaled down to this norm."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of matrix products; weights and optimizer are fp32."""
    seed: int = 0
    """Order of the rows, and whatever is drawn."""

    evaluations: int = Field(default=3, ge=1)
    """How often the model is judged on the way."""

    def steps_for(self, rows: int) -> int:
        """Optimizer steps over so many rows."""
        return self.steps or max(1, round(self.epochs * rows / self.batch_rows))

    @property
    def batch_sequences(self) -> int:
        """Sequences that an optimizer step computes, over all workers: more than rows where each row has
        several answers."""
        return self.batch_rows

    @model_validator(mode="after")
    def evaluations_fit(self) -> Self:
        if self.steps is not None and self.evaluations > self.steps:
            raise ValueError(
                f"evaluations is {self.evaluations}, the whole run has {self.steps} steps; try {self.steps}"
            )
        return self


class TooFewRowsError(StageError):
    """The conversations (preferences, prompts) do not fill one batch, or all held-out ones are too long."""

    passes = False
    remedy = (
        "Bring more of them, or lower the section's batch_rows; raise its max_tokens if all are too long."
    )


class BatchRowsError(InputError):
    """The batch cannot be shared out evenly among the workers."""

    remedy = "Set the section's batch_rows to a multiple of the workers."


class NonFiniteGradientError(StageError):
    """The gradient became NaN or infinite; the weights were not updated with it."""

    passes = False
    remedy = "Lower the section's learning_rate; the run goes on from its last checkpoint."


@dataclass(frozen=True)
class TuningJob(ABC):
    """All that a worker has to know. Each stage has its own, with its inputs and what it aims at."""

    attempt: Attempt
    base: Model
    """What is trained further; its tokenizer goes with what is made."""
    config: TuningConfig
    compute: ComputeConfig

    @abstractmethod
    def begin(self, group: "Group") -> "Objective":
        """The model before its first step, its rows, and how it learns: the same on every rank but for the
        device. Called in the worker, with the random generators seeded."""


def made_by(attempt: Attempt) -> Made:
    """What `tune` left in the attempt's result, for the stage's record."""
    result: dict[str, Any] = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    return Made(
        files={name: File.model_validate(file) for name, file in result["files"].items()},
        counts=result["counts"],
        figures=result["figures"],
        compute=result["compute"],
    )


def check_batch(config: TuningConfig, rows: int, workers: int) -> None:
    """Raises TooFewRowsError or BatchRowsError, with a batch that would work."""
    name, section = config.rows_are, config.section
    if rows < config.batch_rows:
        raise TooFewRowsError(
            f"there are {rows} {name} to learn from, one batch takes {config.batch_rows}: "
            + (f"set {section}.batch_rows to at most {rows}" if rows else "bring more")
        )
    if config.batch_rows % workers:
        fit = max(1, config.batch_rows // workers) * workers
        raise BatchRowsError(
            f"{section}.batch_rows is {config.batch_rows}, not a multiple of the {workers} workers that "
            f"train together; try {fit}, or set compute.training_workers"
        )

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


class AdapterConfig(Config):
    """Train small matrices beside the model's own (LoRA, Hu et al., 2021, arXiv:2106.09685)."""

    rank: int = Field(default=8, ge=1)
    """Columns of the first and rows of the second of the two small matrices beside each large one."""
    alpha: float = Field(default=16.0, gt=0)
    """Their product is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of the small matrices that is left out in training."""
    matrices: tuple[str, ...] | None = None
    """Names of the matrices' modules, such as q_proj. Default: all but embeddings and head."""
    keep: Literal["merged", "apart"] = "merged"
    """"merged": a whole model is made. "apart": the adapter alone, which its base is opened with."""
    quantized: bool = False
    """Hold the base model in 4 bits meanwhile (QLoRA, Dettmers et al., 2023, arXiv:2305.14314); on GPUs."""


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
    """Of matrix products; weights and optimizer are fp32. CPUs that are slow at bf16 compute in fp32."""
    seed: int = 0
    """Order of the rows, and whatever is drawn."""

    evaluations: int = Field(default=3, ge=1)
    """How often the model is judged on the way."""
    adapter: AdapterConfig | None = None
    """Train an adapter in place of all weights. Default: all weights. The learning rate may then be ten
    times as high."""

    def steps_for(self, rows: int) -> int:
        """Optimizer steps over so many rows."""
        return self.steps or max(1, round(self.epochs * rows / self.batch_rows))

    def identity(self) -> dict[str, Any]:
        """An adapter enters by what differs from its own defaults."""
        values = super().identity()
        if self.adapter is not None:
            values["adapter"] = self.adapter.identity()
        return values

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


class QuantizationError(InputError):
    """A base model was to be held in 4 bits where that cannot be done."""

    remedy = "Leave adapter.quantized out, or train on GPUs with `pip install 'moinho[gpu]'`."


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


def check_adapter(config: TuningConfig, on_gpus: bool) -> None:
    """Raises QuantizationError if 4 bits are asked for on CPUs, before anything is started."""
    if config.adapter is not None and config.adapter.quantized and not on_gpus:
        raise QuantizationError(
            f"{config.section}.adapter.quantized is true, and trainings run on CPUs here, where 4 bits save "
            f"no time; leave {config.section}.adapter.quantized out, or train on GPUs"
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

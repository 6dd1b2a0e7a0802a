"""The stage that tries many small trainings: which settings do best, and how loss falls with compute.

Each trial is a whole pretraining in one process, so as many run at once as there are CPUs or GPUs.
"""

import difflib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import Field, ValidationError, field_validator

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.models import cost
from pipeline.models.families import FAMILIES, training_flops_per_token
from pipeline.shards import any_lost
from pipeline.store import Artifact, Attempt, Made, ShardRecord, Store, Work
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.findings import RATE, RATE_FACTOR
from pipeline.training.pretrain import BaseModel, BatchError, check_rows, estimated_work
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.resolve import LAYOUT
from pipeline.training.sweep_progress import SweepProgress
from pipeline.training.trial import TrialJob, run_trial

STEP = "trials"
TABLE = "sweep.json"
MOST_TRIALS = 1000
TOLD = ("steps", "tokens", "flops")
"""Of the trials' work, what is told as a sum, however many run at once."""
DEFAULT_FACTORS = (0.5, 1.0, 2.0)
NOT_TRIED = ("prompts", "evaluation_rows", "evaluate_every")
"""Settings of pretraining that change no weights."""

Value = bool | int | float | str
"""What an axis may have, as TOML writes it."""


class SweepConfig(Config):
    """Which trainings are compared."""

    axes: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    """Setting of [pretrain] → values to try; every combination is a trial. `learning_rate_factor` multiplies
    what a trial's learning rate would be. Default: a quarter, half and all of pretrain.depth, each at half,
    once and twice its learning rate."""

    @field_validator("axes")
    @classmethod
    def axes_are_settings(cls, axes: dict[str, tuple[Value, ...]]) -> dict[str, tuple[Value, ...]]:
        known = sorted({*PretrainConfig.model_fields, RATE_FACTOR} - set(NOT_TRIED))
        for name, values in axes.items():
            if name in NOT_TRIED:
                raise ValueError(f"{name} changes no weights, so there is nothing to compare; leave it out")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise ValueError(f"{name} is no setting of [pretrain], and only those can be axes; {hint}")
            if not values:
                raise ValueError(f"{name} has no values; write such as {name} = [1, 2]")
            twice = [value for place, value in enumerate(values) if value in values[:place]]
            if twice:
                raise ValueError(f"{name} has {twice[0]!r} twice; leave one of them out")
            if name == RATE_FACTOR and not all(_is_positive(value) for value in values):
                raise ValueError(f"{name} has {list(values)}; write positive numbers, such as [0.5, 1, 2]")
        return axes


def _is_positive(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


class AxisError(InputError):
    """A sweep asks for a training that is not possible, or for too many."""

    remedy = "Change the axis that the message names, in [sweep.axes] or by `--axis`."


@dataclass(frozen=True)
class Trial:
    """One training of a sweep."""

    point: Mapping[str, Value]
    """Axis → value."""
    config: PretrainConfig

    @property
    def name(self) -> str:
        """Such as `depth=2 learning_rate=0.01`."""
        return " ".join(f"{axis}={value}" for axis, value in self.point.items())

    @property
    def identity(self) -> str:
        """The same as a file's name."""
        return "_".join(f"{axis}-{value}" for axis, value in self.point.items()).replace("/", "-")

    def flops(self, pieces: int, row_tokens: int) -> float:
        """Of all steps, forward and backward; evaluations and updates are not counted."""
        recipe = self.config.recipe()
        per_token = training_flops_per_token(self.config.shape(), pieces, row_tokens)
        return recipe.steps * recipe.batch_tokens * per_token


class SweepPlan(Config):
    """A sweep in full: what all trials share, and where they differ."""

    pretrain: PretrainConfig
    sweep: SweepConfig

    def axes(self) -> dict[str, tuple[Value, ...]]:
        """Those of the configuration, or the default ones."""
        if self.sweep.axes:
            return dict(self.sweep.axes)
        depth = self.pretrain.depth
        depths = sorted({max(1, depth // 4), max(1, depth // 2), depth})
        return {"depth": tuple(depths), RATE_FACTOR: DEFAULT_FACTORS}

    def trials(self) -> list[Trial]:
        """Every combination of the axes' values. Raises AxisError."""
        axes = self.axes()
        combinations = list(itertools.islice(itertools.product(*axes.values()), MOST_TRIALS + 1))
        if len(combinations) > MOST_TRIALS:
            sizes = " × ".join(f"{len(values)} of {name}" for name, values in axes.items())
            raise AxisError(f"the sweep has more than {MOST_TRIALS} trials ({sizes}); leave out some values")
        return [self._trial(dict(zip(axes, values, strict=True))) for values in combinations]

    def _trial(self, point: dict[str, Value]) -> Trial:
        settings = {**self.pretrain.model_dump(), **point, "prompts": ()}
        factor = settings.pop(RATE_FACTOR, None)
        try:
            config = PretrainConfig.model_validate(settings)
            if factor is not None:
                peak = float(f"{config.recipe().learning_rate * float(factor):.6g}")
                config = PretrainConfig.model_validate(settings | {RATE: peak})
        except ValidationError as error:
            fault = error.errors()[0]
            told = str(fault.get("ctx", {}).get("error", "")) or f"{fault['msg']}, found {fault['input']!r}"
            setting = ".".join(map(str, fault["loc"]))
            where = " ".join(f"{axis}={value}" for axis, value in point.items())
            raise AxisError(
                f"the sweep's trial {where} is not possible: {f'{setting}: ' if setting else ''}{told}"
            ) from None
        if not FAMILIES[config.family].continues_text:
            raise AxisError(
                f"the sweep's trial {' '.join(f'{axis}={value}' for axis, value in point.items())} trains a "
                f"{config.family}, and trials are compared by bits per byte, which only families that "
                "continue text have; take llama, gpt2 or lstm"
            )
        return Trial(point, config)

    def identity(self) -> dict[str, Any]:
        """All trials, as pretraining itself would know them."""
        return {
            "pretrain": BaseModel.revision,
            "trials": [trial.config.identity() | {"point": dict(trial.point)} for trial in self.trials()],
        }

    def resolved(self) -> dict[str, Any]:
        axes = {name: list(values) for name, values in self.axes().items()}
        return {"pretrain": self.pretrain.resolved(), "sweep": {"axes": axes}}


class Sweep(Artifact):
    """`sweep.json` with every trial and what was found in them; pictures of the laws."""

    stage, role, revision = "sweep", "sweep", 1

    def table(self) -> dict[str, Any]:
        """`trials`, each with `point`, `flops`, `bits_per_byte` (null where the loss became infinite), and
        `findings` as pipeline.training.findings has them."""
        found: dict[str, Any] = json.loads(self.path(TABLE).read_bytes())
        return found


def sweep(store: Store, tokens: Tokens, vocabulary: Vocabulary, config: SweepPlan, compute: Compute) -> Sweep:
    """Train every combination, several at a time; what is finished is not run again after a kill.

    Raises AxisError, BatchError, TooFewTokensError.
    """
    for trial in config.trials():
        batch = trial.config.recipe().batch_tokens
        if batch % tokens.row_tokens:
            fit = max(1, batch // tokens.row_tokens) * tokens.row_tokens
            raise BatchError(
                f"the sweep's trial {trial.name} has batches of {batch} tokens, not a multiple of the rows' "
                f"{tokens.row_tokens}; try {fit}"
            )
    return store.make(
        Sweep,
        config,
        {"tokens": tokens, "vocabulary": vocabulary},
        partial(_build, tokens=tokens, vocabulary=vocabulary, config=config, compute=compute),
        work=partial(_work, config, tokens, vocabulary, compute),
    )


def _work(config: SweepPlan, tokens: Tokens, vocabulary: Vocabulary, compute: Compute) -> Work:
    """The trials' work together; memory is that of the largest."""
    at_once = max(1, compute.gpus())
    alone = replace(compute, config=_of_trials(compute.config))
    works = [estimated_work(trial.config, tokens, vocabulary, alone) for trial in config.trials()]
    told = {name: sum(work[name] for work in works) for name in TOLD}
    largest = max(work["memory_bytes"] for work in works)
    left_out = {*TOLD, *LAYOUT, "memory_bytes", "parameters"}
    computed = cost.added(
        *({name: amount / at_once for name, amount in work.items() if name not in left_out} for work in works)
    )
    return {**computed, **told, "trials": len(works), "memory_bytes": largest}


def _of_trials(config: ComputeConfig) -> ComputeConfig:
    """A trial is one process, and as many run at once as there is room for."""
    return config.model_copy(update={"training_workers": 1, "threads": config.threads or 1})


def _build(
    attempt: Attempt, tokens: Tokens, vocabulary: Vocabulary, config: SweepPlan, compute: Compute
) -> Made:
    from pipeline.training import findings, sweep_plots

    trials = config.trials()
    rows = len(tokens.rows("train")), len(tokens.rows("held-out"))
    for trial in trials:
        check_rows(trial.config.recipe().batch_tokens, tokens.row_tokens, *rows)
    flops = {trial.identity: trial.flops(vocabulary.pieces, tokens.row_tokens) for trial in trials}
    alone, gpus = _of_trials(compute.config), 1 if compute.gpus() else 0
    jobs = {
        trial.identity: TrialJob(
            attempt, trial.identity, trial.name, _shown(trial), tokens, vocabulary, trial.config, alone
        )
        for trial in sorted(trials, key=lambda trial: -flops[trial.identity])
    }
    with SweepProgress(attempt, flops, _finished(attempt, jobs)):
        records = compute.map_shards(
            attempt, STEP, jobs, run_trial, cpus=alone.threads or 1, gpus=gpus, tells=False
        )
    results = {record.identity: _result(attempt, record) for record in records}
    table = [_row(trial, flops[trial.identity], results[trial.identity]) for trial in trials]
    found = findings.findings(table, config.pretrain)
    attempt.path(TABLE).write_text(json.dumps({"trials": table, "findings": found}, indent=1) + "\n")
    pictures = sweep_plots.draw(table, found, attempt.path("."))
    return Made(
        files={name: attempt.publish(attempt.path(name)) for name in (TABLE, *pictures)},
        counts={
            "trials": len(trials),
            "diverged": sum(row["fault"] is not None for row in table),
            "steps": sum(trial.config.recipe().steps for trial in trials),
            "tokens": sum(row["tokens"] for row in table),
        },
        figures=findings.figures(found),
        compute={"threads": alone.threads, "gpus": gpus},
        incomplete=any_lost(records),
    )


def _shown(trial: Trial) -> dict[str, Any]:
    """A trial's parameters in MLflow: its place on the axes, then all that was resolved."""
    return {**trial.config.resolved(), **trial.point}


def _row(trial: Trial, flops: float, result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": trial.name,
        "point": dict(trial.point),
        "flops": flops,
        "depth": trial.config.depth,
        RATE: trial.config.recipe().learning_rate,
        "derived_rate": float(trial.config.derived()[RATE]),
        **result,
    }


def _finished(attempt: Attempt, jobs: Mapping[str, TrialJob]) -> dict[str, float | None]:
    """Bits per byte of the trials that earlier attempts finished."""
    records = [attempt.finished_shard(STEP, identity) for identity in jobs]
    return {
        record.identity: _result(attempt, record)["bits_per_byte"]
        for record in records
        if record is not None and record.lost is None
    }


def _result(attempt: Attempt, record: ShardRecord) -> dict[str, Any]:
    """What a trial's task wrote; of one that was set aside, why."""
    for file in record.files.values():
        found: dict[str, Any] = json.loads(attempt.storage.read(f"{attempt.base}/{file.path}"))
        return found
    return {"bits_per_byte": None, "fault": record.lost, "tokens": 0}

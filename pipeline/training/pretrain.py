"""The stage that pretrains a base model: tokens and vocabulary in, a model that continues text out."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.errors import InputError, StageError
from pipeline.models import cost
from pipeline.models.families import (
    parameters,
    training_flops_per_token,
)
from pipeline.models.model import Model
from pipeline.models.start import Start
from pipeline.store import Attempt, File, Made, Store, Work
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.fit import Trained, footprint
from pipeline.training.mixing import training_rows
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.resolve import (
    Resolved,
    foreseen,
    refuse_what_is_for_decoders,
    refuse_what_is_not_installed,
    refuse_what_lacks,
)

RESULT = "result.json"
COMPLETION_TOKENS = 40
"""Longest completion of a prompt, at every evaluation."""


class BaseModel(Model):
    """A pretrained model: it continues text, and answers nothing yet."""

    stage, role, revision = "pretrain", "base", 2


class TooFewTokensError(StageError):
    """The tokens do not fill one batch, or nothing was held out."""

    passes = False
    remedy = "Crawl more, or set pretrain.batch_tokens to what the message says."


class BatchError(InputError):
    """A batch does not hold whole rows, or fewer rows than there are workers."""

    remedy = "Set pretrain.batch_tokens to the multiple that the message gives."


@dataclass(frozen=True)
class Job:
    """All that a training worker has to know."""

    attempt: Attempt
    tokens: Tokens
    vocabulary: Vocabulary
    config: PretrainConfig
    compute: ComputeConfig
    start: Model | None = None
    """The model that the training goes on from."""
    general: Tokens | None = None
    """The general text of `config.general`."""


def pretrain(
    store: Store,
    tokens: Tokens,
    vocabulary: Vocabulary,
    config: PretrainConfig,
    compute: Compute,
    start: Start | None = None,
    general: Tokens | None = None,
    role: str = BaseModel.role,
) -> BaseModel:
    """Train a model on the tokens: from nothing, or from where `start` stands, with rows of `general` between
    them as `config.general` says. Killed and run again, it goes on from its last checkpoint. `role` is what
    the model is called in its run.

    Raises TooFewTokensError, BatchError, DoesNotFitError, LayoutError, NonFiniteLossError; of a foreign
    model RowsTooLongError and NotTrainableError.
    """
    if start is not None:
        from pipeline.training.continuing import continued  # which builds on this module

        config = continued(config, start.foreign, tokens)
    model = start.artifact if start is not None else None
    inputs: dict[str, Any] = {"tokens": tokens, "vocabulary": vocabulary, "start": model, "general": general}
    build = partial(_build, **inputs, config=config, compute=compute)
    return store.make(
        BaseModel if role == BaseModel.role else type(role, (BaseModel,), {"role": role}),
        config,
        inputs,
        build,
        work=partial(estimated_work, config, tokens, vocabulary, compute, start, general),
    )


def estimated_work(
    config: PretrainConfig,
    tokens: Tokens,
    vocabulary: Vocabulary,
    compute: Compute,
    start: Start | None = None,
    general: Tokens | None = None,
) -> Work:
    """Steps, tokens, parameters, floating point operations of the training; what each worker computes,
    evaluations included, in the quantities of cost.py; the memory it takes for that, and how it is divided
    among them (LAYOUT). Of a foreign model that is not on this machine yet nothing is known.

    Raises DoesNotFitError, LayoutError, DeviceLacksError.
    """
    if compute.is_known:
        refuse_what_lacks(compute.config, config.precision, compute.device(BaseModel.stage))
        refuse_what_is_for_decoders(compute.config, config.family)
    foreign = start.foreign if start is not None else None
    if start is not None and foreign is None:
        return {}
    recipe, shape = config.recipe(), config.shape()
    pieces, row_tokens = max(vocabulary.pieces, foreign.pieces if foreign else 0), tokens.row_tokens
    trained = recipe.steps * recipe.batch_tokens
    resolved = _foreseen(config, pieces, row_tokens, compute)
    judged = [tokens] if general is None else [tokens, general]
    rows = (min(config.evaluation_rows, each.counts()["held-out.rows"]) for each in judged)
    held_out = sum(rows) * row_tokens
    return {
        "steps": recipe.steps,
        "tokens": trained,
        "parameters": foreign.parameters_with(pieces) if foreign else parameters(shape, pieces),
        "flops": trained * training_flops_per_token(shape, pieces, row_tokens),
        "memory_bytes": cost.memory(
            footprint(resolved.device, resolved.compile),
            shape,
            pieces,
            resolved.micro_batch_rows * row_tokens,
            resolved.products,
            config.optimizer,
            resolved.division,
        ),
        **resolved.layout(shape.depth),
        **_work(config, resolved, pieces, row_tokens, held_out),
    }


def _work(config: PretrainConfig, resolved: Resolved, pieces: int, row_tokens: int, held_out: float) -> Work:
    """In the quantities of cost.py; `held_out` tokens are scored at each evaluation."""
    recipe, shape, division = config.recipe(), config.shape(), resolved.division
    way, eager = cost.way(resolved.products, resolved.compile), cost.way(resolved.products)
    share, trained = resolved.share, recipe.steps * recipe.batch_tokens
    rows_each = -(-recipe.batch_tokens // (row_tokens * division.data_size))
    passes = recipe.steps * -(-rows_each // resolved.micro_batch_rows)
    evaluations = 1 + -(-recipe.steps // recipe.evaluate_every)
    written = evaluations * len(config.prompts) * COMPLETION_TOKENS
    updates = recipe.steps * share * resolved.workers / (division.shards * division.tensor_parallel)
    again = division.activation_checkpointing
    work = cost.added(
        cost.passes(way, shape, pieces, row_tokens, trained * share, passes),
        cost.recomputed(way, shape, row_tokens, trained * share, passes, again),
        cost.forward(eager, shape, pieces, row_tokens, evaluations * held_out * share, evaluations),
        cost.generation(shape, written),
        cost.updates(config.optimizer, shape, pieces, updates),
        {"compiled_layers": shape.depth if resolved.compile else 0},
    )
    if resolved.device == "cpu":  # GPUs send while they compute
        work |= cost.exchanged(shape, pieces, resolved.products, division, recipe.steps, passes)
    return work


def _foreseen(config: PretrainConfig, pieces: int, row_tokens: int, compute: Compute) -> Resolved:
    """How the training will compute. Raises DoesNotFitError, LayoutError."""
    recipe, shape = config.recipe(), config.shape()
    per_token = training_flops_per_token(shape, pieces, row_tokens)
    return foreseen(
        compute,
        BaseModel.stage,
        batch_rows=max(1, recipe.batch_tokens // row_tokens),
        row_tokens=row_tokens,
        vocabulary_size=pieces,
        flops=recipe.steps * recipe.batch_tokens * per_token,
        precision=config.precision,
        trained=Trained(shape, config.optimizer, config.family),
    )


def _build(
    attempt: Attempt,
    tokens: Tokens,
    vocabulary: Vocabulary,
    config: PretrainConfig,
    compute: Compute,
    start: Model | None,
    general: Tokens | None,
) -> Made:
    from pipeline.training.worker import train_worker

    train, held_out = tokens.rows("train"), tokens.rows("held-out")
    check_rows(config.recipe().batch_tokens, train.row_tokens, len(train), len(held_out))
    training_rows(tokens, None, 0.0, config.mixture, config.training_rows(tokens.row_tokens))
    refuse_what_lacks(compute.config, config.precision, compute.device(attempt.stage))
    refuse_what_is_not_installed(compute.config)
    refuse_what_is_for_decoders(compute.config, config.family)
    _foreseen(config, vocabulary.pieces, tokens.row_tokens, compute)
    found = {"worker_memory_gb": compute.worker_memory_gb(attempt.stage)}
    job = Job(attempt, tokens, vocabulary, config, compute.config.model_copy(update=found), start, general)
    compute.train(train_worker, {"job": job}, attempt)
    result = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    return Made(
        files={name: File.model_validate(file) for name, file in result["files"].items()},
        counts=result["counts"],
        figures=result["figures"],
        compute=result["compute"],
    )


def check_rows(batch_tokens: int, row_tokens: int, train_rows: int, held_out_rows: int) -> None:
    """Raises BatchError or TooFewTokensError, with a batch that would work."""
    if batch_tokens % row_tokens:
        fit = max(1, batch_tokens // row_tokens) * row_tokens
        raise BatchError(
            f"pretrain.batch_tokens is {batch_tokens}, not a multiple of the rows' {row_tokens} tokens; "
            f"try {fit}"
        )
    if train_rows * row_tokens < batch_tokens:
        raise TooFewTokensError(
            f"the training tokens fill {train_rows} rows ({train_rows * row_tokens:,} tokens), "
            f"one batch takes {batch_tokens:,}: "
            + (
                f"set pretrain.batch_tokens to at most {train_rows * row_tokens}"
                if train_rows
                else "crawl more"
            )
        )
    if held_out_rows == 0:
        raise TooFewTokensError(
            "no document was held out, so the model could not be judged: "
            "set the share of [hold_out] higher or crawl more"
        )

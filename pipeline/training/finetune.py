"""The stage that fine-tunes: a base model that continues text → a chat model that answers, and ends."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.errors import InputError, StageError
from pipeline.models import cost
from pipeline.models.families import shape_of, training_flops_per_token, vocabulary_size_of
from pipeline.models.model import Model
from pipeline.store import Artifact, Attempt, File, Made, Store, Work
from pipeline.training.conversations import CORPUS, Conversations
from pipeline.training.resolve import foreseen
from pipeline.training.schedule import Schedule

RESULT = "result.json"
QUESTION_TOKENS, TOKENS_PER_CHARACTER, LONGEST = 22, 0.12, 2.5
"""Of a conversation from the corpus, padding included: tokens around and of the question, tokens for a
character that an answer may have (most have far fewer than that), and the longest in means."""


class FinetuneConfig(Config):
    """One fine-tuning run. Every field changes the weights or what is told of them."""

    epochs: float = Field(default=2.0, gt=0)
    """How often each conversation is learned from."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps. Default: as many as `epochs` asks for."""
    batch_rows: int = Field(default=32, ge=1)
    """Conversations per optimizer step, over all workers."""
    max_tokens: int = Field(default=512, ge=16)
    """Longer conversations are left out, so that every answer is learned to its end; the model's own
    context is the limit where that is shorter."""

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
    """Order of the conversations."""

    evaluations: int = Field(default=3, ge=1)
    """How often held-out conversations are scored on the way."""
    evaluation_rows: int = Field(default=128, ge=1)
    """Held-out conversations of an evaluation, at most."""
    shown_questions: int = Field(default=4, ge=0)
    """Held-out questions that are answered at every evaluation, to watch the model learn."""
    answer_tokens: int = Field(default=64, ge=1)
    """Longest answer to one of them."""

    def steps_for(self, conversations: int) -> int:
        """Optimizer steps over so many conversations."""
        return self.steps or max(1, round(self.epochs * conversations / self.batch_rows))

    @model_validator(mode="after")
    def evaluations_fit(self) -> Self:
        if self.steps is not None and self.evaluations > self.steps:
            raise ValueError(
                f"evaluations is {self.evaluations}, the whole run has {self.steps} steps; try {self.steps}"
            )
        return self


class TooFewConversationsError(StageError):
    """The conversations do not fill one batch, or all held-out ones are too long."""

    passes = False
    remedy = (
        "Bring more conversations, or lower finetune.batch_rows; raise finetune.max_tokens if all "
        "are too long."
    )


class BatchRowsError(InputError):
    """The batch cannot be shared out evenly among the workers."""

    remedy = "Set finetune.batch_rows to a multiple of the workers."


class NoChatTemplateError(InputError):
    """The base model's tokenizer does not say how a conversation is written and which part is the answer."""

    remedy = (
        "Start from a base model that moinho made, or add a chat template with {% generation %} to "
        "the tokenizer."
    )


class NonFiniteGradientError(StageError):
    """The gradient became NaN or infinite; the weights were not updated with it."""

    passes = False
    remedy = "Lower finetune.learning_rate; the run goes on from its last checkpoint."


class ChatModel(Model):
    """A model that answers, and ends its answers with `<|end|>`."""

    stage, role, revision = "finetune", "chat", 1


@dataclass(frozen=True)
class Job:
    """All that a training worker has to know."""

    attempt: Attempt
    base: Model
    conversations: Conversations
    config: FinetuneConfig
    compute: ComputeConfig


def finetune(
    store: Store, base: Model, conversations: Conversations, config: FinetuneConfig, compute: Compute
) -> ChatModel:
    """Teach the base model to answer. Killed and run again, it goes on from its last checkpoint.

    Raises TooFewConversationsError, BatchRowsError, NoChatTemplateError, NonFiniteGradientError.
    """
    inputs: dict[str, Artifact | None] = {"base": base, "conversations": conversations}
    build = partial(_build, base=base, conversations=conversations, config=config, compute=compute)
    work = partial(estimated_work, config, base, conversations, compute)
    return store.make(ChatModel, config, inputs, build, work=work)


def estimated_work(
    config: FinetuneConfig, base: Model, conversations: Conversations, compute: Compute
) -> Work:
    """As that of pretraining; of a base model that was not pretrained here, steps and rows alone."""
    counts, shape = conversations.counts(), shape_of(base.config())
    steps = config.steps_for(int(counts["train"]))
    rows = steps * config.batch_rows
    if shape is None:
        return {"steps": steps, "conversations": rows}
    pieces = vocabulary_size_of(shape, int(base.counts()["parameters"]))
    row_tokens, longest = expected_row_tokens(config, conversations)
    resolved = foreseen(
        compute, batch_rows=config.batch_rows, row_tokens=longest, vocabulary_size=pieces, flops=0.0
    )
    tokens, evaluations = rows * row_tokens, config.evaluations + 2
    held_out = evaluations * min(config.evaluation_rows, counts["held-out"]) * row_tokens
    written = evaluations * config.answer_tokens * (config.shown_questions > 0)
    way = cost.way(config.precision)
    work = cost.added(
        cost.passes(way, shape, pieces, row_tokens, tokens * resolved.share, steps),
        cost.forward(way, shape, pieces, row_tokens, held_out * resolved.share, evaluations),
        cost.generation(shape, written),
        cost.updates("adamw", shape, pieces, steps * resolved.share * resolved.workers),
    )
    return {
        "steps": steps,
        "conversations": rows,
        "tokens": tokens,
        "flops": tokens * training_flops_per_token(shape, pieces, row_tokens),
        "memory_bytes": cost.memory(
            cost.TUNED, shape, pieces, resolved.micro_batch_rows * longest, config.precision, "adamw"
        ),
        **work,
    }


def expected_row_tokens(config: FinetuneConfig, conversations: Conversations) -> tuple[int, int]:
    """Tokens of a conversation as it is padded to the longest of its batch, and of the longest of all."""
    made = conversations.config()
    if made["source"] != CORPUS:
        return config.max_tokens // 2, config.max_tokens
    mean = QUESTION_TOKENS + made["answer_characters"] * TOKENS_PER_CHARACTER
    return min(config.max_tokens, round(mean)), min(config.max_tokens, round(mean * LONGEST))


def _build(
    attempt: Attempt, base: Model, conversations: Conversations, config: FinetuneConfig, compute: Compute
) -> Made:
    from pipeline.training.sft import sft_worker

    check_batch(config, conversations.record.counts["train"], compute.training_workers())
    job = Job(attempt, base, conversations, config, compute.config)
    compute.train(sft_worker, {"job": job}, attempt)
    result: dict[str, Any] = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    return Made(
        files={name: File.model_validate(file) for name, file in result["files"].items()},
        counts=result["counts"],
        figures=result["figures"],
        compute=result["compute"],
    )


def check_batch(config: FinetuneConfig, conversations: int, workers: int) -> None:
    """Raises TooFewConversationsError or BatchRowsError, with a batch that would work."""
    if conversations < config.batch_rows:
        raise TooFewConversationsError(
            f"there are {conversations} conversations to learn from, one batch takes {config.batch_rows}: "
            + (f"set finetune.batch_rows to at most {conversations}" if conversations else "bring more")
        )
    if config.batch_rows % workers:
        fit = max(1, config.batch_rows // workers) * workers
        raise BatchRowsError(
            f"finetune.batch_rows is {config.batch_rows}, not a multiple of the {workers} workers that "
            f"train together; try {fit}, or set compute.training_workers"
        )

"""The stage that fine-tunes: a base model that continues text → a chat model that answers, and ends."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline.compute import Compute
from pipeline.errors import InputError
from pipeline.models import cost
from pipeline.models.families import shape_of, training_flops_per_token, vocabulary_size_of
from pipeline.models.model import Model
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.training.conversations import CORPUS, Conversations
from pipeline.training.resolve import foreseen
from pipeline.training.tuning_config import TuningConfig, TuningJob, check_adapter, check_batch, made_by

if TYPE_CHECKING:
    from pipeline.training.group import Group
    from pipeline.training.tuning import Objective

QUESTION_TOKENS, TOKENS_PER_CHARACTER, LONGEST = 22, 0.12, 2.5
"""Of a conversation from the corpus, padding included: tokens around and of the question, tokens for a
character that an answer may have (most have far fewer than that), and the longest in means."""


class FinetuneConfig(TuningConfig):
    """One fine-tuning run. Every field changes the weights or what is told of them."""

    section: ClassVar[str] = "finetune"

    epochs: float = Field(default=2.0, gt=0)
    """How often each conversation is learned from."""
    max_tokens: int = Field(default=512, ge=16)
    """Longest conversation; the model's own context is the limit where that is shorter."""
    too_long: Literal["leave_out", "cut"] = "leave_out"
    """Of longer ones: "leave_out", so that every answer is learned to its end; or "cut" the end off. Those
    of which no word of an answer would be left are left out either way."""
    packing: bool = False
    """Lay several conversations side by side in a row, which do not see each other: the same steps without
    padding, equal up to rounding. For conversations of very different lengths."""
    evaluation_rows: int = Field(default=128, ge=1)
    """Held-out conversations of an evaluation, at most."""
    shown_questions: int = Field(default=4, ge=0)
    """Held-out questions that are answered at every evaluation, to watch the model learn."""
    answer_tokens: int = Field(default=64, ge=1)
    """Longest answer to one of them."""


class NoChatTemplateError(InputError):
    """The base model's tokenizer does not say how a conversation is written and which part is the answer."""

    remedy = (
        "Start from a base model that moinho made, or add a chat template with {% generation %} to "
        "the tokenizer."
    )


class ChatModel(Model):
    """A model that answers, and ends its answers with `<|end|>`."""

    stage, role, revision = "finetune", "chat", 2


@dataclass(frozen=True)
class Job(TuningJob):
    """A fine-tuning on conversations."""

    config: FinetuneConfig
    conversations: Conversations

    def begin(self, group: "Group") -> "Objective":
        from pipeline.training.sft import Sft

        return Sft(self, group)


def finetune(
    store: Store, base: Model, conversations: Conversations, config: FinetuneConfig, compute: Compute
) -> ChatModel:
    """Teach the base model to answer. Killed and run again, it goes on from its last checkpoint.

    Raises TooFewRowsError, BatchRowsError, NoChatTemplateError, NonFiniteGradientError.
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
        compute,
        config.section,
        batch_rows=config.batch_rows,
        row_tokens=longest,
        vocabulary_size=pieces,
        flops=0.0,
        precision=config.precision,
    )
    tokens, evaluations = rows * row_tokens, config.evaluations + 2
    held_out = evaluations * min(config.evaluation_rows, counts["held-out"]) * row_tokens
    written = evaluations * config.answer_tokens * (config.shown_questions > 0)
    way = cost.way(resolved.products)
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
            cost.TUNED, shape, pieces, resolved.micro_batch_rows * longest, resolved.products, "adamw"
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
    from pipeline.training.tuning import tuning_worker

    check_adapter(config, compute.device(attempt.stage) == "cuda")
    check_batch(config, conversations.record.counts["train"], compute.training_workers(attempt.stage))
    job = Job(attempt, base, config, compute.config, conversations)
    compute.train(tuning_worker, {"job": job}, attempt)
    return made_by(attempt)

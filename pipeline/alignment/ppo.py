"""The stage that aligns by PPO: a chat model draws answers, a reward judges them, and it learns from that.

Proximal policy optimization as for InstructGPT (Schulman et al., 2017, arXiv:1707.06347; Ouyang et al.,
2022, arXiv:2203.02155), with the details that Huang et al. found to matter (2024, arXiv:2403.17031).
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from pipeline.alignment.align import PROMPT_TOKENS, AlignConfig, AlignedModel
from pipeline.alignment.reward import RewardModel
from pipeline.alignment.reward_source import Source, identity_of_source, reward_source
from pipeline.compute import Compute
from pipeline.models import cost
from pipeline.models.families import training_flops_per_token
from pipeline.models.model import Model
from pipeline.models.sizes import size_of
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.training.conversations import Conversations
from pipeline.training.resolve import foreseen
from pipeline.training.tuning_config import BatchRowsError, TuningJob, check_batch, made_by
from pipeline.user_function import identity_of

if TYPE_CHECKING:
    from pipeline.training.group import Group
    from pipeline.training.tuning import Objective


class PpoConfig(AlignConfig):
    """One alignment by PPO. Every field but the reward's time changes the weights or what is told of them.

    A step draws `batch_rows` answers, and learns from them `updates` times in `minibatches` parts each.
    """

    section: ClassVar[str] = "ppo"
    rows_are: ClassVar[str] = "prompts"

    reward: str | None = None
    """A function of yours that rewards answers, as "rules.py:good". Default: the reward model."""
    reward_seconds: float = Field(default=60.0, gt=0)
    """Time that the function has for a batch of answers."""

    epochs: float = Field(default=2.0, gt=0)
    """How often each prompt is answered."""
    batch_rows: int = Field(default=64, ge=2)
    """Answers per step, over all workers: one to each of so many prompts."""
    temperature: float = Field(default=1.0, gt=0)
    """At which answers are drawn."""

    updates: int = Field(default=2, ge=1)
    """How often a step learns from its answers."""
    minibatches: int = Field(default=2, ge=1)
    """Optimizer updates in which it goes once through them."""
    clip: float = Field(default=0.2, gt=0)
    """A token's probability may move by this share before it stops counting."""
    value_clip: float = Field(default=0.2, gt=0)
    """What the critic expects may move by so much, in standard deviations of the first step's rewards."""
    value_weight: float = Field(default=0.1, ge=0)
    """Weight of the critic's loss beside the policy's."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """Of a reward for each token that it comes later."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Between what the critic expects after one token (0) and what came in the end (1)."""
    kl_weight: float = Field(default=0.05, ge=0)
    """What a nat away from the chat model costs, in standard deviations of the first step's rewards."""
    missing_end_penalty: float = Field(default=1.0, ge=0)
    """What an answer costs that does not end by itself, in the same unit."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of AdamW, of policy and critic. About 1e-4 for models of a few million weights,
    3e-6 for billions."""

    def identity(self) -> dict[str, Any]:
        """A function enters the key by its name and its file's content, wherever that lies; the time that it
        has does not."""
        values = super().identity()
        values.pop("reward_seconds", None)
        if self.reward is not None:
            values["reward"] = identity_of(self.reward)
        return values

    @model_validator(mode="after")
    def the_whole_model_is_trained(self) -> Self:
        if self.adapter is not None:
            raise ValueError(
                "adapter is set, and PPO trains policy and critic whole; leave out ppo.adapter, or align by "
                "[grpo], which trains adapters"
            )
        return self

    @model_validator(mode="after")
    def minibatches_have_answers(self) -> Self:
        if self.batch_rows < self.minibatches:
            raise ValueError(
                f"minibatches is {self.minibatches}, a step has {self.batch_rows} answers; try 1, or more "
                "batch_rows"
            )
        return self


class PpoModel(AlignedModel):
    """A chat model that PPO has aligned."""

    stage, role, revision = "ppo", "ppo", 2


@dataclass(frozen=True)
class PpoJob(TuningJob):
    """All that a worker has to know."""

    config: PpoConfig
    conversations: Conversations
    reward: Source

    def begin(self, group: "Group") -> "Objective":
        from pipeline.alignment.ppo_worker import Ppo

        return Ppo(self, group)


def ppo(
    store: Store,
    chat: Model,
    conversations: Conversations,
    reward: RewardModel | None,
    config: PpoConfig,
    compute: Compute,
) -> PpoModel:
    """Let the chat model learn what is rewarded, on the prompts of the conversations to train on.

    `reward` counts unless `config.reward` names a function. Killed and run again, it goes on from its last
    checkpoint. Where a guard ends it, what comes out are the last weights that were saved with good
    answers: the record's count `stopped_early` is 1, its alignment.json has the reason.
    Raises NoRewardError, UserFunctionError, TooFewRowsError, BatchRowsError, NonFiniteGradientError,
    NonFiniteRewardError and the errors of a function of the user's.
    """
    source = reward_source(config.reward, reward, config.section)
    inputs, content = identity_of_source(source)
    given: dict[str, Artifact | None] = {"chat": chat, "conversations": conversations, **inputs}
    build = partial(
        _build, chat=chat, conversations=conversations, reward=source, config=config, compute=compute
    )
    work = partial(estimated_work, config, chat, conversations, compute)
    return store.make(PpoModel, config, given, build, content=content, work=work)


def _build(
    attempt: Attempt,
    chat: Model,
    conversations: Conversations,
    reward: Source,
    config: PpoConfig,
    compute: Compute,
) -> Made:
    from pipeline.training.tuning import tuning_worker

    workers = compute.training_workers(attempt.stage)
    check_batch(config, conversations.record.counts["train"], workers)
    check_minibatches(config, workers)
    job = PpoJob(attempt, chat, config, compute.config, conversations, reward)
    compute.train(tuning_worker, {"job": job}, attempt)
    return made_by(attempt)


def check_minibatches(config: PpoConfig, workers: int) -> None:
    """Raises BatchRowsError unless every worker has an answer of every minibatch."""
    if config.batch_rows // config.minibatches < workers:
        raise BatchRowsError(
            f"ppo.minibatches is {config.minibatches}: that leaves too few of {config.batch_rows} answers to "
            f"share them out among {workers} workers; try {max(1, config.batch_rows // workers)}, or raise "
            "ppo.batch_rows"
        )


def estimated_work(config: PpoConfig, chat: Model, conversations: Conversations, compute: Compute) -> Work:
    """Answers drawn, scored by three models, and learned from by two; every answer as long as it may be."""
    size = size_of(chat)
    prompts = max(1, int(conversations.counts()["train"]) - config.evaluation_prompts)
    steps = config.steps_for(prompts)
    answers = steps * config.batch_rows
    if size is None:
        return {"steps": steps, "answers": answers}
    shape, pieces = size
    row_tokens = PROMPT_TOKENS + config.answer_tokens
    resolved = foreseen(
        compute,
        config.section,
        batch_rows=config.batch_rows,
        row_tokens=row_tokens,
        vocabulary_size=pieces,
        flops=0.0,
        precision=config.precision,
    )
    way, tokens, share = cost.way(resolved.products), answers * row_tokens, resolved.share
    updates = steps * config.updates * config.minibatches
    judged = (config.evaluations + 2) * config.evaluation_prompts * row_tokens
    learned = 2 * config.updates * tokens
    # to draw an answer, and for policy, reference and critic to score it
    seen = 4 * (tokens + judged)
    # every token that is written starts all layers, for as many answers as are drawn together
    batches = -(-config.batch_rows // (resolved.micro_batch_rows * resolved.workers))
    written = (steps + config.evaluations + 2) * batches * config.answer_tokens
    step_tokens = resolved.micro_batch_rows * row_tokens
    return {
        "steps": steps,
        "answers": answers,
        "tokens": tokens,
        "flops": learned * training_flops_per_token(shape, pieces, row_tokens),
        "memory_bytes": 2 * cost.memory(cost.EAGER, shape, pieces, step_tokens, resolved.products, "adamw"),
        **cost.added(
            cost.passes(way, shape, pieces, row_tokens, learned * share, 2 * updates),
            cost.forward(way, shape, pieces, row_tokens, seen * share, 3 * steps),
            cost.generation(shape, written),
            cost.updates("adamw", shape, pieces, 2 * updates * share * resolved.workers),
        ),
    }

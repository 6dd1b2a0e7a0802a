"""The stages that align a chat model by one of TRL's trainers: by pairs of answers (DPO), or by answers that
it draws itself and a reward for each (GRPO, RLOO)."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from pipeline.alignment.guards import GuardsConfig
from pipeline.alignment.preferences import Preferences
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
from pipeline.training.tuning_config import TuningConfig, TuningJob, check_adapter, check_batch, made_by
from pipeline.user_function import identity_of

if TYPE_CHECKING:
    from pipeline.training.group import Group
    from pipeline.training.tuning import Objective

M = TypeVar("M", bound="AlignedModel")

PROMPT_TOKENS = 24
"""Of a question with what the chat template writes around it, as expected in plans."""
DRAWN_TOGETHER = 128
"""Answers that are drawn in one batch."""
ONE_ANSWER = 2


class AlignConfig(TuningConfig):
    """What all ways to align a model share."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices; the reference is what holds the model back here."""

    evaluation_prompts: int = Field(default=64, ge=1)
    """Prompts that are kept out of the training, and answered at every evaluation; where they are taken out
    of those to learn from, a quarter of all at most."""
    shown_answers: int = Field(default=4, ge=0)
    """Of them so many are shown with their answers, to watch the model change."""
    answer_tokens: int = Field(default=64, ge=1)
    """Longest answer that the model draws, in tokens."""
    guards: GuardsConfig = GuardsConfig()
    """How far the model may go from where it began."""

    @model_validator(mode="after")
    def nothing_is_dropped_out(self) -> Self:
        if self.adapter is not None and self.adapter.dropout:
            raise ValueError(
                f"adapter.dropout is {self.adapter.dropout:g}, and answers are compared with what the same "
                "weights said before, with nothing left out at random: leave adapter.dropout out"
            )
        return self


class DpoConfig(AlignConfig):
    """Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290)."""

    section: ClassVar[str] = "dpo"
    rows_are: ClassVar[str] = "preferences"

    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of AdamW. About 2e-4 for models of a few million weights, 5e-7 for billions."""
    beta: float = Field(default=0.1, gt=0)
    """Weight of the KL divergence to the reference: the lower, the further the model may go from it."""
    loss: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """Of the margin between the answers. "robust" (Chowdhury et al., 2024, arXiv:2403.00409) takes
    into account that a share of the pairs, `label_smoothing`, is the wrong way round."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs that are expected to be the wrong way round, for the loss "robust"."""
    likelihood_weight: float = Field(default=0.0, ge=0)
    """Weight of the chosen answer's own negative log-likelihood, so that it does not become less likely
    along with the other (Pang et al., 2024, arXiv:2404.19733)."""
    max_tokens: int = Field(default=512, ge=16)
    """Pairs with a longer prompt and answer are left out; the model's own context is the limit where that is
    shorter."""
    evaluation_rows: int = Field(default=128, ge=1)
    """Held-out pairs of an evaluation, at most."""

    @model_validator(mode="after")
    def smoothing_has_a_loss_that_knows_it(self) -> Self:
        if self.label_smoothing and self.loss != "robust":
            raise ValueError(
                f'label_smoothing is {self.label_smoothing:g}, and the loss "{self.loss}" knows none: set '
                'loss = "robust", or leave it out'
            )
        return self


class OnlineConfig(AlignConfig):
    """Training by a reward for answers that the model itself draws: for every prompt several."""

    rows_are: ClassVar[str] = "prompts"

    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW. About 3e-4 for models of a few million weights, 1e-6 for billions."""
    batch_rows: int = Field(default=8, ge=1)
    """Prompts per optimizer step, over all workers."""
    answers: int = Field(default=8, ge=2)
    """Answers that are drawn for each prompt: they are compared with each other."""
    temperature: float = Field(default=1.0, gt=0)
    """Answers are drawn at this temperature, and learned from at the same."""
    kl_weight: float = Field(default=0.05, gt=0)
    """What a nat away from the chat model costs: for GRPO per token, in the loss; for RLOO per answer, in
    standard deviations of the first step's rewards."""
    missing_end_penalty: float = Field(default=1.0, ge=0)
    """What an answer costs that does not end by itself, beside what the reward makes of it: in standard
    deviations of the first step's rewards."""

    reward: str | None = None
    """A function of the user's, such as "rules.py:names_the_thing", in place of a reward model."""
    reward_seconds: float = Field(default=60.0, gt=0)
    """What the function may take for the answers of one step, in seconds."""

    @property
    def batch_sequences(self) -> int:
        return self.batch_rows * self.answers

    def identity(self) -> dict[str, Any]:
        """The function enters the key by its name and its file's content, wherever that lies; the time that
        it has does not."""
        values = super().identity()
        values.pop("reward_seconds", None)
        if self.reward is not None:
            values["reward"] = identity_of(self.reward)
        return values


class GrpoConfig(OnlineConfig):
    """Group relative policy optimization (Shao et al., 2024, arXiv:2402.03300), with the loss per token of
    Yu et al. (2025, arXiv:2503.14476)."""

    section: ClassVar[str] = "grpo"

    scale: Literal["group", "batch", "none"] = "group"
    """What a reward's distance from its group's mean is divided by: the spread in the group, in the whole
    step, or nothing (Liu et al., 2025, arXiv:2503.20783)."""


class RlooConfig(OnlineConfig):
    """REINFORCE with the other answers to a prompt as baseline (Ahmadian et al., 2024, arXiv:2402.14740)."""

    section: ClassVar[str] = "rloo"

    normalize_advantages: bool = True
    """Bring the advantages of a step to mean 0 and deviation 1: the reward's scale then does not matter."""


class AlignedModel(Model):
    """A chat model that was trained further, by what its users prefer. A stage each."""


class DpoModel(AlignedModel):
    """Aligned by pairs of answers."""

    stage, role, revision = "dpo", "dpo", 2


class GrpoModel(AlignedModel):
    """Aligned by rewards, against the mean of a prompt's answers."""

    stage, role, revision = "grpo", "grpo", 2


class RlooModel(AlignedModel):
    """Aligned by rewards, against the mean of a prompt's other answers."""

    stage, role, revision = "rloo", "rloo", 2


@dataclass(frozen=True)
class DpoJob(TuningJob):
    """A training on pairs."""

    config: DpoConfig
    preferences: Preferences

    def begin(self, group: "Group") -> "Objective":
        from pipeline.alignment.dpo import Dpo

        return Dpo(self, group)


@dataclass(frozen=True)
class OnlineJob(TuningJob):
    """A training on answers that are drawn on the way."""

    config: OnlineConfig
    conversations: Conversations
    reward: Source

    def begin(self, group: "Group") -> "Objective":
        from pipeline.alignment.online import Online

        return Online(self, group)


def dpo(store: Store, chat: Model, preferences: Preferences, config: DpoConfig, compute: Compute) -> DpoModel:
    """Make preferred answers likelier than the others. Killed and run again, it goes on from its last
    checkpoint; a guard may end it early, which the record's alignment.json tells.

    Raises TooFewRowsError, BatchRowsError, NoChatTemplateError, NonFiniteGradientError.
    """

    def build(attempt: Attempt) -> Made:
        check_adapter(config, compute.device(attempt.stage) == "cuda")
        check_batch(config, preferences.record.counts["train"], compute.training_workers(attempt.stage))
        return _trained(DpoJob(attempt, chat, config, compute.config, preferences), compute)

    work = partial(dpo_work, config, chat, preferences, compute)
    return store.make(DpoModel, config, {"chat": chat, "preferences": preferences}, build, work=work)


def grpo(
    store: Store,
    chat: Model,
    conversations: Conversations,
    reward: RewardModel | None,
    config: GrpoConfig,
    compute: Compute,
) -> GrpoModel:
    """Draw answers to the conversations' prompts and learn from how each compares with the others in reward.

    `reward` counts unless `config.reward` names a function. Killed and run again, it goes on from its last
    checkpoint. Raises NoRewardError, UserFunctionError, TooFewRowsError, BatchRowsError,
    NonFiniteGradientError, NonFiniteRewardError and the errors of a function of the user's.
    """
    return _online(GrpoModel, store, chat, conversations, reward, config, compute)


def rloo(
    store: Store,
    chat: Model,
    conversations: Conversations,
    reward: RewardModel | None,
    config: RlooConfig,
    compute: Compute,
) -> RlooModel:
    """As `grpo`, by REINFORCE: each answer against the mean reward of the prompt's other answers."""
    return _online(RlooModel, store, chat, conversations, reward, config, compute)


def _online(
    kind: type[M],
    store: Store,
    chat: Model,
    conversations: Conversations,
    reward: RewardModel | None,
    config: OnlineConfig,
    compute: Compute,
) -> M:
    source = reward_source(config.reward, reward, config.section)
    rewarded, content = identity_of_source(source)
    inputs: dict[str, Artifact | None] = {"chat": chat, "conversations": conversations, **rewarded}

    def build(attempt: Attempt) -> Made:
        check_adapter(config, compute.device(attempt.stage) == "cuda")
        check_batch(config, conversations.record.counts["train"], compute.training_workers(attempt.stage))
        return _trained(OnlineJob(attempt, chat, config, compute.config, conversations, source), compute)

    work = partial(online_work, config, chat, conversations, compute)
    return store.make(kind, config, inputs, build, content=content, work=work)


def _trained(job: DpoJob | OnlineJob, compute: Compute) -> Made:
    from pipeline.training.tuning import tuning_worker

    compute.train(tuning_worker, {"job": job}, job.attempt)
    return made_by(job.attempt)


def dpo_work(config: DpoConfig, chat: Model, preferences: Preferences, compute: Compute) -> Work:
    """Two answers for each pair, by the model and by the reference."""
    steps = config.steps_for(int(preferences.counts()["train"]))
    return {
        "pairs": steps * config.batch_rows,
        **_work(config, chat, compute, steps, ONE_ANSWER, drawn=False),
    }


def online_work(config: OnlineConfig, chat: Model, conversations: Conversations, compute: Compute) -> Work:
    """Answers that are drawn, and learned from once."""
    steps = config.steps_for(max(1, int(conversations.counts()["train"]) - config.evaluation_prompts))
    answers = steps * config.batch_sequences
    return {"answers": answers, **_work(config, chat, compute, steps, 1, drawn=True)}


def _work(config: AlignConfig, chat: Model, compute: Compute, steps: int, texts: int, *, drawn: bool) -> Work:
    """`texts` for each sequence of a batch go through the model, and through the reference."""
    size = size_of(chat)
    if size is None:
        return {"steps": steps}
    shape, pieces = size
    row_tokens = PROMPT_TOKENS + config.answer_tokens
    resolved = foreseen(
        compute,
        config.section,
        batch_rows=config.batch_sequences,
        row_tokens=row_tokens,
        vocabulary_size=pieces,
        flops=0.0,
        precision=config.precision,
    )
    tokens = steps * config.batch_sequences * texts * row_tokens
    judged = (config.evaluations + 2) * config.evaluation_prompts * row_tokens
    way, share = cost.way(resolved.products), resolved.share
    # every token that is written starts all layers, for as many answers as are drawn together
    batches = -(-config.batch_sequences // DRAWN_TOGETHER)
    written = (steps * batches if drawn else 0) * config.answer_tokens
    work = cost.added(
        cost.passes(way, shape, pieces, row_tokens, tokens * share, steps),
        cost.forward(way, shape, pieces, row_tokens, (tokens * (2 if drawn else 1) + judged) * share, steps),
        cost.generation(shape, written),
        cost.updates("adamw", shape, pieces, steps * share * resolved.workers),
    )
    return {
        "steps": steps,
        "tokens": tokens,
        "flops": tokens * training_flops_per_token(shape, pieces, row_tokens),
        "memory_bytes": cost.memory(
            cost.TUNED,
            shape,
            pieces,
            resolved.micro_batch_rows * texts * row_tokens,
            resolved.products,
            "adamw",
        ),
        **work,
    }

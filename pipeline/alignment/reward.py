"""The stage that trains a reward model: a number for every answer, greater where people would prefer it.

By the model of Bradley and Terry (1952): the probability that one answer is preferred to another is the
logistic function of the difference of their rewards.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from pipeline.alignment.preferences import Preferences
from pipeline.compute import Compute
from pipeline.models import cost
from pipeline.models.families import training_flops_per_token
from pipeline.models.model import MODEL_FOLDER, Model, load_tokenizer
from pipeline.models.sizes import size_of
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.training.resolve import foreseen
from pipeline.training.tuning_config import TuningConfig, TuningJob, check_batch, made_by

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pipeline.training.group import Group
    from pipeline.training.tuning import Objective

REPORT = "reward.json"
EXPECTED_SHARE = 0.4
"""Of the longest pair that a pair has, padding included, as a plan reckons."""
ONE_PAIR = 2


class RewardConfig(TuningConfig):
    """One training of a reward model, from the chat model."""

    section: ClassVar[str] = "reward"
    rows_are: ClassVar[str] = "preferences"

    epochs: float = Field(default=1.0, gt=0)
    """How often each pair is learned from. More than once soon learns by heart (Ouyang et al., 2022,
    arXiv:2203.02155, C.2)."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate of AdamW. About 5e-4 for models of a few million weights, 1e-5 for billions."""
    max_tokens: int = Field(default=512, ge=16)
    """Pairs with a longer prompt and answer are left out; the model's own context is the limit where that is
    shorter."""
    centering: float = Field(default=0.01, ge=0)
    """Weight of the squared sum of a pair's two rewards, which keeps rewards around 0 (Eisenstein et al.,
    2023, arXiv:2312.09244)."""
    evaluation_rows: int = Field(default=500, ge=1)
    """Held-out pairs that the model is judged on, at most."""

    @model_validator(mode="after")
    def the_whole_model_is_trained(self) -> Self:
        if self.adapter is not None:
            raise ValueError(
                "adapter is set, and the head of a reward model begins at random and has to be trained "
                "whole: leave out reward.adapter"
            )
        return self


class RewardModel(Artifact):
    """`model/` for AutoModelForSequenceClassification, with one label and a tokenizer; `reward.json`: how
    often it is right on held-out pairs, how sure it may be, what the length of an answer does to its reward;
    `plots/`."""

    stage, role, revision = "reward", "reward", 2

    def load(self, dtype: "torch.dtype | None" = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """Model (in evaluation mode) and tokenizer; `dtype` None keeps that of the file. Raises InputError if
        not made yet."""
        from transformers import AutoModelForSequenceClassification

        folder = self.folder(MODEL_FOLDER)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        model.train(False)
        return model, load_tokenizer(folder)

    def report(self) -> dict[str, Any]:
        """The content of reward.json."""
        found: dict[str, Any] = json.loads(self.path(REPORT).read_bytes())
        return found


@dataclass(frozen=True)
class RewardJob(TuningJob):
    """All that a training worker has to know."""

    config: RewardConfig
    preferences: Preferences

    def begin(self, group: "Group") -> "Objective":
        from pipeline.alignment.reward_worker import Reward

        return Reward(self)


def train_reward_model(
    store: Store, chat: Model, preferences: Preferences, config: RewardConfig, compute: Compute
) -> RewardModel:
    """Learn from pairs which answers are preferred.

    Killed and run again, it goes on from its last checkpoint. Raises TooFewRowsError, BatchRowsError,
    NoChatTemplateError, NonFiniteGradientError.
    """
    inputs: dict[str, Artifact | None] = {"chat": chat, "preferences": preferences}
    build = partial(_build, chat=chat, preferences=preferences, config=config, compute=compute)
    work = partial(estimated_work, config, chat, preferences, compute)
    return store.make(RewardModel, config, inputs, build, work=work)


def rewards(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Sequence[list[dict[str, str]]],
    ended: Sequence[bool] | None = None,
) -> list[float]:
    """The reward of the last answer of each conversation, a list of {role, content} that ends with it.

    `ended`: whether each answer ended by itself; one that was cut off is read without its end. Default: all
    did. A conversation longer than the model's context loses its beginning.
    """
    from pipeline.alignment.reward_scores import conversation_ids, score

    all_ended = [True] * len(conversations) if ended is None else ended
    rows = [conversation_ids(tokenizer, *each) for each in zip(conversations, all_ended, strict=True)]
    return score(model, rows, int(tokenizer.pad_token_id))


def estimated_work(config: RewardConfig, chat: Model, preferences: Preferences, compute: Compute) -> Work:
    """Each pair is two conversations; of a model that is not made yet, steps and pairs alone."""
    counts, size = preferences.counts(), size_of(chat)
    steps = config.steps_for(int(counts.get("train", 0)))
    pairs = steps * config.batch_rows
    if size is None:
        return {"steps": steps, "pairs": pairs}
    shape, pieces = size
    row_tokens = round(config.max_tokens * EXPECTED_SHARE)
    resolved = foreseen(
        compute,
        config.section,
        batch_rows=config.batch_rows,
        row_tokens=config.max_tokens * ONE_PAIR,
        vocabulary_size=pieces,
        flops=0.0,
        precision=config.precision,
    )
    tokens, evaluations = pairs * ONE_PAIR * row_tokens, config.evaluations + 2
    judged = ONE_PAIR * min(config.evaluation_rows, counts.get("held-out", 0)) * row_tokens
    way = cost.way(resolved.products)
    work = cost.added(
        cost.passes(way, shape, 1, row_tokens, tokens * resolved.share, steps),
        cost.forward(way, shape, 1, row_tokens, evaluations * judged * resolved.share, evaluations),
        cost.updates("adamw", shape, pieces, steps * resolved.share * resolved.workers),
    )
    return {
        "steps": steps,
        "pairs": pairs,
        "tokens": tokens,
        "flops": tokens * training_flops_per_token(shape, 1, row_tokens),
        **work,
    }


def _build(
    attempt: Attempt, chat: Model, preferences: Preferences, config: RewardConfig, compute: Compute
) -> Made:
    from pipeline.training.tuning import tuning_worker

    check_batch(config, preferences.record.counts["train"], compute.training_workers(attempt.stage))
    job = RewardJob(attempt, chat, config, compute.config, preferences)
    compute.train(tuning_worker, {"job": job}, attempt)
    return made_by(attempt)

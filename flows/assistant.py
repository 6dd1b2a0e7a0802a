"""From a chat model to an assistant: preferences, a model of them, training against it, and all compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.alignment.align import dpo, grpo, rloo
from pipeline.alignment.ballots import Votes
from pipeline.alignment.ppo import ppo
from pipeline.alignment.preferences import SAMPLED, Preferences, check_preferences, collect_preferences
from pipeline.alignment.reward import RewardModel, train_reward_model
from pipeline.alignment.reward_source import reward_judge
from pipeline.alignment.sampled import sample_answers
from pipeline.compute import Compute
from pipeline.evaluation.assess import assess
from pipeline.evaluation.compare import Comparison, compare
from pipeline.evaluation.evaluate import Scores
from pipeline.evaluation.judges import Judge, function_judge
from pipeline.models.model import Model
from pipeline.store import Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.conversations import Conversations, check_messages
from pipeline.user_function import load_function

if TYPE_CHECKING:
    from flows.web_to_model import WebToModel


@dataclass(frozen=True)
class Aligned:
    """What training by preferences leaves behind."""

    reward: RewardModel | None
    models: tuple[Model, ...]
    """Each made from the chat model, by another method."""


def check_given(config: "WebToModel") -> None:
    """Read the user's conversations and preferences through and load every function once, before anything is
    made.

    Raises UserFunctionError, SourceError, and the errors of pipeline.training.messages and
    pipeline.alignment.forms.
    """
    check_messages(config.conversations)
    if config.preferences is not None:
        check_preferences(config.preferences)
    for section in (config.grpo, config.rloo, config.ppo):
        if section is not None and section.reward is not None:
            load_function(section.reward, f"{section.section}.reward")
    if config.compare.judge is not None:
        function_judge(config.compare.judge, "compare.judge")


def align(
    config: "WebToModel",
    store: Store,
    chat: Model,
    conversations: Conversations,
    compute: Compute,
    votes: Votes | None = None,
) -> Aligned:
    """Every method whose section is there, each from the same chat model; by `votes`, where preferences are
    those of some time, and not what the box has now."""
    preferences = _preferences(config, store, chat, conversations, compute, votes)
    reward = None
    if config.reward is not None and preferences is not None:
        reward = train_reward_model(store, chat, preferences, config.reward, compute)
    models: list[Model] = []
    if config.dpo is not None and preferences is not None:
        models.append(dpo(store, chat, preferences, config.dpo, compute))
    if config.grpo is not None:
        models.append(grpo(store, chat, conversations, reward, config.grpo, compute))
    if config.rloo is not None:
        models.append(rloo(store, chat, conversations, reward, config.rloo, compute))
    if config.ppo is not None:
        models.append(ppo(store, chat, conversations, reward, config.ppo, compute))
    return Aligned(reward, tuple(models))


def _preferences(
    config: "WebToModel",
    store: Store,
    chat: Model,
    conversations: Conversations,
    compute: Compute,
    votes: Votes | None,
) -> Preferences | None:
    if config.preferences is None:
        return None
    answers = None
    if config.preferences.source == SAMPLED:
        answers = sample_answers(store, chat, conversations, config.answers, compute)
    return collect_preferences(store, answers, config.preferences, compute, votes)


def assess_all(
    config: "WebToModel",
    store: Store,
    models: Sequence[Model],
    reward: RewardModel | None,
    scores: Scores,
    tokens: Tokens,
    vocabulary: Vocabulary,
    conversations: Conversations,
    compute: Compute,
) -> Comparison | None:
    """A page for each model, the base first, and one with all of them; None without a section [assess]."""
    if config.assess is None:
        return None
    assessments = [
        assess(store, model, models[0], scores, tokens, vocabulary, conversations, config.assess, compute)
        for model in models
    ]
    judges: list[Judge] = []
    if config.compare.judge is not None:
        judges.append(function_judge(config.compare.judge, "compare.judge"))
    if reward is not None:
        judges.append(reward_judge(reward))
    return compare(store, assessments, judges, config.compare, compute)

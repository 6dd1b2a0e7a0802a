"""What rewards answers, as a stage names it: a reward model of the store's, or a function of the user's."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.alignment.reward import RewardModel
from pipeline.errors import InputError
from pipeline.evaluation.judges import Judge, Row
from pipeline.user_function import UserFunction, read_function

Source = RewardModel | UserFunction


class NoRewardError(InputError):
    """A training against a reward was asked for without saying what is rewarded."""

    remedy = (
        'Name a function of yours, such as reward = "rules.py:good", or let the flow train a reward model.'
    )


def reward_source(reference: str | None, model: RewardModel | None, section: str) -> Source:
    """The function that `reference` names (nothing of it is run), else the reward model.

    Raises NoRewardError, UserFunctionError.
    """
    if reference is not None:
        return read_function(reference, f"{section}.reward")
    if model is None:
        raise NoRewardError(
            f'{section} has no reward: set {section}.reward to a function of yours, such as "rules.py:good", '
            "or add a section [reward] with preferences to learn it from"
        )
    return model


def identity_of_source(source: Source) -> tuple[dict[str, RewardModel], dict[str, str]]:
    """What of the reward enters a key: as an input of the stage, or as content from outside."""
    if isinstance(source, UserFunction):
        return {}, {"reward": source.sha256, "reward function": source.name}
    return {"reward": source}, {}


@dataclass(frozen=True)
class RewardScores:
    """What a reward model says of answers, on a CPU."""

    source: RewardModel

    def __call__(self, rows: Sequence[Row]) -> list[float]:
        """Raises NonFiniteRewardError."""
        import torch

        from pipeline.alignment.rewards import Answer, LearntReward

        answers = [Answer(row["prompt"], row["answer"], row["ended"], row["tokens"]) for row in rows]
        return LearntReward(self.source, torch.device("cpu"))(answers)


def reward_judge(source: RewardModel) -> Judge:
    """The reward model as one who judges answers at the end."""
    meaning = "what the reward model has learned from the preferences: an estimate, not the preference itself"
    return Judge("reward model", RewardScores(source), source.key, meaning, source)

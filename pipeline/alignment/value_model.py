"""The critic: what reward is to be expected before each token, by a transformer of its own.

It does not share the policy's: what it learns from rewards of every size must not pull at the weights that
speak, and it begins as the reward model, which knows already what good answers have in them (Ouyang et al.,
2022, arXiv:2203.02155; Huang et al., 2024, arXiv:2403.17031). Without a reward model it begins as the
policy's transformer, and expects 0. The price is a second model in memory and in every update.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.alignment.reward_source import Source
from pipeline.user_function import UserFunction


class ValueModel(nn.Module):
    """A transformer with one output per token."""

    def __init__(self, trunk: PreTrainedModel, weight_D: Tensor, begins_as_reward: bool) -> None:
        """`trunk` gives hidden states; their product with `weight_D` is what is expected at first.

        `begins_as_reward`: whether that is in the reward's own unit.
        """
        super().__init__()
        self.trunk, self.begins_as_reward = trunk, begins_as_reward
        self.head = nn.Linear(len(weight_D), 1)
        with torch.no_grad():
            self.head.weight.copy_(weight_D[None])
            self.head.bias.zero_()

    @classmethod
    def of_reward_model(cls, model: PreTrainedModel) -> "ValueModel":
        """A copy of a sequence classifier with one label, asked at every token."""
        copied: Any = copy.deepcopy(model).requires_grad_(True)
        return cls(copied.base_model, copied.score.weight[0], begins_as_reward=True)

    @classmethod
    def of_policy(cls, model: PreTrainedModel) -> "ValueModel":
        """A copy of a language model's transformer, which expects 0."""
        copied: Any = copy.deepcopy(model.base_model).requires_grad_(True)
        nothing_D = torch.zeros(int(copied.config.get_text_config().hidden_size))
        return cls(copied, nothing_D, begins_as_reward=False)

    def count_from(self, mean: float, deviation: float) -> None:
        """Expect rewards in units of `deviation`, `mean` being 0, where they were in their own."""
        with torch.no_grad():
            self.head.bias.sub_(mean).div_(deviation)
            self.head.weight.div_(deviation)

    def forward(self, ids_BT: Tensor, seen_BT: Tensor, positions_BT: Tensor, last: int) -> Tensor:
        """What is expected behind each of the last tokens, so many: [B, last], in fp32."""
        hidden_BTD = self.trunk(
            input_ids=ids_BT, attention_mask=seen_BT, position_ids=positions_BT, use_cache=False
        ).last_hidden_state
        found: Tensor = self.head(hidden_BTD[:, -last:])[..., 0]
        return found.float()


class ActorCritic(nn.Module):
    """Policy and critic as one, so that they are saved, moved and updated together."""

    def __init__(self, policy: PreTrainedModel, critic: ValueModel) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic


def critic_of(reward: Source, policy: PreTrainedModel) -> ValueModel:
    """The critic before its first step."""
    if isinstance(reward, UserFunction):
        return ValueModel.of_policy(policy)
    model, _ = reward.load()
    if _pieces(model) != _pieces(policy):
        return ValueModel.of_policy(policy)  # it reads other tokens
    return ValueModel.of_reward_model(torch.nn.Module.to(model, torch.float32))


def _pieces(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def frozen(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that nothing trains: the reference."""
    found = copy.deepcopy(model).requires_grad_(False)
    found.train(False)
    return found

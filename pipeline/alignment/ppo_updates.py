"""One step of PPO: what was drawn becomes advantages, and these become a few updates of policy and critic.

N answers of a step, B of a micro-batch, A tokens of an answer. Every worker knows all answers of a step
and computes its share of each minibatch; gradients are summed over all tokens of a minibatch and divided
once by their number, so that the same is learned on however many workers.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.alignment import ppo_losses
from pipeline.alignment.ppo import PpoConfig
from pipeline.alignment.ppo_rollouts import Rollout, aligned, chosen, distributions, expected, in_parts
from pipeline.alignment.value_model import ActorCritic
from pipeline.models.cost import Division
from pipeline.tokens.order import batch_rows
from pipeline.training.group import Group
from pipeline.training.layout import Layout
from pipeline.training.tuning_config import NonFiniteGradientError


@dataclass(frozen=True)
class Experience:
    """A step's answers as tensors, each [N, A]; 0 behind an answer's end."""

    mask_NA: Tensor
    logprobs_NA: Tensor
    values_NA: Tensor
    advantages_NA: Tensor
    """With mean 0 and variance 1 over all tokens."""
    returns_NA: Tensor

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], scores: Sequence[float], config: PpoConfig) -> "Experience":
        """`scores`: what each whole answer is worth, without what its distance from the reference costs."""
        mask_NA = _padded([[1.0] * len(each.ids) for each in rollouts])
        logprobs_NA = _padded([each.logprobs for each in rollouts])
        values_NA = _padded([each.values for each in rollouts])
        reference_NA = _padded([each.reference_logprobs for each in rollouts])
        kl_NA = ppo_losses.log_ratios(logprobs_NA, reference_NA, mask_NA)
        rewards_NA = ppo_losses.token_rewards(torch.tensor(scores), kl_NA, mask_NA, config.kl_weight)
        advantages_NA, returns_NA = ppo_losses.advantages(
            rewards_NA, values_NA, mask_NA, config.discount, config.gae_lambda
        )
        whitened_NA = ppo_losses.whitened(advantages_NA, mask_NA)
        return cls(mask_NA, logprobs_NA, values_NA, whitened_NA, returns_NA)


@dataclass
class Updates:
    """Policy and critic with their optimizer, on one of the workers."""

    model: ActorCritic
    optimizer: torch.optim.Optimizer
    config: PpoConfig
    group: Group
    together: int
    """Answers of a micro-batch."""
    autocast: Any

    def learn(
        self, rollouts: Sequence[Rollout], scores: Sequence[float], step: int, learning_rate: float
    ) -> dict[str, float]:
        """Learn from the answers of step `step`. Every rank calls this with the same answers in one order.

        Returns what is told: `loss` (of the policy), `value_loss`, `clipped_share` of tokens, `moved` (mean
        log-ratio from before the step, in nats per token) as means over the updates, `gradient_norm` of
        the last, `explained` (share of the returns' variance that the critic foresaw).
        Raises NonFiniteGradientError.
        """
        experience = Experience.of(rollouts, scores, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        told: dict[str, float] = defaultdict(float)
        norm, made = 0.0, self.config.updates * self.config.minibatches
        for update in range(self.config.updates):
            number = step * self.config.updates + update
            order = batch_rows(self.config.seed, number, len(rollouts), len(rollouts))
            for rows in np.array_split(order, self.config.minibatches):
                part, norm = self._update(rollouts, experience, [int(row) for row in rows], step)
                for name, value in part.items():
                    told[name] += value / made
        explained = ppo_losses.explained_share(
            experience.returns_NA, experience.values_NA, experience.mask_NA
        )
        return {**told, "gradient_norm": norm, "explained": explained}

    def _update(
        self, rollouts: Sequence[Rollout], experience: Experience, rows: list[int], step: int
    ) -> tuple[dict[str, float], float]:
        """One update from the answers `rows`; what is told of it, and its gradient's norm."""
        mine = [int(row) for row in np.array_split(rows, self.group.size)[self.group.rank]]
        lengths = [len(rollouts[row].prompt_ids) + len(rollouts[row].ids) for row in mine]
        sums: dict[str, float] = defaultdict(float)
        for part in in_parts(lengths, self.together):
            loss, told = self._loss(rollouts, experience, [mine[at] for at in part])
            loss.backward()  # type: ignore[no-untyped-call]
            for name, value in told.items():
                sums[name] += value
        tokens = float(experience.mask_NA[rows].sum())
        layout = Layout(self.group, Division(self.group.size))
        norm = layout.average(self.model, 1 / tokens)
        if not bool(norm.isfinite()):
            raise NonFiniteGradientError(
                f"ppo, step {step}: the gradient's norm is {float(norm)}; the update was not made. Lower "
                f"ppo.learning_rate (now {self.config.learning_rate}) or try ppo.precision fp32"
            )
        layout.clip(self.model, norm, self.config.gradient_clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.tensor(list(sums.values()), dtype=torch.float64, device=self.group.device)
        means = (self.group.sum(totals) / tokens).tolist()
        return dict(zip(sums, means, strict=True)), float(norm)

    def _loss(
        self, rollouts: Sequence[Rollout], experience: Experience, rows: list[int]
    ) -> tuple[Tensor, dict[str, float]]:
        """Summed over the tokens of the answers `rows`, as is what is told."""
        config, device = self.config, self.group.device
        batch = aligned(
            [rollouts[row].prompt_ids for row in rows], [rollouts[row].ids for row in rows], device
        )
        A = batch.answers_BA.shape[1]

        def of(every_NA: Tensor) -> Tensor:
            return every_NA[rows, :A].to(device)

        with self.autocast():
            logprobs_BAV = distributions(self.model.policy, batch, config.temperature)
            values_BA = expected(self.model.critic, batch)
        logprobs_BA, old_BA = chosen(logprobs_BAV, batch.answers_BA), of(experience.logprobs_NA)
        policy_BA = ppo_losses.policy_losses(logprobs_BA, old_BA, of(experience.advantages_NA), config.clip)
        value_BA = ppo_losses.value_losses(
            values_BA, of(experience.values_NA), of(experience.returns_NA), config.value_clip
        )
        mask_BA = batch.mask_BA
        policy, value = (policy_BA * mask_BA).sum(), (value_BA * mask_BA).sum()
        moved_BA = ppo_losses.log_ratios(old_BA, logprobs_BA.detach(), mask_BA)
        outside_BA = ((moved_BA.neg().exp() - 1).abs() > config.clip) * mask_BA
        told = {
            "loss": float(policy.detach()),
            "value_loss": float(value.detach()),
            "moved": float(moved_BA.sum()),
            "clipped_share": float(outside_BA.sum()),
        }
        return policy + config.value_weight * value, told


def _padded(lists: Sequence[Sequence[float]]) -> Tensor:
    return pad_sequence([torch.tensor(each) for each in lists], batch_first=True)

"""What PPO computes, as pure functions of tensors (Schulman et al., 2017, arXiv:1707.06347).

B answers, A tokens of an answer; `mask_BA` is 1 where there is a token, 0 behind the answer's end. Every
answer begins in the first column. Log-probabilities are in nats.
"""

import torch
from torch import Tensor


def token_rewards(scores_B: Tensor, kl_BA: Tensor, mask_BA: Tensor, kl_weight: float) -> Tensor:
    """The reward of each token, [B, A]: what it costs to leave the reference, and at an answer's last token
    the score of the whole answer (Ouyang et al., 2022, arXiv:2203.02155; Ziegler et al., 2019,
    arXiv:1909.08593). An answer without a token has no reward.
    """
    rewards_BA = -kl_weight * kl_BA * mask_BA
    lengths_B = mask_BA.sum(1).long()
    rows_B = torch.nonzero(lengths_B)[:, 0]
    rewards_BA[rows_B, lengths_B[rows_B] - 1] += scores_B[rows_B]
    return rewards_BA


def advantages(
    rewards_BA: Tensor, values_BA: Tensor, mask_BA: Tensor, discount: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimates and returns, [B, A] each, 0 behind an answer's end
    (Schulman et al., 2015, arXiv:1506.02438). `values_BA` is what was expected before each token;
    nothing is expected behind the last one, whether the answer ended by itself or was cut.
    """
    found_BA = torch.zeros_like(rewards_BA)
    later_B = torch.zeros_like(rewards_BA[:, 0])
    next_values_B = torch.zeros_like(later_B)
    for at in reversed(range(rewards_BA.shape[1])):
        surprise_B = rewards_BA[:, at] + discount * next_values_B - values_BA[:, at]
        later_B = (surprise_B + discount * gae_lambda * later_B) * mask_BA[:, at]
        next_values_B = values_BA[:, at] * mask_BA[:, at]
        found_BA[:, at] = later_B
    return found_BA, (found_BA + values_BA) * mask_BA


def whitened(values_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """The values where the mask is 1 with mean 0 and variance 1; 0 elsewhere (Huang et al., 2024,
    arXiv:2403.17031, on advantages)."""
    count = mask_BA.sum().clamp(min=1)
    mean = (values_BA * mask_BA).sum() / count
    variance = ((values_BA - mean).square() * mask_BA).sum() / count
    return (values_BA - mean) * (variance + 1e-8).rsqrt() * mask_BA


def policy_losses(logprobs_BA: Tensor, old_logprobs_BA: Tensor, advantages_BA: Tensor, clip: float) -> Tensor:
    """The clipped surrogate of each token, to be made small, [B, A]: a token that is already `clip` likelier
    (or less likely) than when it was drawn, in the direction of its advantage, has no gradient."""
    ratios_BA = (logprobs_BA - old_logprobs_BA).exp()
    clipped_BA = ratios_BA.clamp(1 - clip, 1 + clip)
    return torch.maximum(-advantages_BA * ratios_BA, -advantages_BA * clipped_BA)


def value_losses(values_BA: Tensor, old_values_BA: Tensor, returns_BA: Tensor, clip: float) -> Tensor:
    """Half the squared error of each expectation, [B, A], where one that went further than `clip` from what
    it was counts as bad as before (Huang et al., 2024, arXiv:2403.17031, after the first PPO's code)."""
    clipped_BA = old_values_BA + (values_BA - old_values_BA).clamp(-clip, clip)
    errors_BA = torch.maximum((values_BA - returns_BA).square(), (clipped_BA - returns_BA).square())
    return 0.5 * errors_BA


def log_ratios(logprobs_BA: Tensor, other_logprobs_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Of each token, [B, A]: its mean over tokens that were drawn from the first distribution estimates the
    KL divergence from the second (k1 in Schulman, 2020, joschu.net/blog/kl-approx.html)."""
    return (logprobs_BA - other_logprobs_BA) * mask_BA


def entropies(logprobs_BAV: Tensor) -> Tensor:
    """Of each distribution over the vocabulary V, in nats: [B, A]."""
    return -(logprobs_BAV.exp() * logprobs_BAV).sum(-1)


def explained_share(returns_BA: Tensor, values_BA: Tensor, mask_BA: Tensor) -> float:
    """Of the returns' variance the share that was expected: 1 at best, 0 if the mean is as good, less if
    worse; 0 where there is no variance."""
    seen = mask_BA.bool()
    returns, errors = returns_BA[seen], (returns_BA - values_BA)[seen]
    variance = float(returns.var(correction=0)) if returns.numel() else 0.0
    return 1 - float(errors.var(correction=0)) / variance if variance > 0 else 0.0

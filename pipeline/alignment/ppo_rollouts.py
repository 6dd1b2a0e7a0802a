"""Answers that the policy drew, with all that PPO learns from: what each token was worth to whom.

B answers, A tokens of an answer, T tokens with its prompt, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.alignment.guards import Vitals, repetition
from pipeline.alignment.ppo_losses import entropies
from pipeline.alignment.rewards import Answer
from pipeline.alignment.value_model import ValueModel


@dataclass(frozen=True)
class Rollout:
    """One answer. Its lists have a number for each of its tokens."""

    answer: Answer
    prompt_ids: list[int]
    ids: list[int]
    """Of the answer, with the token that ended it."""
    reward: float
    """As it was given."""
    logprobs: list[float]
    """Of the policy that drew it."""
    reference_logprobs: list[float]
    values: list[float]
    """What the critic expected before each token."""
    entropy: float
    """Of the policy's distributions, mean over the tokens, in nats."""

    @property
    def kl(self) -> float:
        """How much likelier the answer is than to the reference, in nats: its mean estimates the KL
        divergence per answer."""
        return sum(self.logprobs) - sum(self.reference_logprobs)


def told_of(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What the answers are like on average, as the journal has it."""
    return {
        "reward": fmean(each.reward for each in rollouts),
        "kl": fmean(each.kl for each in rollouts),
        "entropy": fmean(each.entropy for each in rollouts),
        "answer_tokens": fmean(each.answer.tokens for each in rollouts),
        "ended_share": fmean(each.answer.ended for each in rollouts),
        "repetition": fmean(repetition(each.ids) for each in rollouts),
    }


def vitals_of(told: Mapping[str, float]) -> Vitals:
    """What guards look at of it."""
    return Vitals(
        tokens=told["answer_tokens"], repetition=told["repetition"], kl=told["kl"], entropy=told["entropy"]
    )


@dataclass(frozen=True)
class Aligned:
    """Prompts padded on the left, answers on the right, so that all answers begin in the same column."""

    ids_BT: Tensor
    seen_BT: Tensor
    """1 where there is a token."""
    positions_BT: Tensor
    answers_BA: Tensor
    mask_BA: Tensor
    """1.0 where there is a token."""


def aligned(prompts: Sequence[list[int]], answers: Sequence[list[int]], device: torch.device) -> Aligned:
    """Every answer needs a token at least."""
    before = max(len(prompt) for prompt in prompts)
    behind = max(len(answer) for answer in answers)
    ids, seen = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        left, right = before - len(prompt), behind - len(answer)
        ids.append([0] * left + prompt + answer + [0] * right)
        seen.append([0] * left + [1] * (len(prompt) + len(answer)) + [0] * right)
    ids_BT, seen_BT = torch.tensor(ids, device=device), torch.tensor(seen, device=device)
    return Aligned(
        ids_BT,
        seen_BT,
        (seen_BT.cumsum(1) - 1).clamp(min=0),
        ids_BT[:, before:],
        seen_BT[:, before:].float(),
    )


def distributions(policy: PreTrainedModel, batch: Aligned, temperature: float) -> Tensor:
    """Log-probabilities of every token of the vocabulary at every place of the answers, [B, A, V]."""
    logits_BAV = policy(
        input_ids=batch.ids_BT,
        attention_mask=batch.seen_BT,
        position_ids=batch.positions_BT,
        use_cache=False,
        logits_to_keep=batch.answers_BA.shape[1] + 1,
    ).logits[:, :-1]
    return torch.log_softmax(logits_BAV.float() / temperature, -1)


def chosen(logprobs_BAV: Tensor, answers_BA: Tensor) -> Tensor:
    """Those of the answers' tokens, [B, A]."""
    return logprobs_BAV.gather(-1, answers_BA[..., None])[..., 0]


def expected(critic: ValueModel, batch: Aligned) -> Tensor:
    """What the critic expects before each token of the answers, [B, A]."""
    last = batch.answers_BA.shape[1] + 1
    found: Tensor = critic(batch.ids_BT, batch.seen_BT, batch.positions_BT, last)
    return found[:, :-1]


@dataclass(frozen=True)
class Scored:
    """What three models make of one answer, a number for each of its tokens."""

    logprobs: list[float]
    reference_logprobs: list[float]
    values: list[float]
    entropy: float


@torch.inference_mode()
def scored(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    critic: ValueModel,
    prompts: Sequence[list[int]],
    answers: Sequence[list[int]],
    *,
    temperature: float,
    together: int,
    autocast: Any,
) -> list[Scored]:
    """Each answer by policy, reference and critic, so many `together`."""
    found: dict[int, Scored] = {}
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    for rows in in_parts(lengths, together):
        batch = aligned([prompts[row] for row in rows], [answers[row] for row in rows], policy.device)
        with autocast():
            logprobs_BAV = distributions(policy, batch, temperature)
            reference_BA = chosen(distributions(reference, batch, temperature), batch.answers_BA)
            values_BA = expected(critic, batch)
        entropies_BA = entropies(logprobs_BAV)
        every = [chosen(logprobs_BAV, batch.answers_BA), reference_BA, values_BA, entropies_BA]
        for row, *lists in zip(rows, *(each.tolist() for each in every), strict=True):
            logprobs, references, values, spread = (each[: len(answers[row])] for each in lists)
            found[row] = Scored(logprobs, references, values, fmean(spread))
    return [found[row] for row in range(len(prompts))]


def in_parts(lengths: Sequence[int], most: int) -> list[list[int]]:
    """The numbers of texts in parts of at most so many, those of like length together."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return [order[start : start + most] for start in range(0, len(order), most)]

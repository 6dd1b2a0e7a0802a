"""Which of several answers a model finds likeliest.

B prompts, C choices of each, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, PreTrainedModel

TOGETHER = 32


@torch.inference_mode()
def choice_nats(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
    together: int = TOGETHER,
) -> list[list[float]]:
    """Minus the log probability (nats, over all its tokens) of every choice after its prompt.

    Each prompt is read once, whatever the number of its choices, which all prompts have the same
    number of. Prompts of like length are read together, padded on the left.
    """
    found: list[list[float]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), together):
        rows = order[start : start + together]
        nats = _batch(model, [prompts[row] for row in rows], [choices[row] for row in rows])
        for row, values in zip(rows, nats.tolist(), strict=True):
            found[row] = values
    return found


def _batch(
    model: PreTrainedModel, prompts: list[Sequence[int]], choices: list[Sequence[Sequence[int]]]
) -> Tensor:
    """Shape (B, C), float64."""
    longest, count = max(map(len, prompts)), len(choices[0])
    ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
    seen_BT = torch.zeros_like(ids_BT)
    for at, prompt in enumerate(prompts):
        ids_BT[at, longest - len(prompt) :] = torch.tensor(prompt)
        seen_BT[at, longest - len(prompt) :] = 1
    cache: Any = DynamicCache(config=model.config)
    logits_BV = _logits(model, ids_BT, seen_BT, cache, last=1)[:, -1]
    flat = [list(choice) for each in choices for choice in each]
    first = torch.tensor([choice[0] for choice in flat])
    nats = cross_entropy(logits_BV.repeat_interleave(count, 0), first, reduction="none")
    if (more := max(map(len, flat)) - 1) > 0:
        cache.batch_repeat_interleave(count)
        nats = nats + _rest(model, flat, more, seen_BT.repeat_interleave(count, 0), cache)
    return nats.double().view(len(prompts), count)


def _rest(model: PreTrainedModel, flat: list[list[int]], more: int, seen: Tensor, cache: Any) -> Tensor:
    """Nats of each choice's tokens after its first, shape (B times C)."""
    ids = torch.zeros(len(flat), more + 1, dtype=torch.long)
    for at, choice in enumerate(flat):
        ids[at, : len(choice)] = torch.tensor(choice)
    inside = torch.arange(1, more + 1) < torch.tensor([[len(choice)] for choice in flat])
    seen = torch.cat([seen, torch.ones(len(flat), more, dtype=torch.long)], 1)
    logits = _logits(model, ids[:, :-1], seen, cache, last=0)
    nats = cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (nats * inside).sum(1)


def _logits(model: PreTrainedModel, ids_BT: Tensor, seen_BT: Tensor, cache: Any, last: int) -> Tensor:
    """On the CPU in float32; of the last position alone where `last` is 1, of all where it is 0."""
    positions_BT = (seen_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
    logits: Tensor = model(
        input_ids=ids_BT.to(model.device),
        attention_mask=seen_BT.to(model.device),
        position_ids=positions_BT.to(model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=last,
    ).logits
    return logits.float().cpu()

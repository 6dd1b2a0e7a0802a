"""Conversations as a reward model reads them, and its number for each.

B conversations, T tokens.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.generation import context_tokens, stop_ids
from pipeline.training.chat_rows import chat_row

SCORED_TOGETHER = 32


def conversation_ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], ended: bool
) -> list[int]:
    """The conversation as the chat template writes it; without the end marker of an answer that was cut off,
    which is how the model sees that it was."""
    ids = chat_row(tokenizer, messages).ids
    if not ended and ids[-1] in stop_ids(tokenizer):
        ids = ids[:-1]
    return ids


@torch.no_grad()
def score(
    model: PreTrainedModel,
    rows: Sequence[list[int]],
    pad: int,
    autocast: Callable[[], Any] = contextlib.nullcontext,
) -> list[float]:
    """The reward of each row of ids, read at its last token. Rows of like length go together."""
    found = [0.0] * len(rows)
    longest = context_tokens(model)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(order), SCORED_TOGETHER):
        part = order[start : start + SCORED_TOGETHER]
        ids = [torch.tensor(rows[index][-longest:]) for index in part]
        ids_BT = pad_sequence(ids, batch_first=True, padding_value=pad).to(model.device)
        seen_BT = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True).to(model.device)
        with autocast():
            rewards_B1 = model(input_ids=ids_BT, attention_mask=seen_BT, use_cache=False).logits
        for index, reward in zip(part, rewards_B1[:, 0].float().tolist(), strict=True):
            found[index] = reward
    return found

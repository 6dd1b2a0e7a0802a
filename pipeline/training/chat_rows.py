"""Conversations as token ids with labels on the answers alone, and how well a model knows such answers.

B conversations, T tokens, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.tokens.markers import TURN_END
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.finetune import NoChatTemplateError
from pipeline.training.group import Group

SCORED_TOGETHER = 32


@dataclass(frozen=True)
class ChatRow:
    """One conversation. `labels` repeats an id where the assistant speaks, up to and with its `<|end|>`."""

    ids: list[int]
    labels: list[int]


def chat_row(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> ChatRow:
    """The conversation as the chat template writes it. Raises NoChatTemplateError."""
    if not tokenizer.chat_template or "generation" not in str(tokenizer.chat_template):
        raise NoChatTemplateError(
            "the base model's tokenizer has no chat template with {% generation %} around the assistant's "
            "words; make the base model with this version, or give its tokenizer one"
        )
    written: Any = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, spoken = list(written["input_ids"]), written["assistant_masks"]
    labels = [index if mask else NO_LABEL for index, mask in zip(ids, spoken, strict=True)]
    if labels[-1] != tokenizer.convert_tokens_to_ids(TURN_END):
        raise NoChatTemplateError(
            f"the chat template does not count {TURN_END} to the assistant's words, so answers would never "
            "end; put it inside {% generation %}"
        )
    return ChatRow(ids, labels)


@dataclass(frozen=True)
class ChatRows:
    """Conversations as rows, and what became of those that are longer than a row may be."""

    rows: list[ChatRow]
    too_long: int = 0
    """Left out: whole, or because nothing of an answer was left after the cut."""
    cut: int = 0
    """Those of `rows` that lost their end."""


TooLong = Literal["leave_out", "cut"]


def chat_rows(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Iterable[dict[str, Any]],
    max_tokens: int,
    too_long: TooLong = "leave_out",
) -> ChatRows:
    """All conversations, in order, in at most `max_tokens` each. Every row has something to learn."""
    rows: list[ChatRow] = []
    left_out, cut = 0, 0
    for conversation in conversations:
        row = chat_row(tokenizer, conversation["messages"])
        if len(row.ids) > max_tokens:
            row = ChatRow(row.ids[:max_tokens], row.labels[:max_tokens])
            if too_long == "leave_out" or all(label == NO_LABEL for label in row.labels):
                left_out += 1
                continue
            cut += 1
        rows.append(row)
    return ChatRows(rows, left_out, cut)


def prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """The ids after which the model answers the question."""
    written: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(written["input_ids"])


def answer_losses(
    model: PreTrainedModel, rows: Sequence[ChatRow], autocast: Any, pad: int
) -> list[tuple[float, int]]:
    """For every conversation: the negative log-likelihood of its answers in nats, and their tokens."""
    found: list[tuple[float, int]] = []
    for start in range(0, len(rows), SCORED_TOGETHER):
        part = rows[start : start + SCORED_TOGETHER]
        ids_BT = _padded([row.ids for row in part], pad, model.device)
        labels_BT = _padded([row.labels for row in part], NO_LABEL, model.device)
        seen_BT = _padded([[1] * len(row.ids) for row in part], 0, model.device)
        with torch.no_grad(), autocast():
            logits_BTV = model(input_ids=ids_BT, attention_mask=seen_BT, use_cache=False).logits[:, :-1]
        losses_BT = F.cross_entropy(
            logits_BTV.float().transpose(1, 2), labels_BT[:, 1:], ignore_index=NO_LABEL, reduction="none"
        )
        counts_B = (labels_BT[:, 1:] != NO_LABEL).sum(1)
        found += list(zip(losses_BT.double().sum(1).tolist(), counts_B.tolist(), strict=True))
    return found


def held_out_loss(
    model: PreTrainedModel, rows: Sequence[ChatRow], autocast: Any, pad: int, group: Group
) -> float:
    """Mean negative log-likelihood per token of the answers, in nats; every rank scores its share."""
    share = np.array_split(np.arange(len(rows)), group.size)[group.rank]
    losses = answer_losses(model, [rows[index] for index in share], autocast, pad)
    total = torch.tensor(
        [sum(loss for loss, _ in losses), sum(count for _, count in losses)],
        dtype=torch.float64,
        device=group.device,
    )
    loss, tokens = group.sum(total).tolist()
    return float(loss / max(1.0, tokens))


def _padded(lists: list[list[int]], value: int, device: torch.device) -> torch.Tensor:
    tensors = [torch.tensor(item) for item in lists]
    return pad_sequence(tensors, batch_first=True, padding_value=value).to(device)

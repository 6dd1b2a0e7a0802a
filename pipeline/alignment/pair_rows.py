"""Preferences as token ids: a prompt with the answer that was preferred, and with the one that was not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipeline.models.generation import stop_ids
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.chat_rows import ChatRow, chat_row


@dataclass(frozen=True)
class PairRow:
    """One pair. An answer ends with its `<|end|>`, unless it was cut off when it was sampled."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Of the longer of the two conversations."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    def rows(self) -> tuple[ChatRow, ChatRow]:
        """Both conversations, with labels on the answers alone."""
        no_labels = [NO_LABEL] * len(self.prompt)
        return (
            ChatRow(self.prompt + self.chosen, no_labels + self.chosen),
            ChatRow(self.prompt + self.rejected, no_labels + self.rejected),
        )


@dataclass(frozen=True)
class PairRows:
    """Pairs that can be learned from, and how many were left out."""

    rows: list[PairRow]
    equal: int
    """Pairs whose two answers are the same ids, of which nothing can be learned."""
    too_long: int


def pair_rows(
    tokenizer: PreTrainedTokenizerBase, pairs: Iterable[Mapping[str, Any]], max_tokens: int
) -> PairRows:
    """All pairs of different answers that fit into `max_tokens`, in order. Raises NoChatTemplateError."""
    rows: list[PairRow] = []
    equal = too_long = 0
    for pair in pairs:
        row = pair_row(tokenizer, pair)
        if row.chosen == row.rejected:
            equal += 1
        elif row.tokens > max_tokens:
            too_long += 1
        else:
            rows.append(row)
    return PairRows(rows, equal, too_long)


def pair_row(tokenizer: PreTrainedTokenizerBase, pair: Mapping[str, Any]) -> PairRow:
    """The pair as the chat template writes it.

    `chosen_ended` and `rejected_ended` say False of an answer that was cut off: it has no end to learn.
    """
    messages = [dict(message) for message in pair["prompt"]]
    prompt, chosen = _answered(tokenizer, messages, pair["chosen"], pair.get("chosen_ended", True))
    _, rejected = _answered(tokenizer, messages, pair["rejected"], pair.get("rejected_ended", True))
    return PairRow(prompt, chosen, rejected)


def _answered(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], answer: str, ended: bool
) -> tuple[list[int], list[int]]:
    """The ids before the last answer, and those of it."""
    row = chat_row(tokenizer, [*messages, {"role": "assistant", "content": answer}])
    end = len(row.ids)
    start = end
    while start and row.labels[start - 1] != NO_LABEL:
        start -= 1
    if not ended and row.ids[-1] in stop_ids(tokenizer):
        end -= 1
    return row.ids[:start], row.ids[start:end]

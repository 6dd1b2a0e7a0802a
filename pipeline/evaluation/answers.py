"""Held-out questions: does the chat model end its answers, and does it know which answer is whose?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.likelihood import token_nats
from pipeline.evaluation.tasks.prompts import PromptForm
from pipeline.evaluation.words import draw_number
from pipeline.models.generation import (
    answer_greedily,
    context_tokens,
    document_end,
    encode,
    piece_bytes,
    stop_ids,
)


@dataclass(frozen=True)
class Exchange:
    """A conversation up to the assistant's last turn, and that turn."""

    language: str
    messages: tuple[dict[str, str], ...]
    answer: str
    id: str

    @property
    def question(self) -> str:
        return self.messages[-1]["content"]


def read_exchanges(paths: Iterable[Path], count: int, seed: int) -> list[Exchange]:
    """`count` conversations that end with the assistant, drawn by a hash of seed and id."""
    drawn: dict[int, Exchange] = {}
    for path in paths:
        for row in pq.read_table(path, columns=["id", "language", "messages"]).to_pylist():
            *before, last = row["messages"] or [{"role": None}]
            if before and last["role"] == "assistant":
                messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in before)
                exchange = Exchange(row["language"] or "", messages, last["content"], row["id"])
                drawn.setdefault(draw_number(seed, row["id"]), exchange)
    return [drawn[ticket] for ticket in sorted(drawn)[:count]]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> list[int]:
    """The conversation as ids, ready for the assistant's turn."""
    return _ids(tokenizer, list(messages), add_generation_prompt=True)


def _ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], add_generation_prompt: bool
) -> list[int]:
    found: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
    )
    return [int(index) for index in found]


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    """Without the end marker."""
    ended: bool
    """By the end marker of a turn (of a text: of a document), within the limit."""


def asked_ids(tokenizer: PreTrainedTokenizerBase, exchange: Exchange, form: PromptForm) -> list[int]:
    """What the model is given. As a text: what was said, a paragraph for each turn."""
    if form == "chat":
        return prompt_ids(tokenizer, exchange.messages)
    return encode(tokenizer, "".join(f"{turn['content']}\n\n" for turn in exchange.messages))


def asked_in(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    exchange: Exchange,
    max_tokens: int,
    form: PromptForm,
) -> list[int]:
    """What the model is given, without so much of its beginning that an answer of `max_tokens` fits into
    the context, or one of half of it."""
    context = context_tokens(model)
    return asked_ids(tokenizer, exchange, form)[-max(context - max_tokens, context // 2) :]


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    exchanges: Sequence[Exchange],
    max_tokens: int,
    form: PromptForm = "chat",
) -> list[Answer]:
    """The model's likeliest answer to each question, the end of a document ending it as well."""
    prompts = [asked_in(model, tokenizer, exchange, max_tokens, form) for exchange in exchanges]
    stop = stop_ids(tokenizer) if form == "chat" else document_end(tokenizer)
    found = answer_greedily(model, prompts, max_tokens=max_tokens, stop=stop)
    pieces = piece_bytes(tokenizer)
    return [
        Answer(
            text=b"".join(pieces[token] for token in ids).decode("utf-8", "replace"),
            tokens=sum(token not in stop for token in ids),
            ended=ids[-1:] == stop[:1],
        )
        for ids in found
    ]


def own_against_shuffled(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, exchanges: Sequence[Exchange]
) -> dict[str, float]:
    """How well questions and answers go together in the model's eyes, in nats per token of the answer.

    Each question is paired with its own answer and with that of the next question drawn of the
    same language: the same answers in both sets, but for a few that are equal. Shares: of questions
    whose own answer is the likelier of the two; of answers that are likelier after their own
    question than after the other one. Empty where no language has two different answers.
    """
    others = _next_of_language(exchanges)
    asked = [exchange for exchange, other in zip(exchanges, others, strict=True) if other is not None]
    shuffled = [other for other in others if other is not None]
    if not asked:
        return {}
    limit = context_tokens(model)
    own = [_mean_nats(model, tokenizer, exchange, exchange.answer, limit) for exchange in asked]
    other = [
        _mean_nats(model, tokenizer, exchange, given.answer, limit)
        for exchange, given in zip(asked, shuffled, strict=True)
    ]
    at = {id(exchange): index for index, exchange in enumerate(asked)}
    own_of_given = [own[at[id(given)]] for given in shuffled]
    return {
        "questions": len(asked),
        "own_nats_per_token": fmean(own),
        "shuffled_nats_per_token": fmean(other),
        "own_likelier_share": fmean(a < b for a, b in zip(own, other, strict=True)),
        "question_helps_share": fmean(a < b for a, b in zip(own_of_given, other, strict=True)),
    }


def _next_of_language(exchanges: Sequence[Exchange]) -> list[Exchange | None]:
    """For each, the next of its language with another answer, round the end; None if there is none."""
    found: list[Exchange | None] = []
    for place, exchange in enumerate(exchanges):
        circle = [*exchanges[place + 1 :], *exchanges[:place]]
        fitting = (
            other
            for other in circle
            if other.language == exchange.language and other.answer != exchange.answer
        )
        found.append(next(fitting, None))
    return found


def _mean_nats(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, exchange: Exchange, answer: str, limit: int
) -> float:
    """Mean over the tokens of the answer and its end marker, as far as the context reaches."""
    prompt = prompt_ids(tokenizer, exchange.messages)
    turn = {"role": "assistant", "content": answer}
    whole = _ids(tokenizer, [*exchange.messages, turn], add_generation_prompt=False)
    kept = prompt[-(limit // 2) :]
    ids = [*kept, *whole[len(prompt) :]][:limit]
    return fmean(token_nats(model, [ids])[0][len(kept) - 1 :])

"""Prompts to answer: conversations without their last answer, as token ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipeline.training.tuning import spread

Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """What the model answers to."""

    messages: list[Message]
    """Up to the last turn of the user's."""
    ids: list[int]
    """As the chat template writes them, up to where the answer begins."""
    row: dict[str, Any]
    """What else is known of it: id, url, language."""

    @property
    def question(self) -> str:
        return self.messages[-1]["content"]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """The ids after which the model answers."""
    written: Any = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(written["input_ids"])


def prompts_of(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Mapping[str, Any]], most_tokens: int
) -> tuple[list[Prompt], int]:
    """The prompts of conversations or preferences of at most so many tokens, each once, in order; and how
    many were longer."""
    prompts: list[Prompt] = []
    seen: set[tuple[int, ...]] = set()
    too_long = 0
    for row in rows:
        messages = before_the_answer(row)
        ids = prompt_ids(tokenizer, messages)
        if tuple(ids) in seen:
            continue
        seen.add(tuple(ids))
        if len(ids) > most_tokens:
            too_long += 1
        else:
            known = {name: row[name] for name in ("id", "url", "language") if name in row}
            prompts.append(Prompt(messages, ids, known))
    return prompts, too_long


def before_the_answer(row: Mapping[str, Any]) -> list[Message]:
    """A preference's prompt; a conversation up to its last turn of the user's."""
    messages = [dict(message) for message in (row["prompt"] if "prompt" in row else row["messages"])]
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    return messages


def apart(prompts: Sequence[Prompt], count: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to learn from, and those to judge by, evenly spread: so many, a quarter of all at most."""
    watched = spread(prompts, min(count, len(prompts) // 4))
    kept_apart = {id(prompt) for prompt in watched}
    return [prompt for prompt in prompts if id(prompt) not in kept_apart], watched

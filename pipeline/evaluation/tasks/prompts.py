"""From questions to ids that fit into the context: by the chat template, or as text to be continued."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from random import Random
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from pipeline.evaluation.tasks.items import Item
from pipeline.models.generation import document_end, encode, piece_bytes, stop_ids
from pipeline.tokens.markers import markers_of, neutralise

PromptForm = Literal["chat", "text"]
"""chat: turns of the chat template; text: question, a line `Answer: …`, an empty line between examples."""


@dataclass(frozen=True)
class Prompt:
    """What is given to the model for one item."""

    ids: list[int]
    examples: int
    """That are shown: as many as were asked for, or as the context holds."""
    cut: bool
    """The question alone was too long, and its beginning is left out."""


@dataclass(frozen=True)
class Writer:
    """Writes the prompts of one model in one form."""

    tokenizer: PreTrainedTokenizerBase
    form: PromptForm

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of each id."""
        return piece_bytes(self.tokenizer)

    def prompt(self, item: Item, examples: Sequence[Item], room: int) -> Prompt:
        """The item after its examples, in at most `room` ids.

        Examples that do not fit are left out, the first ones first; then the question's own beginning.
        """
        for first in range(len(examples) + 1):
            shown = examples[first:]
            ids = self._ids(item, shown)
            if len(ids) <= room:
                return Prompt(ids, len(shown), cut=False)
        return Prompt([ids[0], *ids[len(ids) - room + 1 :]], 0, cut=True)

    def choices(self, item: Item) -> list[list[int]]:
        """The ids of each of the item's choices, as they follow its prompt."""
        if self.form == "text":
            before = self._ids(item, ())
            return [self._after(before, f"{self._text(item, ())} {choice}") for choice in item.choices]
        return [self._spoken(item, choice) for choice in item.choices]

    def ends(self, one_line: bool) -> set[int]:
        """The ids that end an answer: in text a new line too, where an answer has one line."""
        if self.form == "chat":
            return set(stop_ids(self.tokenizer))
        pieces = self.pieces if one_line else []
        return {
            *document_end(self.tokenizer),
            *(index for index, piece in enumerate(pieces) if b"\n" in piece),
        }

    def _ids(self, item: Item, examples: Sequence[Item]) -> list[int]:
        if self.form == "text":
            return encode(self.tokenizer, self._text(item, examples))
        return self._templated(self._messages(item, examples), add_generation_prompt=True)

    def _templated(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> list[int]:
        found: Any = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
        )
        return [int(index) for index in found]

    def _spoken(self, item: Item, choice: str) -> list[int]:
        """The choice as the assistant's turn, without what ends it."""
        before, turn = self._ids(item, ()), {"role": "assistant", "content": choice}
        whole = self._templated([*self._messages(item, ()), turn], add_generation_prompt=False)
        ends = self.ends(one_line=False)
        rest = list(takewhile(lambda index: index not in ends, whole[len(before) :]))
        return rest if rest and whole[: len(before)] == before else self._encode(choice)

    def _text(self, item: Item, examples: Sequence[Item]) -> str:
        before = [f"{example.question}\n{example.label} {example.answers[0]}" for example in examples]
        return "\n\n".join([*before, f"{item.question}\n{item.label}"])

    def _messages(self, item: Item, examples: Sequence[Item]) -> list[dict[str, str]]:
        turns: list[dict[str, str]] = []
        for example in examples:
            turns.append({"role": "user", "content": example.question})
            turns.append({"role": "assistant", "content": example.answers[0]})
        return [*turns, {"role": "user", "content": item.question}]

    def _encode(self, text: str) -> list[int]:
        harmless = neutralise(text, markers_of(self.tokenizer))
        return [int(index) for index in self.tokenizer.encode(harmless, add_special_tokens=False)]

    def _after(self, before: list[int], whole: str) -> list[int]:
        """What the whole text has more; by itself where the two do not begin alike."""
        ids = encode(self.tokenizer, whole)
        if ids[: len(before)] == before and len(ids) > len(before):
            return ids[len(before) :]
        return self._encode(whole[whole.rindex(" ") :])


def draw_examples(item: Item, examples: Sequence[Item], shots: int, seed: int) -> list[Item]:
    """`shots` examples for this item, others for another item, the same each time."""
    return Random(f"{seed} {item.id}").sample(list(examples), min(shots, len(examples)))


def decode(pieces: Sequence[bytes], ids: Sequence[int], ends: Collection[int], one_line: bool) -> str:
    """What was written, up to its end; of a one-line answer its first line that has anything in it."""
    kept = ids[:-1] if ids and ids[-1] in ends and b"\n" not in pieces[ids[-1]] else ids
    text = b"".join(pieces[index] for index in kept).decode("utf-8", "replace").strip()
    return text.split("\n", 1)[0].strip() if one_line else text


def as_read(item: Item, examples: Sequence[Item]) -> str:
    """The prompt for people: each example with its answer, then the question."""
    before = [f"{example.question}\n→ {example.answers[0]}" for example in examples]
    return "\n\n".join([*before, item.question])

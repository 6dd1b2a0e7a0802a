"""A conversation of several turns, kept within what the model can see."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.generation import context_tokens, piece_bytes, stop_ids, stream


@dataclass(frozen=True)
class Sampling:
    """How answers and continuations are drawn."""

    temperature: float = 0.7
    """0 takes the likeliest token each time."""
    top_k: int | None = None
    top_p: float | None = 0.9
    max_tokens: int = 256
    seed: int = 0


@dataclass
class Conversation:
    """Turns of user and assistant, and the model that takes the assistant's."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling = field(default_factory=Sampling)
    messages: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pieces = piece_bytes(self.tokenizer)

    def reset(self) -> None:
        """Forget all turns."""
        self.messages.clear()

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer, streamed. What was given of it is kept as a turn, also when the reader stops early."""
        self.messages.append({"role": "user", "content": question})
        prompt = self.prompt()
        given: list[str] = []
        answer = stream(
            self.model,
            self.tokenizer,
            prompt,
            max_tokens=self.sampling.max_tokens,
            stop=stop_ids(self.tokenizer),
            temperature=self.sampling.temperature,
            top_k=self.sampling.top_k,
            top_p=self.sampling.top_p,
            seed=self.sampling.seed + len(self.messages),
            pieces=self.pieces,
        )
        try:
            for characters in answer:
                given.append(characters)
                yield characters
        finally:
            self.messages.append({"role": "assistant", "content": "".join(given)})

    def prompt(self) -> list[int]:
        """The ids of as many of the last turns as leave room for an answer.

        Whole turns are dropped from the beginning, so that the rest begins with a question. If
        the last question alone is too long, its beginning is cut off.
        """
        context = context_tokens(self.model)
        room = max(context - self.sampling.max_tokens, context // 2)
        kept = list(self.messages)
        while len(ids := self._ids(kept)) > room and len(kept) > 1:
            kept = kept[2:]
        return ids if len(ids) <= room else [ids[0], *ids[-(room - 1) :]]

    def _ids(self, messages: list[dict[str, str]]) -> list[int]:
        found: Any = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return [int(index) for index in found]

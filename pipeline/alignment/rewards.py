"""What an answer is worth, as one callable: a reward model of the store's, or a function of the user's."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from pipeline.alignment.prompts import Prompt
from pipeline.alignment.reward import RewardModel
from pipeline.alignment.reward_source import Source
from pipeline.errors import MoinhoError, StageError
from pipeline.models.generation import Sampled
from pipeline.training.group import Group
from pipeline.user_function import FunctionProcess, UserFunction

T = TypeVar("T")


class NonFiniteRewardError(StageError):
    """The reward model gave NaN or infinity for an answer."""

    passes = False
    remedy = "Train the reward model with a lower reward.learning_rate, or with reward.precision fp32."


@dataclass(frozen=True)
class Answer:
    """An answer that is to be rewarded."""

    prompt: list[dict[str, str]]
    """The messages before it, {role, content} each; the last is the user's."""
    text: str
    ended: bool
    """Whether it ended by itself, rather than at the longest that was let."""
    tokens: int
    """Its tokens, the one that ended it left out."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of the prompt, as JSON types: id, url, language."""

    @classmethod
    def to(cls, prompt: Prompt, drawn: Sampled, tokenizer: PreTrainedTokenizerBase) -> "Answer":
        """What was drawn for a prompt."""
        said = drawn.ids[:-1] if drawn.ended else drawn.ids
        text: Any = tokenizer.decode(said, skip_special_tokens=True)
        return cls(prompt.messages, text, drawn.ended, len(said), prompt.row)


class Reward(Protocol):
    """Gives each answer a number; more is better."""

    def __call__(self, answers: Sequence[Answer]) -> list[float]: ...


def open_reward(source: Source, device: torch.device, timeout_seconds: float) -> Reward:
    """The reward, ready to be asked. A function's process is started at the first question; it ends with
    the object, or with whoever holds it."""
    if isinstance(source, UserFunction):
        return FunctionReward(source, timeout_seconds)
    return LearntReward(source, device)


def on_all(group: Group, action: Callable[[], T]) -> list[T]:
    """What the action gave on every rank, by rank. If it raised on one, all ranks raise that: none waits for
    the others in vain."""
    mine: T | None = None
    fault: MoinhoError | None = None
    try:
        mine = action()
    except MoinhoError as error:
        fault = error
    found: list[tuple[Any, MoinhoError | None]] = group.gather((mine, fault))
    for _, raised in found:
        if raised is not None:
            raise raised
    return [given for given, _ in found]


class LearntReward:
    """A reward model's scores."""

    def __init__(self, source: RewardModel, device: torch.device) -> None:
        self.name = source.base
        self.model, self.tokenizer = source.load()
        torch.nn.Module.to(self.model, device)
        self.model.requires_grad_(False).train(False)

    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        """Raises NonFiniteRewardError."""
        from pipeline.alignment.reward import rewards

        texts = [[*each.prompt, {"role": "assistant", "content": each.text}] for each in answers]
        found = rewards(self.model, self.tokenizer, texts, [each.ended for each in answers])
        for value, answer in zip(found, answers, strict=True):
            if not torch.isfinite(torch.tensor(value)):
                raise NonFiniteRewardError(
                    f"the reward model {self.name} gave {value} for the answer {answer.text!r} to "
                    f"{answer.prompt[-1]['content']!r}"
                )
        return found


class FunctionReward:
    """A user's function in its child process."""

    def __init__(self, function: UserFunction, timeout_seconds: float) -> None:
        self.process = FunctionProcess(function, timeout_seconds)
        weakref.finalize(self, FunctionProcess.close, self.process)

    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        """Raises the errors of pipeline.user_function, with the function's name, prompt and answer."""
        rows = [
            {
                **each.row,
                "prompt": each.prompt,
                "answer": each.text,
                "ended": each.ended,
                "tokens": each.tokens,
            }
            for each in answers
        ]
        return [float(value) for value in self.process(rows)]

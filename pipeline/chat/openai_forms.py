"""What OpenAI's interface, version 1, takes and gives (platform.openai.com/docs/api-reference)."""

import time
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.chat.answering import Message, Part

NOT_DONE = {
    "n": "one answer at a time is given: leave n out, or ask again",
    "tools": "tools are not called: leave them out",
    "functions": "functions are not called: leave them out",
    "logprobs": "logprobs are not told: leave them out",
    "best_of": "one answer is drawn: leave best_of out",
    "suffix": "what follows a gap is not taken into account: leave suffix out",
    "response_format": "answers are text: leave response_format out",
    "frequency_penalty": "repetition is not punished: leave frequency_penalty out",
    "presence_penalty": "repetition is not punished: leave presence_penalty out",
    "logit_bias": "single tokens are not favoured: leave logit_bias out",
}
"""Settings of the interface that would change an answer, and are refused where they are set."""
HARMLESS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "tools": ([],),
    "functions": ([],),
    "logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
}
"""Their values that ask for nothing."""

MOST_STOPS = 4
"""Texts that end an answer, as with OpenAI."""


class Asked(BaseModel):
    """What both kinds of requests may say."""

    model_config = ConfigDict(extra="allow")

    model: str = ""
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    @property
    def stops(self) -> list[str]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in given if text]

    @property
    def tells_usage(self) -> bool:
        return bool((self.stream_options or {}).get("include_usage"))

    def refused(self) -> tuple[str, str] | None:
        """A setting that is not heeded here and would change the answer, and what to do."""
        for name, advice in NOT_DONE.items():
            value = (self.model_extra or {}).get(name)
            if value is not None and value not in HARMLESS.get(name, ()):
                return name, advice
        return None


class ChatAsked(Asked):
    """The body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


class TextAsked(Asked):
    """The body of /v1/completions."""

    prompt: str | list[str] = ""
    max_tokens: int | None = Field(default=16, ge=1)
    echo: bool = False


class Form:
    """How an answer is written; each kind of request has its own."""

    kind: str
    chunk: str

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    prefix = "cmpl"

    def begin(self) -> list[dict[str, Any]]:
        """Events before the first part."""
        return []

    def choice(self, text: str, reason: str | None, is_part: bool) -> dict[str, Any]:
        raise NotImplementedError

    def whole(self, text: str, last: Part) -> dict[str, Any]:
        return self.head | {
            "object": self.kind,
            "choices": [self.choice(text, last.reason, False)],
            "usage": self._usage(last.used),
        }

    def part(self, part: Part) -> dict[str, Any]:
        return self.head | {"object": self.chunk, "choices": [self.choice(part.text, part.reason, True)]}

    def usage(self, used: int) -> dict[str, Any]:
        return self.head | {"object": self.chunk, "choices": [], "usage": self._usage(used)}

    def _usage(self, used: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": used,
            "total_tokens": self.prompt_tokens + used,
        }


class ChatForm(Form):
    """Of /v1/chat/completions."""

    kind, chunk, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def begin(self) -> list[dict[str, Any]]:
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return [self.head | {"object": self.chunk, "choices": [choice]}]

    def choice(self, text: str, reason: str | None, is_part: bool) -> dict[str, Any]:
        if is_part:
            return {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}
        message = {"role": "assistant", "content": text}
        return {"index": 0, "message": message, "finish_reason": reason}


class TextForm(Form):
    """Of /v1/completions."""

    kind = chunk = "text_completion"

    def __init__(self, model: str, prompt_tokens: int, echo: str) -> None:
        super().__init__(model, prompt_tokens)
        self.echo = echo

    def begin(self) -> list[dict[str, Any]]:
        return [self.part(Part(self.echo, 0))] if self.echo else []

    def choice(self, text: str, reason: str | None, is_part: bool) -> dict[str, Any]:
        shown = text if is_part else self.echo + text
        return {"index": 0, "text": shown, "logprobs": None, "finish_reason": reason}

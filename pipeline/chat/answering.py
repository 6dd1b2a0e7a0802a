"""One model that answers many: whoever comes too late or asks for too much is refused with a reason."""

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, field_validator

from pipeline.chat.engine import Engine, EngineError
from pipeline.chat.generation import Sampling
from pipeline.chat.limits import Limits
from pipeline.chat.refusal import error_body
from pipeline.models.generation import TextStream, encode, piece_bytes
from pipeline.tokens.markers import markers_of, neutralise, restore

RETRY_AFTER_SECONDS = 1


class Message(BaseModel):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def parts_of_text_are_joined(cls, given: Any) -> Any:
        if isinstance(given, list) and all(
            isinstance(each, dict) and each.get("type") == "text" for each in given
        ):
            return "".join(str(each.get("text", "")) for each in given)
        return given


class RefusedError(Exception):
    """A request that is answered by an error: status, what is told, and its code."""

    def __init__(self, status: int, told: str, code: str, param: str | None = None) -> None:
        super().__init__(told)
        self.status, self.told, self.code, self.param = status, told, code, param

    def body(self) -> dict[str, Any]:
        return error_body(self.status, self.told, self.code, self.param)


class Server:
    """One model, its limits, and the requests that are under way."""

    def __init__(self, engine: Engine, name: str, limits: Limits, key_sha256: str) -> None:
        self.engine, self.name, self.limits, self._key_sha256 = engine, name, limits, key_sha256
        self.tokenizer = engine.tokenizer
        self.pieces = piece_bytes(self.tokenizer)
        self.markers = markers_of(self.tokenizer)
        self._longest_piece = max(map(len, self.pieces))
        self.since = int(time.time())
        self._within = 0
        self._room = asyncio.Semaphore(limits.at_once)

    def check_key(self, given: str) -> None:
        """Raises RefusedError (401) unless it is the key."""
        if not hmac.compare_digest(hashlib.sha256(given.encode()).hexdigest(), self._key_sha256):
            raise RefusedError(
                401, "wrong API key, or none: send the header Authorization: Bearer KEY", "invalid_api_key"
            )

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the conversation, by the model's template. Raises RefusedError where it has none, and where
        the conversation is much too long."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise RefusedError(
                400,
                f"{self.name} has no chat template: it is no chat model; use /v1/completions",
                "no_chat_template",
            )
        self._require_readable(sum(len(each.content) for each in messages), "messages")
        turns = [
            {
                "role": "system" if each.role == "developer" else each.role,
                "content": neutralise(each.content, self.markers),
            }
            for each in messages
        ]
        try:
            found: Any = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except Exception as error:  # a template raises what it likes
            raise RefusedError(
                400,
                f"the model's chat template does not take these messages: {error}",
                "bad_messages",
                "messages",
            ) from error
        return [int(token) for token in found]

    def text_prompt(self, text: str) -> list[int]:
        """Ids of a text to go on with. Raises RefusedError where it is much too long."""
        self._require_readable(len(text), "prompt")
        return encode(self.tokenizer, text)

    def _require_readable(self, characters: int, param: str) -> None:
        """Raises RefusedError for what cannot fit however it is divided: to find that out by tokenizing would
        hold up everybody else."""
        most = self.engine.context * self._longest_piece
        if characters > most:
            raise RefusedError(
                400,
                f"the prompt has {characters} characters, and more than {most} never fit into this model's "
                f"context of {self.engine.context} tokens; shorten it",
                "context_length_exceeded",
                param,
            )

    def sampling(
        self,
        temperature: float,
        top_p: float,
        prompt: Sequence[int],
        wanted: int | None,
        param: str = "messages",
    ) -> Sampling:
        """Raises RefusedError where prompt and answer are longer than the limits; `param` has the prompt."""
        context, most = self.engine.context, self.limits.max_tokens
        if not prompt:
            raise RefusedError(400, "the prompt is empty; give a text", "empty_prompt", param)
        if len(prompt) >= context:
            raise RefusedError(
                400,
                f"the prompt has {len(prompt)} tokens, and this model's context is {context} tokens, answer "
                "included; shorten it",
                "context_length_exceeded",
                param,
            )
        if wanted is not None and wanted > most:
            raise RefusedError(
                400,
                f"max_tokens is {wanted}; this server gives at most {most}",
                "max_tokens_exceeded",
                "max_tokens",
            )
        room = min(wanted or most, context - len(prompt))
        return Sampling(temperature=temperature, top_p=top_p, max_tokens=room)

    async def answer(
        self, prompt: Sequence[int], sampling: Sampling, stop: Sequence[int], stops: Sequence[str] = ()
    ) -> AsyncGenerator["Part", None]:
        """The answer's text in parts; the last one tells how it ended, by a token in `stop`, a text in
        `stops` or the length. Raises RefusedError: 429 if too many wait already, 504 if it takes too long,
        500 if the model cannot go on."""
        late_at = asyncio.get_running_loop().time() + self.limits.seconds
        try:
            async with self._turn(late_at):
                tokens = self.engine.tokens(prompt, sampling, stop)
                async with (
                    contextlib.aclosing(tokens),
                    contextlib.aclosing(_before(tokens, late_at)) as timely,
                ):
                    async for part in self._parts(timely, sampling.max_tokens, stops):
                        yield part
        except TimeoutError:
            raise RefusedError(
                504,
                f"the answer took longer than the {self.limits.seconds:g} s that are given here",
                "timeout",
            ) from None
        except EngineError as error:
            raise RefusedError(500, str(error), "engine") from error

    @contextlib.asynccontextmanager
    async def _turn(self, late_at: float) -> AsyncIterator[None]:
        """A place among those that the model works on."""
        if self._within >= self.limits.at_once + self.limits.waiting:
            raise RefusedError(
                429,
                f"{self._within} requests are under way, and no more are taken; come back in "
                f"{RETRY_AFTER_SECONDS} s",
                "rate_limit_exceeded",
            )
        self._within += 1
        try:
            async with asyncio.timeout_at(late_at):
                await self._room.acquire()
            try:
                yield
            finally:
                self._room.release()
        finally:
            self._within -= 1

    async def _parts(
        self, tokens: AsyncGenerator[int, None], most: int, stops: Sequence[str]
    ) -> AsyncGenerator["Part", None]:
        text, held, used = TextStream(self.pieces), Held(stops), 0
        async for token in tokens:
            used += 1
            shown = held.feed(restore(text.feed(token), self.markers))
            if held.found:
                yield Part(shown, used, "stop")
                return
            if shown:
                yield Part(shown, used)
        yield Part(held.feed(text.end()) + held.end(), used, "length" if used == most else "stop")


async def begun(parts: AsyncGenerator["Part", None]) -> AsyncGenerator["Part", None]:
    """The same parts, of which the first is there: what refuses an answer has then spoken, and is raised."""
    first = await anext(parts)

    async def whole() -> AsyncGenerator[Part, None]:
        async with contextlib.aclosing(parts):
            yield first
            async for part in parts:
                yield part

    return whole()


async def _before(tokens: AsyncGenerator[int, None], late_at: float) -> AsyncGenerator[int, None]:
    """Raises TimeoutError at `late_at` (of the loop's clock), while it waits for a token and at no other
    time: a reader who is slow is not cut off amid what he is sent."""
    while True:
        try:
            async with asyncio.timeout_at(late_at):
                token = await anext(tokens)
        except StopAsyncIteration:
            return
        yield token


@dataclass(frozen=True)
class Part:
    """A part of an answer; the last one has how it ended."""

    text: str
    used: int
    """Tokens of the answer up to here."""
    reason: Literal["stop", "length"] | None = None


class Held:
    """Text on its way out that ends before a stop text: what may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops, self.found = stops, False
        self._rest = ""

    def feed(self, text: str) -> str:
        """What may be shown now."""
        whole = self._rest + text
        ends = [at for stop in self.stops if (at := whole.find(stop)) >= 0]
        if ends:
            self.found, self._rest = True, ""
            return whole[: min(ends)]
        keep = max(
            (size for stop in self.stops for size in range(1, len(stop)) if whole.endswith(stop[:size])),
            default=0,
        )
        self._rest = whole[len(whole) - keep :]
        return whole[: len(whole) - keep]

    def end(self) -> str:
        """What was held back, and was none."""
        rest, self._rest = self._rest, ""
        return rest

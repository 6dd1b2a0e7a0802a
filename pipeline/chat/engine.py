"""Many texts on one model at a time: a request joins what is running, and leaves when it ends.

transformers' continuous batching (Yu et al., 2022, "Orca") runs in a thread of its own; here is the door
to it for servers, which are asynchronous.
"""

import asyncio
import contextlib
import itertools
import logging
import queue
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.chat.generation import Sampling
from pipeline.errors import StageError
from pipeline.models.generation import context_tokens

logging.getLogger("ContinuousBatchingLogger").setLevel(logging.WARNING)

PAGE_TOKENS = 16
"""Of a block of the cache; what a text does not fill of its last one is lost."""
LEAST_TEMPERATURE = 0.01
"""Scores divided by less leave what float32 can hold."""


class EngineError(StageError):
    """The model could not go on with a text, or its thread has ended."""

    remedy = "Look into the server's log; start it again."


class Engine(Protocol):
    """What draws texts for a server."""

    tokenizer: PreTrainedTokenizerBase
    context: int
    """Tokens of a text, prompt and answer together."""

    def start(self) -> None:
        """From now on texts are taken."""

    def stop(self) -> None:
        """Texts that are under way are left as they are."""

    def check(self) -> None:
        """Raises EngineError if no text can be gone on with any more."""

    def tokens(
        self, prompt: Sequence[int], sampling: Sampling, stop: Sequence[int]
    ) -> AsyncGenerator[int, None]:
        """New tokens after `prompt` (ids), as they come; one in `stop` ends them and is not given.

        Whoever leaves the loop early ends the text. The seed of `sampling` is not heeded: what is drawn hangs
        on what runs beside it. Raises EngineError.
        """


class BatchingEngine:
    """One model; `most_at_once` texts of up to its context each have room in its cache."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        most_at_once: int,
        context: int | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.context = min(context or context_tokens(model), context_tokens(model))
        self._pieces = int(model.config.get_text_config().vocab_size)
        # Only what differs from the defaults gets a processor, and only what has one can be set by request.
        generation = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=True, temperature=0.5, top_k=50, top_p=0.5, eos_token_id=-1
        )
        settings = ContinuousBatchingConfig(
            page_size=PAGE_TOKENS,
            num_blocks=most_at_once * -(-self.context // PAGE_TOKENS) + 1,
            max_batch_tokens=max(self.context, most_at_once),
            max_requests_per_batch=most_at_once,
            per_request_processors=True,
        )
        begin: Any = model.init_continuous_batching
        self._manager = begin(generation, settings)
        self._numbers = itertools.count()

    def start(self) -> None:
        self._manager.start()

    def stop(self) -> None:
        self._manager.stop(hard_stop=True)

    def check(self) -> None:
        if not self._manager.is_running():
            raise EngineError("the thread that the model runs in has ended")

    async def tokens(
        self, prompt: Sequence[int], sampling: Sampling, stop: Sequence[int]
    ) -> AsyncGenerator[int, None]:
        told: asyncio.Queue[Any] = asyncio.Queue()
        identity = f"text-{next(self._numbers)}"
        room = min(sampling.max_tokens, self.context - len(prompt))
        if room < 1:
            return
        self._manager.register_result_handler(identity, told.put_nowait)
        taken = self._manager.add_request(
            list(prompt),
            request_id=identity,
            max_new_tokens=room,
            streaming=True,
            eos_token_id=list(stop),
            # The likeliest token each time is the one token that is kept.
            temperature=max(float(sampling.temperature), LEAST_TEMPERATURE) if sampling.temperature else 1.0,
            top_k=1 if sampling.temperature == 0 else min(sampling.top_k or self._pieces, self._pieces),
            top_p=float(sampling.top_p or 1.0),
        )
        given = 0
        try:
            if taken is None:
                raise EngineError("the thread that the model runs in has ended, and takes no text")
            while True:
                result = await told.get()
                if result.error is not None:
                    raise EngineError(f"the model could not go on with the text: {result.error}")
                for token in result.generated_tokens[given:]:
                    given += 1
                    if token in stop:
                        return
                    yield token
                if result.is_finished():
                    return
        finally:
            self._manager.cancel_request(identity)
            self._forget(identity)

    def _forget(self, identity: str) -> None:
        """The handler of a text that nobody waits for, and what still came for such texts before."""
        router = self._manager.output_router
        router.result_handlers.pop(identity, None)
        with contextlib.suppress(queue.Empty):
            while True:
                router.output_queue.get_nowait()


def engine_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, most_at_once: int) -> Engine:
    """For a model that is in memory; a folder may do better with vLLM (pipeline/chat/vllm_engine.py)."""
    return BatchingEngine(model, tokenizer, most_at_once)

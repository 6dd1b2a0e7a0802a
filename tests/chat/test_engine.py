"""Many texts on one model at a time."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.chat.engine import BatchingEngine, EngineError
from pipeline.chat.generation import Sampling
from pipeline.models.generation import Sampler, context_tokens, encode, tokens
from tests.evaluation.stand_ins import SmallModel

AT_ONCE = 3
BEGINNINGS = ["The function", "A list of", "import os\n", "Returns", "The", "x = 1", "class A"]


@pytest.fixture(scope="module")
def engine(small_model: SmallModel) -> Iterator[BatchingEngine]:
    found = BatchingEngine(*small_model.load(), AT_ONCE)
    found.start()
    yield found
    found.stop()


async def drawn(engine: BatchingEngine, prompt: list[int], most: int, **settings: Any) -> list[int]:
    sampling = Sampling(**{"temperature": 0, "top_p": None, "max_tokens": most, **settings})
    return [token async for token in engine.tokens(prompt, sampling, ())]


async def together(engine: BatchingEngine, prompts: list[list[int]], most: int) -> list[list[int]]:
    return await asyncio.gather(*(drawn(engine, prompt, most) for prompt in prompts))


def test_texts_together_are_what_each_is_alone(engine: BatchingEngine, small_model: SmallModel) -> None:
    model, tokenizer = small_model.load()
    prompts = [encode(tokenizer, text) for text in BEGINNINGS]
    alone = [list(tokens(model, each, Sampler(), max_tokens=20, stop=())) for each in prompts]
    assert asyncio.run(together(engine, prompts, 20)) == alone


def test_a_text_ends_where_the_context_does(engine: BatchingEngine) -> None:
    context = context_tokens(engine.model)
    assert len(asyncio.run(drawn(engine, [1] * 10, 1000))) == context - 10
    assert asyncio.run(drawn(engine, [1] * context, 5)) == []


def test_a_token_that_ends_a_text_is_not_given(engine: BatchingEngine) -> None:
    async def until(stop: int) -> list[int]:
        sampling = Sampling(temperature=0, top_p=None, max_tokens=10)
        return [token async for token in engine.tokens([1, 9], sampling, [stop])]

    whole = asyncio.run(drawn(engine, [1, 9], 10))
    assert asyncio.run(until(whole[4])) == whole[: whole.index(whole[4])]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1e-30},
        {"temperature": 2.0, "top_p": 1e-9},
        {"temperature": 1.0, "top_k": 10**6},
        {"temperature": 1.0, "top_p": 1.0},
    ],
)
def test_settings_at_their_ends_break_nothing(engine: BatchingEngine, settings: dict[str, Any]) -> None:
    assert len(asyncio.run(drawn(engine, [1, 5, 6], 8, **settings))) == 8
    engine.check()


def test_whoever_leaves_makes_room_and_leaves_nothing_behind(engine: BatchingEngine) -> None:
    async def leave() -> None:
        answer = engine.tokens([1, 7], Sampling(max_tokens=50), ())
        await anext(answer)
        await answer.aclose()

    async def many() -> list[list[int]]:
        for _ in range(4 * AT_ONCE):
            await leave()
        return await together(engine, [[1, 7]] * AT_ONCE, 30)

    assert {len(each) for each in asyncio.run(many())} == {30}
    assert not engine._manager.output_router.result_handlers
    assert engine._manager.output_router.output_queue.qsize() <= AT_ONCE


def test_an_engine_that_has_ended_says_so(small_model: SmallModel) -> None:
    ended = BatchingEngine(*small_model.load(), 1)
    ended.start()
    ended.check()
    assert len(asyncio.run(drawn(ended, [1, 2], 3))) == 3
    ended.stop()
    with pytest.raises(EngineError, match="has ended"):
        ended.check()
    with pytest.raises(EngineError, match="takes no text"):
        asyncio.run(drawn(ended, [1, 2], 3))

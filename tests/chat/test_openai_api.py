"""The interface that OpenAI's clients speak, on a real model in this process."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipeline.chat.answering import Held, RefusedError, Server
from pipeline.chat.engine import EngineError
from pipeline.chat.limits import Limits
from pipeline.chat.openai_api import openai_api
from pipeline.models.generation import document_end, encode, stop_ids, stream
from tests.chat.served import KEY, server_of
from tests.evaluation.stand_ins import SmallModel

LIMITS = Limits(at_once=2, waiting=1, max_tokens=24, seconds=60)
ASKED = {"role": "user", "content": "What does the mill grind?"}
BEGINNING = "The function returns"


@pytest.fixture(scope="module")
def server(small_model: SmallModel) -> Iterator[Server]:
    with server_of(small_model, LIMITS) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[TestClient]:
    with TestClient(openai_api(server), headers={"Authorization": f"Bearer {KEY}"}) as found:
        yield found


def post(client: TestClient, path: str, **settings: Any) -> Any:
    return client.post(f"/v1/{path}", json={"temperature": 0, "max_tokens": 12, **settings})


def events(answer: Any) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def chat_alone(model: SmallModel, messages: list[dict[str, str]], most: int) -> str:
    """What the model answers when nobody else asks, by the code that `moinho chat` uses."""
    loaded, tokenizer = model.load()
    ids: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return "".join(stream(loaded, tokenizer, ids, max_tokens=most, stop=stop_ids(tokenizer), temperature=0))


def text_alone(model: SmallModel, text: str, most: int) -> str:
    loaded, tokenizer = model.load()
    ids = encode(tokenizer, text)
    return "".join(
        stream(loaded, tokenizer, ids, max_tokens=most, stop=document_end(tokenizer), temperature=0)
    )


def test_a_chat_whole_and_streamed_is_what_the_model_says_alone(
    client: TestClient, small_model: SmallModel
) -> None:
    expected = chat_alone(small_model, [ASKED], 12)
    whole = post(client, "chat/completions", messages=[ASKED])
    assert whole.status_code == 200
    found = whole.json()
    assert found["choices"][0]["message"] == {"role": "assistant", "content": expected}
    assert found["usage"]["completion_tokens"] <= 12
    parts = events(
        post(
            client,
            "chat/completions",
            messages=[ASKED],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert parts[-1]["usage"] == found["usage"]
    choices = [part["choices"][0] for part in parts[:-1]]
    assert "".join(each["delta"].get("content", "") for each in choices) == expected
    assert choices[-1]["finish_reason"] == found["choices"][0]["finish_reason"]


def test_a_text_is_gone_on_with_whole_streamed_and_echoed(
    client: TestClient, small_model: SmallModel
) -> None:
    expected = text_alone(small_model, BEGINNING, 12)
    whole = post(client, "completions", prompt=BEGINNING).json()
    assert whole["choices"][0]["text"] == expected
    echoed = post(client, "completions", prompt=[BEGINNING], echo=True).json()
    assert echoed["choices"][0]["text"] == BEGINNING + expected
    for echo in (False, True):
        parts = events(post(client, "completions", prompt=BEGINNING, stream=True, echo=echo))
        assert "".join(part["choices"][0]["text"] for part in parts) == BEGINNING * echo + expected


def test_a_stop_text_that_spans_tokens_ends_an_answer_before_it(
    client: TestClient, small_model: SmallModel
) -> None:
    whole = text_alone(small_model, BEGINNING, 12)
    middle = len(whole) // 2
    stop = whole[middle - 2 : middle + 2]
    expected = whole[: whole.index(stop)]
    found = post(client, "completions", prompt=BEGINNING, stop=["never there", stop]).json()
    assert found["choices"][0] | {"logprobs": None} == {
        "index": 0,
        "text": expected,
        "logprobs": None,
        "finish_reason": "stop",
    }
    parts = events(post(client, "completions", prompt=BEGINNING, stop=stop, stream=True))
    assert "".join(part["choices"][0]["text"] for part in parts) == expected


@given(st.data(), st.text("ab<", max_size=40), st.lists(st.text("ab<", min_size=1, max_size=4), max_size=3))
def test_what_is_shown_ends_before_the_first_stop_text_however_it_comes(
    data: st.DataObject, whole: str, stops: list[str]
) -> None:
    held, shown, rest = Held(stops), "", whole
    while rest and not held.found:
        size = data.draw(st.integers(1, len(rest)))
        shown, rest = shown + held.feed(rest[:size]), rest[size:]
    shown += held.end()
    ends = [whole.find(stop) for stop in stops if stop in whole]
    if not ends:
        assert shown == whole
    else:
        # A stop text that came whole ends the text, though another that began earlier may still be coming.
        assert held.found
        assert whole.startswith(shown)
        assert min(ends) <= len(shown)
        assert any(whole.startswith(stop, len(shown)) for stop in stops)


@pytest.mark.parametrize(
    ("path", "settings", "status", "told"),
    [
        ("chat/completions", {"messages": [ASKED], "max_tokens": 25}, 400, "at most 24"),
        ("chat/completions", {"messages": [ASKED | {"content": "mill " * 100}]}, 400, "context is 64 tokens"),
        ("chat/completions", {"messages": [ASKED | {"content": "m" * 99_999}]}, 400, "characters"),
        ("chat/completions", {"messages": []}, 400, "messages"),
        ("chat/completions", {"messages": [ASKED], "temperature": 3}, 400, "temperature"),
        ("chat/completions", {"messages": [{"role": "miller", "content": "x"}]}, 400, "messages.0.role"),
        ("chat/completions", {"messages": [ASKED], "tools": [{"type": "function"}]}, 400, "tools"),
        ("chat/completions", {"messages": [ASKED], "n": 2}, 400, "one answer"),
        ("chat/completions", {"messages": [ASKED], "logprobs": True}, 400, "logprobs"),
        ("chat/completions", {"messages": [ASKED], "model": "gpt"}, 404, "there is no model 'gpt'"),
        ("completions", {"prompt": "mill " * 100}, 400, "context is 64 tokens"),
        ("completions", {"prompt": ["a", "b"]}, 400, "one at a time"),
        ("completions", {"prompt": "a", "suffix": "b"}, 400, "suffix"),
        ("completions", {"prompt": "a", "stop": list("abcde")}, 400, "stop"),
        ("embeddings", {"input": "a"}, 404, "Not Found"),
    ],
)
def test_what_is_refused_says_why(
    client: TestClient, path: str, settings: dict[str, Any], status: int, told: str
) -> None:
    answer = post(client, path, **settings)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"


def test_settings_that_ask_for_nothing_and_a_seed_are_taken(client: TestClient) -> None:
    taken = post(
        client, "chat/completions", messages=[ASKED], n=1, tools=[], seed=7, frequency_penalty=0, user="me"
    )
    assert taken.status_code == 200, taken.text


@pytest.mark.parametrize("key", ["", "Bearer wrong", KEY, f"bearer{KEY}"])
def test_only_the_key_lets_in_but_health_is_told_to_all(server: Server, key: str) -> None:
    with TestClient(openai_api(server), headers={"Authorization": key} if key else None) as client:
        expected = 200 if key == KEY else 401  # the bare key is the key
        assert client.get("/v1/models").status_code == expected
        refused = post(client, "chat/completions", messages=[ASKED])
        assert refused.status_code == expected
        assert client.get("/health").json() == {"status": "ok", "model": "mill"}
        if expected == 401:
            assert refused.json()["error"]["code"] == "invalid_api_key"


def test_markers_in_what_is_asked_and_answered_are_harmless(server: Server, client: TestClient) -> None:
    plain = server.chat_prompt([server_message("Hello <|end|> <|assistant|> there")])
    assert [plain.count(token) for token in stop_ids(server.tokenizer)] == [
        server.chat_prompt([server_message("Hello there")]).count(token)
        for token in stop_ids(server.tokenizer)
    ]
    assert post(client, "completions", prompt="<|end|><|bos|>").status_code == 200


def server_message(text: str) -> Any:
    from pipeline.chat.answering import Message

    return Message(role="user", content=[{"type": "text", "text": text}])  # type: ignore[arg-type]


def test_whoever_comes_too_late_is_told_429_and_a_place_that_is_left_is_free(server: Server) -> None:
    prompt = server.text_prompt(BEGINNING)
    sampling = server.sampling(0, 1, prompt, 24, "prompt")

    async def run() -> None:
        under_way = [server.answer(prompt, sampling, ()) for _ in range(2)]
        for each in under_way:
            await anext(each)
        waiting = asyncio.ensure_future(anext(server.answer(prompt, sampling, ())))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refused:
            await anext(server.answer(prompt, sampling, ()))
        assert refused.value.status == 429
        # One hangs up amid its answer: the one that waits has its place.
        await under_way[0].aclose()
        await waiting
        # One hangs up before its first token: a further one may wait again.
        waiting = asyncio.ensure_future(anext(server.answer(prompt, sampling, ())))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await under_way[1].aclose()
        parts = [part async for part in server.answer(prompt, sampling, ())]
        assert parts[-1].reason is not None

    asyncio.run(run())


def test_429_says_when_to_come_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_within", LIMITS.at_once + LIMITS.waiting)
    with TestClient(openai_api(server), headers={"Authorization": f"Bearer {KEY}"}) as client:
        answer = post(client, "completions", prompt="a", stream=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def failing(server: Server, how: Callable[[], Any]) -> Any:
    async def tokens(*_: Any) -> Any:
        await how()
        yield 0

    return tokens


async def _engine_dies() -> None:
    raise EngineError("the thread that the model runs in has ended")


async def _takes_long() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(("how", "status"), [(_takes_long, 504), (_engine_dies, 500)])
def test_an_answer_that_is_late_or_fails_says_so(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, how: Any, status: int
) -> None:
    with server_of(small_model, Limits(seconds=0.3)) as server:
        monkeypatch.setattr(server.engine, "tokens", failing(server, how))
        with TestClient(openai_api(server), headers={"Authorization": f"Bearer {KEY}"}) as client:
            answer = post(client, "completions", prompt="a")
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "server_error"

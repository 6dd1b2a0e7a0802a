"""`moinho serve` as programs meet it: a real process, a real Ray Serve, the `openai` package."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import APIStatusError, AuthenticationError, BadRequestError

from pipeline.models.generation import document_end, encode, stop_ids, stream
from tests.chat.served import KEY, KEY_SHA256, Serving, serving
from tests.evaluation.stand_ins import SmallModel, publish_model, random_model

pytestmark = pytest.mark.everything

ASKED: Any = [{"role": "user", "content": "What does the mill grind?"}]
BEGINNING = "The function returns"
PATIENCE_SECONDS = 60.0
REPLICA = "ray::ServeReplica"


class LongModel(SmallModel):
    stage = "long-pretrain"


@pytest.fixture(scope="module")
def long_model(evaluation_store: Any, small_vocabulary: Any) -> SmallModel:
    """Answers are long enough to be disturbed."""
    return publish_model(evaluation_store, random_model(1024, context=1024), small_vocabulary, LongModel)


@pytest.fixture(scope="module")
def served(long_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    words = ("--at-once", "2", "--waiting", "0", "--max-tokens", "900")
    with serving(long_model.model_folder(), tmp_path_factory.mktemp("serving"), *words) as found:
        yield found


def name_of(served: Serving) -> str:
    (model,) = served.client().models.list().data
    return model.id


def replica(served: Serving) -> psutil.Process:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        for each in served.processes():
            try:
                if any(word.startswith(REPLICA) for word in each.cmdline()):
                    return each
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.2)
    raise AssertionError("there is no replica")


def test_a_chat_is_streamed_as_the_model_says_it(served: Serving, long_model: SmallModel) -> None:
    model, tokenizer = long_model.load()
    ids: Any = tokenizer.apply_chat_template(
        ASKED, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    expected = "".join(stream(model, tokenizer, ids, max_tokens=60, stop=stop_ids(tokenizer), temperature=0))
    answer = served.client().chat.completions.create(
        model=name_of(served), messages=ASKED, max_tokens=60, temperature=0, stream=True
    )
    times, text = [], ""
    for part in answer:
        times.append(time.monotonic())
        text += part.choices[0].delta.content or ""
    assert text == expected
    assert times[-1] - times[0] > 0.02, "the parts came all at once"


def test_a_text_is_gone_on_with(served: Serving, long_model: SmallModel) -> None:
    model, tokenizer = long_model.load()
    ids = encode(tokenizer, BEGINNING)
    stop = document_end(tokenizer)
    expected = "".join(stream(model, tokenizer, ids, max_tokens=30, stop=stop, temperature=0))
    found = served.client().completions.create(
        model=name_of(served), prompt=BEGINNING, max_tokens=30, temperature=0
    )
    assert found.choices[0].text == expected
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(ids)


def test_a_wrong_key_is_told_401_and_what_is_too_long_400_with_the_limit(served: Serving) -> None:
    with pytest.raises(AuthenticationError) as wrong:
        served.client("wrong").models.list()
    assert wrong.value.code == "invalid_api_key"
    client, name = served.client(), name_of(served)
    with pytest.raises(BadRequestError, match="context is 1024 tokens"):
        client.completions.create(model=name, prompt="mill " * 2000)
    with pytest.raises(BadRequestError, match="at most 900"):
        client.chat.completions.create(model=name, messages=ASKED, max_tokens=901)


def test_whoever_hangs_up_leaves_a_free_place(served: Serving) -> None:
    client, name = served.client(), name_of(served)

    def long_answer() -> Any:
        return client.completions.create(
            model=name, prompt=BEGINNING, max_tokens=900, temperature=1, stream=True
        )

    under_way = [long_answer() for _ in range(2)]
    for each in under_way:
        next(each)
    with pytest.raises(APIStatusError) as refused:
        long_answer()
    assert refused.value.status_code == 429
    assert refused.value.response.headers["retry-after"] == "1"
    for each in under_way:
        each.close()
    end = time.monotonic() + 3
    while True:
        try:
            long_answer().close()
            break
        except APIStatusError:
            assert time.monotonic() < end, "the places are not free"
            time.sleep(0.1)


def test_no_process_listens_beyond_this_machine_and_none_knows_the_key(served: Serving) -> None:
    name_of(served)
    driver, *others = served.processes()
    addresses = set()
    for each in others:
        try:
            addresses |= {
                connection.laddr.ip.removeprefix("::ffff:")
                for connection in each.net_connections("tcp")
                if connection.laddr and connection.status == psutil.CONN_LISTEN
            }
            assert KEY not in " ".join(each.cmdline())
            assert KEY not in each.environ().values()
        except psutil.NoSuchProcess:
            continue
    assert addresses == {"127.0.0.1"}
    assert KEY not in " ".join(driver.cmdline())
    assert KEY not in served.text()
    logs = Path(f"/tmp/moinho-{os.getuid()}/ray/session_latest/logs")
    texts = [path.read_text(errors="replace") for path in logs.rglob("*") if path.is_file()]
    assert not any(KEY in text for text in texts)
    assert KEY_SHA256 != KEY


def test_a_replica_that_is_killed_is_started_anew_and_clients_are_told(served: Serving) -> None:
    client, name = served.client(), name_of(served)
    found: list[object] = []

    def ask() -> None:
        try:
            client.completions.create(model=name, prompt=BEGINNING, max_tokens=900, temperature=0)
        except APIStatusError as error:
            found.append((error.status_code, error.code))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    killed = replica(served)
    killed.kill()
    asking.join()
    assert found == [(503, "model_unavailable")]
    # Who asks meanwhile waits until it is there.
    again = client.completions.create(model=name, prompt=BEGINNING, max_tokens=5)
    assert again.usage is not None
    assert replica(served).pid != killed.pid


def test_ctrl_c_ends_all_of_it_within_seconds_amid_an_answer(served: Serving) -> None:
    """The last test of this file: it ends what the others share."""
    client = served.client()
    next(iter(client.completions.create(model=name_of(served), prompt="a", max_tokens=900, stream=True)))
    processes, start = served.processes(), time.monotonic()
    assert served.end(signal.SIGINT) == 0, served.text()
    assert time.monotonic() - start < 20
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive

"""`mlflow models serve` on a model that a run has registered."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.models.generation import stream
from pipeline.store import Attempt, Made, Store
from pipeline.tracking import Flow, Tracker
from tests.evaluation.stand_ins import SmallModel
from tests.object_store import free_ports

pytestmark = pytest.mark.everything

PATIENCE_SECONDS = 120
BEGINNING = "The function returns"


@pytest.fixture
def url(store: Store, small_model: SmallModel, tmp_path: Path) -> Iterator[str]:
    """A server of `models:/little-base/1`, once it listens."""

    def copied(attempt: Attempt) -> Made:
        folder = attempt.path("model")
        folder.mkdir(parents=True)
        for path in small_model.model_folder().iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return Made(attempt.publish_folder("model"))

    tracker = Tracker(store.storage, Flow("little", {}))
    store.listeners.append(tracker)
    store.make(SmallModel, Config(), {}, copied)
    assert tracker.close(120) is None
    (port,) = free_ports(1)
    words = ["models", "serve", "-m", "models:/little-base/1", "--env-manager", "local"]
    with (tmp_path / "server.txt").open("wb") as told:
        server = subprocess.Popen(
            [str(Path(sys.executable).parent / "mlflow"), *words, "-h", "127.0.0.1", "-p", str(port)],
            env=os.environ | {"MLFLOW_TRACKING_URI": tracker.destination.uri},
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", server)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib.request.urlopen(url).close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.5)


def ask(url: str, **given: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(given).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_registered_model_goes_on_with_a_text(url: str, small_model: SmallModel) -> None:
    model, tokenizer = small_model.load()
    ids = tokenizer.encode(BEGINNING)
    expected = "".join(stream(model, tokenizer, ids, max_tokens=8, stop=(), temperature=0))
    found = ask(url, inputs=[BEGINNING], params={"max_new_tokens": 8, "do_sample": False})
    assert found == {"predictions": [BEGINNING + expected]}

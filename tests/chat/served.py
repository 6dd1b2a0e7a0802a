"""A model in an engine, for one test; and `moinho serve` as a process of its own."""

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
from openai import OpenAI

from pipeline.chat.answering import Server
from pipeline.chat.engine import BatchingEngine
from pipeline.chat.limits import Limits
from tests.evaluation.stand_ins import SmallModel
from tests.object_store import free_ports
from tests.road import MOINHO, Run

KEY = "open-sesame"
KEY_SHA256 = hashlib.sha256(KEY.encode()).hexdigest()
ENDING_SECONDS = 30.0


@contextlib.contextmanager
def server_of(model: SmallModel, limits: Limits) -> Iterator[Server]:
    """The model in this process, ready to answer."""
    engine = BatchingEngine(*model.load(), limits.at_once)
    engine.start()
    try:
        yield Server(engine, "mill", limits, KEY_SHA256)
    finally:
        engine.stop()


class Serving(Run):
    """`moinho serve`, running or ended."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self, key: str = KEY, retries: int = 0) -> OpenAI:
        return OpenAI(base_url=self.url, api_key=key, max_retries=retries, timeout=120)

    def processes(self) -> list[psutil.Process]:
        return [driver := psutil.Process(self.process.pid), *driver.children(recursive=True)]

    def end(self, number: int = signal.SIGINT) -> int:
        os.kill(self.process.pid, number)
        return self.wait(ENDING_SECONDS)


def started(model: str | Path, outputs: Path, *words: str) -> Serving:
    """A server that has just been asked for; it does not answer yet."""
    (port,) = free_ports(1)
    outputs.mkdir(parents=True, exist_ok=True)
    output = outputs / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(MOINHO), "serve", str(model), "--port", str(port), *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"MOINHO_API_KEY": KEY},
        )
    run = Serving(process, output)
    run.port = port
    return run


@contextlib.contextmanager
def serving(model: str | Path, outputs: Path, *words: str) -> Iterator[Serving]:
    """From the moment it answers; ended in the end, if the test has not ended it."""
    run = started(model, outputs, *words)
    try:
        run.wait_until("Ctrl-C ends it")
        yield run
    finally:
        if run.process.poll() is None:
            run.end()

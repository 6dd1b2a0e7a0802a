"""The page as a process of its own, or on an engine that waits; and what people do in a browser."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.alignment.ballots import Ballot, BallotBox
from pipeline.store import Storage
from tests.road import MOINHO

START_SECONDS = WAIT_SECONDS = 90
TRIES = 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Page:
    """`moinho chat MODEL --web`, started."""

    process: subprocess.Popen[bytes]
    store: Path
    port: int
    output: Path

    @classmethod
    def start(cls, store: Path, model: str, port: int | None = None) -> "Page":
        port = port or free_port()
        output = store.parent / f"page-{time.monotonic_ns():x}.txt"
        words = ["chat", model, "--web", "--port", str(port), "--store", str(store), "--votes", "road"]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [str(MOINHO), *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # A Ray of this process has left the token of its own there.
                env={name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")},
            )
        page = cls(process, store, port, output)
        wait_until(page.answers, START_SECONDS, page.told)
        return page

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def answers(self) -> bool:
        assert self.process.poll() is None, self.told()
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def told(self) -> str:
        return self.output.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9, as if the power had gone."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def votes(self) -> list[Ballot]:
        return BallotBox(Storage(str(self.store)), "road").ballots()


@contextlib.contextmanager
def served(make: Callable[[list[str]], FastAPI]) -> Iterator[str]:
    """The URL of an app that is served in a thread; `make` is given the addresses that it is called by."""
    port = free_port()
    config = uvicorn.Config(make([f"127.0.0.1:{port}"]), port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 60)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(30)


def wait_until(
    there: Callable[[], Any], seconds: float = WAIT_SECONDS, told: Callable[[], str] = str
) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"not within {seconds} s: {told()}"
        time.sleep(0.05)


class Visitor:
    """Somebody with a browser."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str, voter: str | None = None) -> "Visitor":
        self.driver.get(url)
        self.until(lambda: self.script("return document.documentElement.dataset.ready"))
        if voter is not None:
            self.type("#voter", voter + Keys.TAB)
        return self

    def type(self, selector: str, text: str) -> None:
        """In place of what stands there."""
        self.one(selector).send_keys(Keys.CONTROL + "a" + Keys.NULL + text)

    def script(self, source: str, *given: Any) -> Any:
        return self.driver.execute_script(source, *given)  # type: ignore[no-untyped-call]

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, there: Callable[[], Any]) -> None:
        try:
            WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: there())
        except TimeoutException:
            raise AssertionError(f"not within {WAIT_SECONDS} s: {self.text()}") from None

    def text(self) -> str:
        return self.one("body").text

    def sees(self, *texts: str) -> None:
        self.until(lambda: all(text in self.text() for text in texts))

    def press(self, *keys: str) -> None:
        """Keys, to whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def ask(self, question: str, answered: str = "[data-edit]") -> None:
        """And wait for what can be voted on. Small models may answer nothing at all: then once more."""
        before = len(self.all(answered))
        for _ in range(TRIES):
            self.type("#question", question + Keys.ENTER)
            self.until(lambda: self.one("#send").is_displayed())
            assert not self.all("#turns .error"), self.text()
            if len(self.all(answered)) > before:
                return
        raise AssertionError(f"no {answered} in {TRIES} answers: {self.text()}")

    def is_kept(self) -> None:
        """Until the page says that the server has every vote."""
        self.until(lambda: not self.script("return Object.keys(localStorage).some(k => /-vote-/.test(k))"))

    def screen(self, width: int, height: int, scheme: str = "light") -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

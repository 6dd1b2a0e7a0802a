"""The driver's hold on its sender: started, started again if it dies, told to send the rest, stopped."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pipeline
from pipeline.tracking.destination import QUIET_ENVIRONMENT

log = logging.getLogger(__name__)

STARTS = 5
"""Senders that may die in a row before they are given up; the next run sends what is left."""
PAUSE_SECONDS = 1.0
LONG_LIFE_SECONDS = 60.0
"""A sender that lived so long did not die in a row with those before it."""
STOP_SECONDS = 2.0
UNANSWERED_SECONDS = 10.0
"""So long an MLflow that takes nothing is waited for at the end of a run."""
DELIVERED, NOT_TAKEN, RUN = "delivered", "not taken: ", "run: "
"""What the sender says when all was sent, and how it begins a line about a try that failed and the one with
the ids that MLflow gave: `experiment/run`."""


class SenderProcess:
    """Runs `python -m pipeline.tracking.sender`; a thread listens to it, and starts another when it dies."""

    def __init__(self, task: Mapping[str, Any], log_path: Path) -> None:
        self.status = ""
        """What the sender is doing, in words."""
        self.run: str | None = None
        """`experiment/run` in MLflow, once the run is there."""
        self.delivered = False
        self._task, self._log_path = task, log_path
        self._child: subprocess.Popen[str] | None = None
        self._speaking = threading.Lock()
        self._draining_since: float | None = None
        self._not_taken_since: float | None = None
        self._stopping = threading.Event()
        self._keeping = threading.Thread(target=self._keep, daemon=True, name="mlflow-sender")
        self._keeping.start()

    def drain(self) -> None:
        """Tell the sender to send the rest and to end. Returns at once."""
        with self._speaking:
            if self._draining_since is None:
                self._draining_since = time.monotonic()
                self._say("drain")

    def is_of_use(self) -> bool:
        """Whether waiting for the rest may still help."""
        if self.delivered or not self._keeping.is_alive():
            return False
        if self._draining_since is None or self._not_taken_since is None:
            return True
        return time.monotonic() - max(self._draining_since, self._not_taken_since) < UNANSWERED_SECONDS

    def stop(self) -> None:
        """End the sender; whatever it is doing, MLflow bears that."""
        self._stopping.set()
        with self._speaking:
            child = self._child
            self._hang_up()
        if child is not None:
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._keeping.join(STOP_SECONDS)

    def _keep(self) -> None:
        """In a thread: one sender after the other, as long as they die and are wanted."""
        deaths = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._start()
                self._listen()
            except OSError as error:
                self.status = f"the sender could not be started: {error}"
            deaths = 1 if time.monotonic() - started > LONG_LIFE_SECONDS else deaths + 1
            if self.delivered or deaths >= STARTS or self._stopping.wait(PAUSE_SECONDS):
                return
            log.warning("the MLflow sender ended early (%s); another is started", self.status)

    def _start(self) -> None:
        """Start the sender, in our process group so that it goes where we go.

        Ctrl-C reaches the whole group; the sender inherits it blocked, because it has yet to
        record that the flow was cancelled. It exits when its standard input closes.
        """
        code = Path(pipeline.__file__).parents[1]
        environment = {**os.environ, **QUIET_ENVIRONMENT}
        environment["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(code), environment.get("PYTHONPATH")) if part
        )
        # Ctrl-C reaches the whole group, and a cancelled job's SIGTERM all our children; the mask is of
        # this thread alone, which ends with the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        with self._log_path.open("ab") as errors, self._speaking:
            if self._stopping.is_set():
                return
            self._child = subprocess.Popen(
                [sys.executable, "-m", "pipeline.tracking.sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
            self._say(json.dumps(self._task))
            if self._draining_since is not None:
                self._say("drain")

    def _listen(self) -> None:
        """Until the sender has ended."""
        child = self._child
        if child is None or child.stdout is None:
            return
        with child.stdout:
            for line in map(str.strip, child.stdout):
                if line == DELIVERED:
                    self.delivered = True
                elif line.startswith(NOT_TAKEN):
                    self._not_taken_since = self._not_taken_since or time.monotonic()
                    self.status = line.removeprefix(NOT_TAKEN)
                elif line.startswith(RUN):
                    self.run = line.removeprefix(RUN)
                else:
                    self._not_taken_since = None
                    self.status = line
        child.wait()
        with self._speaking:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError):  # what it was told last did not arrive
                self._child.stdin.close()

    def _say(self, line: str) -> None:
        if self._child is not None and self._child.stdin is not None and not self._child.stdin.closed:
            with contextlib.suppress(OSError):  # it died, and the next one is told
                self._child.stdin.write(line + "\n")
                self._child.stdin.flush()

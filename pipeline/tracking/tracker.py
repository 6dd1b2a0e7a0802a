"""The driver's side: writes down what happens to a flow, and keeps the process that sends it to MLflow."""

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock

import pipeline
from pipeline.store import Artifact, Attempt, Journal, Storage, Work
from pipeline.store.records import commit
from pipeline.store.storage import cache_folder
from pipeline.tracking.destination import QUIET_ENVIRONMENT, Destination

log = logging.getLogger(__name__)

STARTS = 3
STOP_SECONDS = 2
TURN_SECONDS = 0.05
CANCELLED = (KeyboardInterrupt, SystemExit, GeneratorExit)
RUNS = "runs"


@dataclass(frozen=True)
class Flow:
    """What is known about a flow when it starts."""

    name: str
    """The first part of the names it gives, such as `quickstart`; also that of its run in MLflow."""
    config: Mapping[str, Any]
    """The whole resolved configuration."""
    config_path: str | None = None
    command: str | None = None


class Tracker:
    """A listener of the store that never blocks and never raises.

    Each event is one line appended to `runs/<run id>/events-….jsonl`; the sender, a child process,
    reads behind. While the tracker lives it holds `driver.lock`, by which others know that the
    run is not an orphan.
    """

    def __init__(self, storage: Storage, flow: Flow, configured: str | None = None) -> None:
        self.storage, self.configured = storage, configured
        self.destination = Destination.of(storage, configured)
        self.id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        self.status = ""
        """What the sender is doing, in words."""
        self._attempts: dict[str, str] = {}
        self._starts = 0
        self._sender: subprocess.Popen[str] | None = None
        self._delivered = False
        self._ended = False
        self._drain_asked = False
        self._lock: filelock.BaseFileLock | None = None
        self._listening: threading.Thread | None = None
        self._journal = Journal(storage, f"{RUNS}/{self.id}", "events")
        self._guard(self._begin, flow)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended(error)
        self.close()

    def planned(self, artifact: Artifact, work: Work) -> None:
        """A plan is not an event of a run."""

    def waiting(self, artifact: Artifact) -> None:
        """Whoever makes it meanwhile records it; here it will be reused."""

    def reused(self, artifact: Artifact) -> None:
        self._event("reused", artifact)

    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
        self._attempts[artifact.base] = attempt.id
        self._event("started", artifact, attempt=attempt.id, config=dict(config))
        self._guard(self._keep_sender)

    def finished(self, artifact: Artifact) -> None:
        self._event("finished", artifact, attempt=self._attempts.get(artifact.base))

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self._event("failed", artifact, attempt=attempt.id, **_ending(error))

    def ended(self, error: BaseException | None = None) -> None:
        """The flow is over: done, failed, or cancelled by the user. Only the first call counts."""
        if not self._ended:
            self._ended = True
            self._guard(self._journal.write, "ended", **_ending(error))

    def close(
        self, timeout_seconds: float = 120, tell: Callable[[str], None] = lambda status: None
    ) -> str | None:
        """Wait until all has been sent, at most `timeout_seconds`; then the sender is stopped.

        `tell` gets what is being done, in words, whenever that changes. Comes back with None, or
        with one line that says what remains; the next run with this store sends it.
        """
        self.ended()
        deadline = time.monotonic() + timeout_seconds
        told = ""
        try:
            while not self._delivered and time.monotonic() < deadline:
                if not self._draining():
                    break
                if self.status != told:
                    told = self.status
                    tell(told)
                time.sleep(TURN_SECONDS)
        except OSError as error:
            log.warning("the MLflow sender could not be reached: %s", error)
        finally:
            self._stop()
        if self._delivered:
            return None
        return (
            f"not everything has reached MLflow ({self.destination.label}; last: "
            f"{self.status or 'the sender did not start'}). It is kept in "
            f"{self.storage.root}/{RUNS}/{self.id}, and the next run sends it."
        )

    def _begin(self, flow: Flow) -> None:
        self._lock = filelock.FileLock(lock_path(self.storage, self.id, "driver"))
        self._lock.acquire(timeout=0)
        self._journal.write(
            "flow",
            name=flow.name,
            config=dict(flow.config),
            config_path=flow.config_path,
            command=flow.command,
            commit=commit(),
            store=self._root(),
            destination=self.destination.label,
            pid=os.getpid(),
        )
        self._start()

    def _event(self, kind: str, artifact: Artifact, **fields: Any) -> None:
        self._guard(
            self._journal.write, kind, stage=artifact.stage, key=artifact.key, role=artifact.role, **fields
        )

    def _guard(self, function: Callable[..., None], *arguments: Any, **fields: Any) -> None:
        """Tracking that fails is told in the log; the flow goes on."""
        try:
            function(*arguments, **fields)
        except Exception as error:
            log.warning("tracking: %s: %s", type(error).__name__, error)

    def _start(self) -> None:
        """Start the sender, in our process group so that it goes where we go.

        Ctrl-C reaches the whole group, and a cancelled job's SIGTERM all our children; the sender
        inherits both blocked, because it has yet to record that the flow was cancelled. It exits
        when its standard input closes.
        """
        self._starts += 1
        code = Path(pipeline.__file__).parents[1]
        environment = {**os.environ, **QUIET_ENVIRONMENT}
        environment["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(code), environment.get("PYTHONPATH")) if part
        )
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            with log_path(self.storage, self.id).open("ab") as errors:
                self._sender = subprocess.Popen(
                    [sys.executable, "-m", "pipeline.tracking.sender"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        self._say(json.dumps({"store": self._root(), "run": self.id, "configured": self.configured}))
        self._drain_asked = False
        self._listening = threading.Thread(target=self._hear, args=(self._sender,), daemon=True)
        self._listening.start()

    def _root(self) -> str:
        """The store as another process finds it, whatever its working folder."""
        return self.storage.full("") if self.storage.is_local else self.storage.root

    def _hear(self, sender: "subprocess.Popen[str]") -> None:
        assert sender.stdout is not None
        for line in sender.stdout:
            if line.strip() == "delivered":
                self._delivered = True
            else:
                self.status = line.strip()

    def _say(self, line: str) -> None:
        if self._sender is not None and self._sender.stdin is not None:
            self._sender.stdin.write(line + "\n")
            self._sender.stdin.flush()

    def _keep_sender(self) -> None:
        """Start the sender again if it died."""
        if (self._sender is None or self._sender.poll() is not None) and self._starts < STARTS:
            self._start()

    def _draining(self) -> bool:
        """Make sure that a sender is there and knows that we wait for it. False if there can be none."""
        if self._sender is None or self._sender.poll() is not None:
            if self._listening is not None:
                self._listening.join(STOP_SECONDS)
            if self._delivered or self._starts >= STARTS:
                return self._delivered
            self._start()
        if not self._drain_asked:
            self._say("drain")
            self._drain_asked = True
        return True

    def _stop(self) -> None:
        sender, self._sender = self._sender, None
        self._starts = STARTS
        if sender is not None:
            if sender.stdin is not None:
                try:
                    sender.stdin.close()
                except OSError:
                    log.debug("the sender had already gone")
            try:
                sender.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                sender.kill()
                sender.wait()
            if self._listening is not None:
                self._listening.join(STOP_SECONDS)
            if sender.stdout is not None:
                sender.stdout.close()
        if self._lock is not None:
            self._lock.release()


def lock_path(storage: Storage, run: str, name: str) -> Path:
    """A lock of one run on this machine: in its folder, or among temporary files for an object store."""
    path = storage.local(f"{RUNS}/{run}") or cache_folder() / RUNS / run
    path.mkdir(parents=True, exist_ok=True)
    return path / f"{name}.lock"


def log_path(storage: Storage, run: str) -> Path:
    """What the sender logs: kept beside the run's journal."""
    return lock_path(storage, run, "sender").with_suffix(".log")


def _ending(error: BaseException | None) -> dict[str, str]:
    if error is None:
        return {"status": "finished"}
    text = str(error) or type(error).__name__
    return {"status": "cancelled" if isinstance(error, CANCELLED) else "failed", "error": text}

"""The driver's side: writes down what happens to a flow, and keeps the process that sends it to MLflow."""

import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock

from pipeline.credentials import hidden
from pipeline.store import Artifact, Attempt, Journal, Storage, Work, fault_of_machine, flush_journals
from pipeline.store.records import commit
from pipeline.store.storage import cache_folder
from pipeline.tracking.destination import Destination
from pipeline.tracking.sender_process import SenderProcess

log = logging.getLogger(__name__)

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
        self._attempts: dict[str, str] = {}
        self._ended = False
        self._unwritten: deque[dict[str, Any]] = deque()
        """Events that could not be appended, for want of room; tried again with the next."""
        self._fault: Exception | None = None
        """Why they could not."""
        self._lock: filelock.BaseFileLock | None = None
        self._sender: SenderProcess | None = None
        self._journal = Journal(storage, f"{RUNS}/{self.id}", "events")
        self._begin(flow)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended(error)
        self.close()

    @property
    def status(self) -> str:
        """What the sender is doing, in words."""
        return self._sender.status if self._sender is not None else ""

    @property
    def page(self) -> str:
        """Where the run is to be seen, once MLflow has it: an address, or the end of one at which `moinho ui`
        shows it. Empty until then."""
        run = self._sender.run if self._sender is not None else None
        return "" if run is None else self.destination.page(run)

    def planned(self, artifact: Artifact, work: Work) -> None:
        """A plan is not an event of a run."""

    def waiting(self, artifact: Artifact) -> None:
        """Whoever makes it meanwhile records it; here it will be reused."""

    def reused(self, artifact: Artifact) -> None:
        self._event("reused", artifact)

    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
        self._attempts[artifact.base] = attempt.id
        try:
            before = [
                found for found in attempt.storage.list(f"{attempt.base}/attempts") if found != attempt.id
            ]
        except Exception as error:
            log.warning("tracking: %s: %s", type(error).__name__, error)
            before = []
        self._event("started", artifact, attempt=attempt.id, config=dict(config), continues=before)

    def finished(self, artifact: Artifact) -> None:
        self._event("finished", artifact, attempt=self._attempts.get(artifact.base))

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self._event("failed", artifact, attempt=attempt.id, **_ending(error))

    def ended(self, error: BaseException | None = None) -> None:
        """The flow is over: done, failed, or cancelled by the user. Only the first call counts."""
        if not self._ended:
            self._ended = True
            self._write("ended", **_ending(error))

    def close(
        self, timeout_seconds: float = 60, tell: Callable[[str], None] = lambda status: None
    ) -> str | None:
        """Wait until all has been sent; then the sender is stopped.

        Waits `timeout_seconds` at most, and UNANSWERED_SECONDS at most for an MLflow that takes nothing.
        `tell` gets what is being done, in words, whenever that changes. Comes back with None, or
        with one line that says what remains; the next run with this store sends it.
        """
        self.ended()
        flush_journals()
        sender, told = self._sender, ""
        try:
            if sender is not None and not self._unwritten:
                sender.drain()
                end = time.monotonic() + timeout_seconds
                while time.monotonic() < end and sender.is_of_use():
                    if sender.status != told:
                        told = sender.status
                        tell(told)
                    time.sleep(TURN_SECONDS)
        finally:
            if sender is not None:
                sender.stop()
            if self._lock is not None:
                self._lock.release()
        if self._unwritten:
            return f"this run is not recorded in MLflow: {self._fault}"
        if sender is not None and sender.delivered:
            return None
        return (
            f"not everything has reached MLflow ({self.destination.label}; last: "
            f"{self.status or 'the sender did not start'}). It is kept in "
            f"{self.storage.root}/{RUNS}/{self.id}, and the next run sends it."
        )

    def _begin(self, flow: Flow) -> None:
        self._write(
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
        if self._unwritten:
            return
        try:
            lock = filelock.FileLock(lock_path(self.storage, self.id, "driver"))
            lock.acquire(timeout=0)
            self._lock = lock
            task = {"store": self._root(), "run": self.id, "configured": self.configured}
            self._sender = SenderProcess(task, log_path(self.storage, self.id))
        except OSError as error:
            log.warning("tracking: %s: %s", type(error).__name__, error)

    def _event(self, kind: str, artifact: Artifact, **fields: Any) -> None:
        self._write(kind, stage=artifact.stage, key=artifact.key, role=artifact.role, **fields)

    def _write(self, kind: str, **fields: Any) -> None:
        """Append an event and those that could not be appended before it; a fault is kept, and no more."""
        self._unwritten.append({"kind": kind, "time": time.time(), **fields})
        try:
            while self._unwritten:
                self._journal.write(**self._unwritten[0])
                self._unwritten.popleft()
        except Exception as error:
            self._fault = fault_of_machine(error, self.storage.local("")) or error
            log.warning("tracking: %s: %s", type(error).__name__, error)

    def _root(self) -> str:
        """The store as another process finds it, whatever its working folder."""
        return self.storage.full("") if self.storage.is_local else self.storage.root


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
    text = hidden(str(error)) or type(error).__name__
    return {"status": "cancelled" if isinstance(error, CANCELLED) else "failed", "error": text}

"""The child process that sends journals to MLflow. Started by Tracker, on the same machine.

Nothing is remembered between senders but which runs are done: MLflow itself is asked for what it
has (runs by their tags, metrics by their history), so that no cursor can disagree with it. Told
`drain` on standard input it sends the rest and exits; it exits at once when the input closes.
"""

import json
import logging
import os
import select
import signal
import sys
from typing import Any

import filelock
import tenacity

from pipeline.credentials import HidingFormatter, hidden
from pipeline.store import JournalReader, Storage
from pipeline.tracking.destination import QUIET_ENVIRONMENT, Destination
from pipeline.tracking.sender_process import DELIVERED, NOT_TAKEN, RUN
from pipeline.tracking.tracker import RUNS, lock_path

log = logging.getLogger(__name__)

NICENESS = 10
TURN_SECONDS = 2.0
TURN_SECONDS_REMOTE = 5.0
BACK_OFF_SECONDS = 30
ENVIRONMENT = {
    **QUIET_ENVIRONMENT,
    # Waiting for a server is done here, between calls, where the driver can still stop us.
    # A retry inside the client would send again what a server may have taken before it was cut off.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
    "GIT_PYTHON_REFRESH": "quiet",
}


class DriverGoneError(Exception):
    """Standard input closed: the program that started us has ended."""


class Driver:
    """The line to the program that started us."""

    def __init__(self) -> None:
        self.draining = False
        self._rest = b""

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the driver says something. Raises DriverGoneError."""
        if not self._rest:
            ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
            if not ready:
                return
        line = self.line()
        self.draining = self.draining or line == "drain"

    def line(self) -> str:
        while b"\n" not in self._rest:
            data = os.read(sys.stdin.fileno(), 1 << 16)
            if not data:
                raise DriverGoneError
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def tell(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError as error:
            raise DriverGoneError from error


class Sender:
    """Sends the run of our driver, then what dead drivers left behind."""

    def __init__(self, driver: Driver, storage: Storage, run: str, configured: str | None) -> None:
        self.driver, self.storage, self.run = driver, storage, run
        self.destination = Destination.of(storage, configured)
        self.turn_seconds = TURN_SECONDS if storage.is_local else TURN_SECONDS_REMOTE
        self._flows: dict[str, Any] = {}
        self._locks: list[filelock.BaseFileLock] = []
        self._runs: Any = None
        self._orphans: list[str] | None = None
        self._is_nice = False
        self._run_is_told = False

    def work(self) -> None:
        """Until the driver wants the rest, and there is none."""
        own = filelock.FileLock(lock_path(self.storage, self.run, "sender"))
        own.acquire()
        self._locks.append(own)
        while True:
            waited = tenacity.Retrying(
                wait=tenacity.wait_exponential_jitter(initial=1, max=BACK_OFF_SECONDS),
                retry=tenacity.retry_if_exception(lambda error: not isinstance(error, DriverGoneError)),
                sleep=self.driver.pause,
                after=self._report,
            )
            was_draining = self.driver.draining
            if waited(self._send) and was_draining:
                break
            if was_draining or not self.driver.draining:
                self.driver.pause(self.turn_seconds)
        self.driver.tell(DELIVERED)

    def _report(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("try %d: %s: %s", state.attempt_number, type(error).__name__, error)
        self.driver.tell(
            f"{NOT_TAKEN}{self.destination.label} does not take it, trying again: {hidden(_reason(error))}"
        )

    def _send(self) -> bool:
        """One pass. True if everything, orphans included, has been sent."""
        self._connect()
        self.driver.tell("sending this run to MLflow")
        own = self._flow(self.run)
        own.send()
        if own.run and not self._run_is_told:
            self.driver.tell(f"{RUN}{self._runs.experiment}/{own.run}")
            self._run_is_told = True
        if own.makes_something and not self._is_nice:
            # Not from the start: a run that reuses everything should not wait for us longer than it must.
            os.nice(NICENESS)
            self._is_nice = True
        for run in self._unfinished():
            self.driver.tell(f"sending what was left of run {run}")
            self._send_orphan(run)
            self._orphans = [other for other in self._orphans or [] if other != run]
        return bool(own.delivered)

    def _send_orphan(self, run: str) -> None:
        """What a run left that can no longer send it. One that cannot be read does not stop the others."""
        from pipeline.tracking.runs import passes

        try:
            flow = self._flow(run)
            flow.send()
            flow.close_orphan()
        except Exception as error:
            if passes(error):
                raise
            log.exception("run %s is left as it is", run)

    def _connect(self) -> None:
        """Importing MLflow and opening its database take seconds; done here and never on the driver."""
        if self._runs is None:
            self.driver.tell("opening MLflow")
            from pipeline.tracking.runs import Runs

            self._runs = Runs(self.destination.uri, self.destination.prepare())

    def _flow(self, run: str) -> Any:
        from pipeline.tracking.flow_run import FlowRun

        if run not in self._flows:
            self._flows[run] = FlowRun(self._runs, self.storage, run)
        return self._flows[run]

    def _unfinished(self) -> list[str]:
        """Runs for this destination whose driver and sender are both dead, and that are not all sent."""
        if self._orphans is None:
            self._orphans = [
                run
                for run in self.storage.list(RUNS)
                if run != self.run
                and not self.storage.exists(f"{RUNS}/{run}/delivered.json")
                and self._is_ours(run)
                and self._is_dead(run)
            ]
        return list(self._orphans)

    def _is_ours(self, run: str) -> bool:
        events = JournalReader(self.storage, f"{RUNS}/{run}").read()
        first = next(iter(events), None)
        return first is not None and first.get("destination") == self.destination.label

    def _is_dead(self, run: str) -> bool:
        """Both locks of the run can be had; they are kept, so that no one else sends it meanwhile.

        The lock of a run on another machine is not seen here. Such a run of an object store
        is left to the next run on its own machine.
        """
        if not self.storage.is_local and not lock_path(self.storage, run, "driver").exists():
            return False
        held: list[filelock.BaseFileLock] = []
        for name in ("driver", "sender"):
            lock = filelock.FileLock(lock_path(self.storage, run, name))
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                for other in held:
                    other.release()
                return False
            held.append(lock)
        self._locks += held
        return True


def _reason(error: BaseException | None) -> str:
    """In a few words: what the operating system said, where the libraries' words come from that."""
    found = error
    while error is not None:
        found = error if isinstance(error, OSError) else found
        error = error.__cause__ or error.__context__
    text = str(found).strip().splitlines()
    return text[0][:200] if text else repr(found)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ENVIRONMENT)
    writing = logging.StreamHandler()
    writing.setFormatter(HidingFormatter("%(asctime)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[writing])
    driver = Driver()
    try:
        task = json.loads(driver.line())
        Sender(driver, Storage(task["store"]), task["run"], task["configured"]).work()
    except DriverGoneError:
        log.warning("the driver ended first; the next run sends the rest")
    # Not sys.exit: a connection to a server that is away may hold up the interpreter's end.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

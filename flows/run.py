"""Running a flow: its listeners, its log, its summary, and what happens when it is stopped."""

import contextlib
import logging
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.display import Display, duration, number
from flows.web_to_model import Road, WebToModel, web_to_model
from pipeline.compute import Compute
from pipeline.errors import MoinhoError
from pipeline.store import Artifact, Attempt, Store, Work
from pipeline.tracking import Flow, Tracker

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED = 0, 1, 130
BEGUN_BY = "MOINHO_BEGUN_BY"
"""Environment variable with the command that began this run, where that was not `moinho run`."""
DRAIN_SECONDS, DRAIN_AFTER_FAILURE_SECONDS, DRAIN_AFTER_STOP_SECONDS = 120.0, 10.0, 3.0


class Quiet:
    """A listener of the store that does nothing yet; a base for those that care about some events."""

    def planned(self, artifact: Artifact, work: Work) -> None: ...
    def reused(self, artifact: Artifact) -> None: ...
    def waiting(self, artifact: Artifact) -> None: ...
    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None: ...
    def finished(self, artifact: Artifact) -> None: ...
    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None: ...


class Namer(Quiet):
    """Lets `<flow>/<role>` point to each artifact as soon as it is there."""

    def __init__(self, store: Store, flow: str) -> None:
        self.store, self.flow = store, flow

    def reused(self, artifact: Artifact) -> None:
        self.store.name(f"{self.flow}/{artifact.role}", artifact)

    finished = reused


class History(Quiet):
    """Remembers what became of each stage, for the summary."""

    def __init__(self) -> None:
        self.stages: list[tuple[Artifact, bool]] = []
        """Artifacts in the order of the flow, and whether each was made in this run."""
        self.broken: tuple[Artifact, Attempt] | None = None

    def reused(self, artifact: Artifact) -> None:
        self.stages.append((artifact, False))

    def finished(self, artifact: Artifact) -> None:
        self.stages.append((artifact, True))

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self.broken = (artifact, attempt)


class StageLog(Quiet):
    """Writes what all libraries log while a stage is made to the log of its attempt."""

    def __init__(self) -> None:
        self.handler: logging.FileHandler | None = None

    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
        self.handler = logging.FileHandler(attempt.path("log.txt"), delay=True, encoding="utf-8")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self.handler)

    def finished(self, artifact: Artifact) -> None:
        self._close()

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        path = attempt.path("log.txt")
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
        self._close()
        attempt.storage.upload(path, attempt.log)

    def _close(self) -> None:
        if self.handler is not None:
            logging.getLogger().removeHandler(self.handler)
            self.handler.close()
            self.handler = None


def run(config: WebToModel, config_path: Path, settings: Sequence[str], console: Console) -> int:
    """Run the flow to its end. Returns the exit code: 0 done, 1 a stage failed, 2 bad input, 130 stopped."""
    start = time.monotonic()
    _quiet_libraries()
    store, compute, history = Store(config.compute.store), Compute(config.compute), History()
    # A job was begun by a command on another machine, and that one goes on with it.
    again = os.environ.get(BEGUN_BY) or shlex.join(
        ["moinho", "run", str(config_path), *(word for given in settings for word in ("--set", given))]
    )
    flow = Flow(config.name, config.resolved(), str(config_path), again)
    with _stop_signals(), Tracker(store.storage, flow, config.compute.mlflow) as tracker:
        try:
            with contextlib.ExitStack() as closing:
                closing.callback(compute.stop)
                display = closing.enter_context(Display(console))
                store.listeners = [StageLog(), Namer(store, config.name), history, tracker, display]
                road = web_to_model(config, store, compute)
        except KeyboardInterrupt as stop:
            tracker.ended(stop)
            tracker.close(timeout_seconds=DRAIN_AFTER_STOP_SECONDS)
            console.print(
                f"\nStopped. What is finished stays in the store; to go on: [bold]{escape(again)}[/bold]",
                soft_wrap=True,
            )
            return EXIT_STOPPED
        except Exception as error:
            tracker.ended(error)
            tracker.close(timeout_seconds=DRAIN_AFTER_FAILURE_SECONDS)
            return _tell_failure(error, history, console, again)
        tracker.ended()
        unsent = _drain(tracker, console)
    _tell_summary(road, history, config.name, console, time.monotonic() - start)
    if unsent:
        console.print(f"[yellow]{escape(unsent)}[/yellow]", soft_wrap=True)
    return EXIT_DONE


def _drain(tracker: Tracker, console: Console) -> str | None:
    """Wait until MLflow has everything, telling what is being sent; one line of what remains, or None."""
    with console.status("MLflow: sending the rest") as status:
        return tracker.close(DRAIN_SECONDS, lambda told: status.update(f"MLflow: {escape(told)}"))


def _tell_failure(error: Exception, history: History, console: Console, again: str) -> int:
    """One message for a fault of the input or of a stage; the traceback lies in the stage's log."""
    told = str(error) if isinstance(error, MoinhoError) else f"{type(error).__name__}: {error}"
    console.print(f"[red]error:[/red] {escape(told)}", soft_wrap=True)
    if history.broken is not None:
        _, attempt = history.broken
        console.print(f"log: {attempt.path('log.txt')}", soft_wrap=True)
        console.print(
            f"What is finished stays in the store; to go on: [bold]{escape(again)}[/bold]", soft_wrap=True
        )
    return error.exit_code if isinstance(error, MoinhoError) else EXIT_FAILED


def _tell_summary(road: Road, history: History, name: str, console: Console, seconds: float) -> None:
    table = Table(title=f"{name}: from URLs to a chat model in {duration(seconds)}", title_justify="left")
    for column in ("stage", "key", "took", "counts"):
        table.add_column(column, overflow="fold", no_wrap=column in ("stage", "key", "took"))
    for artifact, made in history.stages:
        record = artifact.record
        counts = ", ".join(
            f"{number(count)} {label.replace('_', ' ')}"
            for label, count in record.counts.items()
            if "." not in label
        )
        table.add_row(record.stage, record.key[:8], duration(record.seconds) if made else "reused", counts)
    console.print(table)
    for title, model in (("base model", road.base), ("chat model", road.chat)):
        figures = ", ".join(f"{key.replace('_', ' ')} {number(v)}" for key, v in model.record.figures.items())
        console.print(f"[bold]{title}[/bold]  {figures}\n            {model.folder('model')}", soft_wrap=True)
    for label, value in road.scores.record.figures.items():
        console.print(f"  {label.replace('_', ' '):<44} {number(value)}")
    console.print(
        f"\nnext:\n"
        f'  [bold]moinho complete {name}/base "The function returns a" --top 10[/bold]\n'
        f"  [bold]moinho chat {name}/chat[/bold]\n"
        f"  [bold]moinho show {name}/chat[/bold]       what it was made from\n"
        f"  [bold]moinho ui[/bold]                     curves, counts and models in MLflow",
        soft_wrap=True,
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does; a second one does not interrupt the stopping."""

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _quiet_libraries() -> None:
    """Warnings of the libraries belong into the logs of the stages, not between the progress lines."""
    logging.captureWarnings(True)
    logging.getLogger().setLevel(logging.INFO)
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        logging.getLogger("py.warnings").setLevel(logging.WARNING)

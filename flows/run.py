"""Running a flow, to its end or until it is stopped."""

import contextlib
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import Console
from rich.markup import escape

from flows.display import STOPS, Display
from flows.endings import (
    EXIT_DONE,
    EXIT_STOPPED,
    tell_comparison,
    tell_end,
    tell_failure,
    tell_pages,
    tell_road,
    tell_stages,
)
from flows.listeners import History, Namer, StageLog
from flows.planning import refuse_early
from flows.stop_signals import StopSignals
from flows.until import up_to
from flows.web_to_model import (
    WebToModel,
    web_to_comparison,
    web_to_model,
    web_to_pages,
    web_to_sweep,
)
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.errors import InputError
from pipeline.store import (
    OverlappingStore,
    Store,
    fault_of_machine,
)
from pipeline.tracking import Flow, Tracker

M = TypeVar("M")

BEGUN_BY = "MOINHO_BEGUN_BY"
"""Environment variable with the command that began this run, where that was not `moinho run`."""
UI_ADDRESS = "http://127.0.0.1:5000"
"""Of `moinho ui`, unless it is told another."""
DRAIN_SECONDS, DRAIN_AFTER_FAILURE_SECONDS, DRAIN_AFTER_STOP_SECONDS = 60.0, 10.0, 3.0


def run(config: WebToModel, config_path: Path, again: str, console: Console, until: str | None = None) -> int:
    """Run the whole road, or as far as the stage `until`.

    Returns the exit code: 0 done, 1 a stage failed, 2 bad input, 130 stopped.
    `again` is the command that goes on with it, as its user typed it.
    """
    if until is not None:
        beginning = _Command(
            f"as far as {until}",
            up_to(until, web_to_model),
            partial(tell_end, until=until),
            may_overlap=False,
        )
        return _run(beginning, config, config_path, again, console)
    return _run(
        _Command("from URLs to a chat model", web_to_model, tell_road),
        config,
        config_path,
        again,
        console,
    )


def run_for(
    flow: Callable[[WebToModel, Store, Compute], M],
    way: str,
    config: WebToModel,
    config_path: Path,
    again: str,
    console: Console,
) -> tuple[int, M | None]:
    """Run a flow for what it makes: the exit code as `run` returns it, and that, if it was made."""
    made: list[M] = []
    command = _Command(way, flow, lambda found, name, console: made.append(found))
    code = _run(command, config, config_path, again, console)
    return code, made[0] if made else None


def crawl_alone(config: WebToModel, config_path: Path, again: str, console: Console) -> int:
    """Run the road's beginning, up to the pages. Returns the exit code as `run` does."""
    return _run(
        _Command("from URLs to pages", web_to_pages, tell_pages),
        config,
        config_path,
        again,
        console,
    )


def compare_vocabularies(
    config: WebToModel, config_path: Path, again: str, console: Console, shown: bool
) -> int:
    """Run the road up to the corpus, and compare vocabularies on it; `shown` in a browser, too.

    Returns the exit code as `run` does.
    """
    command = _Command("vocabularies compared", web_to_comparison, partial(tell_comparison, shown=shown))
    return _run(command, config, config_path, again, console)


def sweep(config: WebToModel, config_path: Path, again: str, console: Console) -> int:
    """Run the road up to the tokens, and try trainings on them. Returns the exit code as `run` does."""
    from flows.sweeps import tell_sweep  # which imports what draws

    command = _Command("trainings compared", web_to_sweep, tell_sweep)
    return _run(command, config, config_path, again, console)


def history(config: WebToModel, config_path: Path, again: str, console: Console) -> int:
    """Run the road up to the tokens, and every family on them. Returns the exit code as `run` does."""
    from flows.history import tell_history, web_to_history  # which import what draws

    command = _Command("every family compared", web_to_history, tell_history)
    return _run(command, config, config_path, again, console)


@dataclass(frozen=True)
class _Command(Generic[M]):
    """A flow, and how it is spoken of."""

    way: str
    flow: Callable[[WebToModel, Store, Compute], M]
    tell: Callable[[M, str, Console], None]
    """Tells what was made, by the name of the run."""
    may_overlap: bool = True
    """Whether all that it makes is wanted, so that no stage need wait for another that it does not need."""


def _run(command: _Command[M], config: WebToModel, config_path: Path, again: str, console: Console) -> int:
    """Run a flow to its end. Returns the exit code: 0 done, 1 a stage failed, 2 bad input, 130 stopped."""
    start = time.monotonic()
    _quiet_libraries()
    compute, history = Compute(config.compute), History()
    store = _store_of(config.compute, command.may_overlap)
    store.claim_elsewhere = compute.claim
    namer = Namer(store, config.name)
    # A job was begun by a command on another machine, and that one goes on with it.
    again = os.environ.get(BEGUN_BY, again)
    if warning := store.storage.check():
        console.print(f"[yellow]{escape(warning)}[/yellow]", soft_wrap=True)
    try:
        refuse_early(command.flow, config)
    except InputError as error:
        return tell_failure(error, history, console, again)
    flow = Flow(config.name, config.resolved(), str(config_path), again)
    with StopSignals() as signals, Tracker(store.storage, flow, config.compute.mlflow) as tracker:
        display = Display(console, partial(_start_of_ray, compute), partial(_page, tracker, config))
        try:
            with contextlib.ExitStack() as closing:
                closing.callback(compute.stop)
                closing.enter_context(display)
                closing.callback(signals.stopping)
                store.listeners = [StageLog(), namer, history, tracker, display]
                if isinstance(store, OverlappingStore):
                    compute.start()  # here: the servers of a local Ray end with the thread that started them
                with _settled(store, compute):
                    made = command.flow(config, store, compute)
        except STOPS as stop:
            tracker.ended(stop)
            tracker.close(timeout_seconds=DRAIN_AFTER_STOP_SECONDS)
            display.tell_page()
            console.print(
                f"\nStopped. What is finished stays in the store; to go on: [bold]{escape(again)}[/bold]",
                soft_wrap=True,
            )
            return EXIT_STOPPED
        except Exception as error:
            told = fault_of_machine(error, store.storage.local("")) or error
            tracker.ended(told)
            tracker.close(timeout_seconds=DRAIN_AFTER_FAILURE_SECONDS)
            display.tell_page()
            return tell_failure(told, history, console, again)
        tracker.ended()
        unsent = _drain(tracker, signals, console)
        display.tell_page()
    tell_stages(history, f"{config.name}: {command.way}", console, time.monotonic() - start)
    command.tell(made, config.name, console)
    for remark in filter(None, (namer.fault, unsent)):
        console.print(f"[yellow]{escape(remark)}[/yellow]", soft_wrap=True)
    return EXIT_DONE


def _store_of(compute: ComputeConfig, may_overlap: bool) -> Store:
    """The store of a run, whose stages are made side by side or one after the other."""
    return (OverlappingStore if may_overlap and compute.overlaps else Store)(compute.store)


@contextlib.contextmanager
def _settled(store: Store, compute: Compute) -> Iterator[None]:
    """Wait at the end of the block for what is still being made. A stage that fails lets others that are at
    work go on to their end; a stop ends them all."""
    try:
        try:
            yield
        except Exception:
            with contextlib.suppress(Exception):  # the first fault is told, others stand in their logs
                store.settle()
            raise
        store.settle()
    except STOPS:
        compute.ask_to_stop()
        with contextlib.suppress(Exception, *STOPS):
            store.settle()
        raise


def _start_of_ray(compute: Compute) -> str:
    """Why nothing is made yet, if Ray is being started or joined."""
    if not compute.is_starting:
        return ""
    waits = "; the run stops when that is done, since Ray's start cannot be broken off"
    return f"starting Ray{waits if compute.is_stopping else ''}"


def _page(tracker: Tracker, config: WebToModel) -> str:
    """Where the run is to be seen, once that is known and if it is news: of a database in the store, users of
    this machine know `moinho ui`; those of a job are elsewhere."""
    page = tracker.page
    if tracker.destination.is_server or not page:
        return page
    if BEGUN_BY not in os.environ or not tracker.storage.is_local:
        return ""
    return f"{UI_ADDRESS}{page} once it is served: moinho ui --store {shlex.quote(config.compute.store)}"


def _drain(tracker: Tracker, signals: StopSignals, console: Console) -> str | None:
    """Wait until MLflow has everything, telling what is being sent; one line of what remains, or None.

    Ctrl-C ends the waiting and nothing else: the flow is done.
    """
    signals.resume()
    word = f"MLflow: sending the rest (at most {DRAIN_SECONDS:.0f} s; Ctrl-C leaves it to the next run)"
    try:
        with console.status(word) as status:
            return tracker.close(DRAIN_SECONDS, lambda told: status.update(f"{word}: {escape(told)}"))
    except KeyboardInterrupt:
        return tracker.close(0)


def _quiet_libraries() -> None:
    """Warnings of the libraries belong into the logs of the stages, not between the progress lines."""
    logging.captureWarnings(True)
    logging.getLogger().setLevel(logging.INFO)
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        logging.getLogger("py.warnings").setLevel(logging.WARNING)

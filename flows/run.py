"""Running a flow: its listeners, its log, its summary, and what happens when it is stopped."""

import contextlib
import logging
import os
import shlex
import sys
import threading
import time
import traceback
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crawler.outcomes import RECRAWLED
from flows.display import STOPS, Display, duration, number, print_error
from flows.figures import counts_in_words, summary
from flows.stop_signals import StopSignals
from flows.web_to_model import (
    Road,
    WebToModel,
    web_to_comparison,
    web_to_model,
    web_to_pages,
    web_to_sweep,
)
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.clean import Documents
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import EARLIER, Pages
from pipeline.credentials import HidingFormatter, hidden
from pipeline.errors import InputError, MoinhoError
from pipeline.evaluation.compare import PAGE as COMPARISON_PAGE
from pipeline.evaluation.compare import Comparison
from pipeline.store import (
    Artifact,
    Attempt,
    NoRoomError,
    NotWritableError,
    OverlappingStore,
    Record,
    Store,
    Work,
    fault_of_machine,
)
from pipeline.tokens.comparison import REPORT, VocabularyComparison
from pipeline.tracking import Flow, Tracker

M = TypeVar("M")

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED = 0, 1, 130
BEGUN_BY = "MOINHO_BEGUN_BY"
"""Environment variable with the command that began this run, where that was not `moinho run`."""
UI_ADDRESS = "http://127.0.0.1:5000"
"""Of `moinho ui`, unless it is told another."""
DRAIN_SECONDS, DRAIN_AFTER_FAILURE_SECONDS, DRAIN_AFTER_STOP_SECONDS = 60.0, 10.0, 3.0


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
        self.fault: str | None = None
        """Why names could not be given; what they would point to is there all the same."""

    def reused(self, artifact: Artifact) -> None:
        try:
            self.store.name(f"{self.flow}/{artifact.role}", artifact)
        except (NoRoomError, NotWritableError) as error:
            self.fault = f"not all names {self.flow}/… could be given: {error}"

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
    """Writes what all libraries log while a stage is made to the log of its attempt.

    Of several stages that are made at once, each in a thread of its own, none gets what the others' threads
    log; what a library logs in a thread of its own stands in the logs of all.
    """

    def __init__(self) -> None:
        self.handlers: dict[str, logging.FileHandler] = {}
        """By the artifact that is being made."""
        self.threads: dict[str, int] = {}
        logging.raiseExceptions = False  # a full disk is told by the stage, not by each line of its log

    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
        handler = logging.FileHandler(attempt.path("log.txt"), delay=True, encoding="utf-8")
        handler.setFormatter(HidingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        own = threading.get_ident()
        handler.addFilter(lambda line: line.thread == own or line.thread not in self.threads.values())
        logging.getLogger().addHandler(handler)
        self.handlers[artifact.base], self.threads[artifact.base] = handler, own

    def finished(self, artifact: Artifact) -> None:
        self._close(artifact)

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self._close(artifact)
        with contextlib.suppress(OSError):  # the error itself must be heard of, with or without its log
            path = attempt.path("log.txt")
            with path.open("a", encoding="utf-8") as file:
                file.write(hidden("".join(traceback.format_exception(error))))
            attempt.storage.upload(path, attempt.log)

    def _close(self, artifact: Artifact) -> None:
        handler = self.handlers.pop(artifact.base)
        self.threads.pop(artifact.base)
        logging.getLogger().removeHandler(handler)
        handler.close()


def run(config: WebToModel, config_path: Path, again: str, console: Console, until: str | None = None) -> int:
    """Run the whole road, or as far as the stage `until`.

    Returns the exit code: 0 done, 1 a stage failed, 2 bad input, 130 stopped.
    `again` is the command that goes on with it, as its user typed it.
    """
    if until is not None:
        from flows.until import up_to  # which imports this module

        beginning = _Command(
            f"as far as {until}",
            up_to(until, web_to_model),
            partial(_tell_end, until=until),
            may_overlap=False,
        )
        return _run(beginning, config, config_path, again, console)
    return _run(
        _Command("from URLs to a chat model", web_to_model, _tell_road),
        config,
        config_path,
        again,
        console,
    )


def crawl_alone(config: WebToModel, config_path: Path, again: str, console: Console) -> int:
    """Run the road's beginning, up to the pages. Returns the exit code as `run` does."""
    return _run(
        _Command("from URLs to pages", web_to_pages, _tell_pages),
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
    command = _Command("vocabularies compared", web_to_comparison, partial(_tell_comparison, shown=shown))
    return _run(command, config, config_path, again, console)


def sweep(config: WebToModel, config_path: Path, again: str, console: Console) -> int:
    """Run the road up to the tokens, and try trainings on them. Returns the exit code as `run` does."""
    from flows.sweeps import tell_sweep  # which imports this module

    command = _Command("trainings compared", web_to_sweep, tell_sweep)
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
    from flows.planning import refuse_early  # which imports this module

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


def tell_failure(error: Exception, history: History, console: Console, again: str) -> int:
    """One message for a fault of the input, a stage or the machine; the traceback lies in the stage's log.
    How to go on is told where the same command does."""
    foreign = "\n  ".join(f"{type(error).__name__}: {error}".splitlines())
    print_error(console, str(error) if isinstance(error, MoinhoError) else foreign)
    if history.broken is not None:
        path = history.broken[1].path("log.txt")
        if path.is_file():
            console.print(f"log: {path}", soft_wrap=True)
    if history.broken is not None and (not isinstance(error, MoinhoError) or error.passes):
        console.print(
            f"What is finished stays in the store; to go on: [bold]{escape(again)}[/bold]", soft_wrap=True
        )
    return error.exit_code if isinstance(error, MoinhoError) else EXIT_FAILED


def tell_stages(history: History, title: str, console: Console, seconds: float) -> None:
    table = Table(title=f"{title} in {duration(seconds)}", title_justify="left")
    for column in ("stage", "key", "took", "counts"):
        table.add_column(column, overflow="fold", no_wrap=column in ("stage", "key", "took"))
    for artifact, made in history.stages:
        record = artifact.record
        counts = ", ".join(f"{number(count)} {label}" for label, count in counts_in_words(record).items())
        if told := _told_of_recrawl(record):
            counts += f"; since the crawl before: {told}"
        table.add_row(record.stage, record.key[:8], duration(record.seconds) if made else "reused", counts)
    console.print(table)


def _told_of_recrawl(record: Record) -> str:
    """What became of the pages of the crawl that this one started from, and how many are new; empty for any
    other stage."""
    if EARLIER not in record.inputs:
        return ""
    found = {name: record.counts.get(f"outcome.{name}", 0) for name in RECRAWLED}
    new = record.counts.get("outcome.page", 0)
    return ", ".join(f"{number(count)} {name}" for name, count in {**found, "new": new}.items())


def _tell_road(road: Road, name: str, console: Console) -> None:
    aligned = [(f"{model.role} model", model) for model in road.aligned]
    for title, model in (("base model", road.base), ("chat model", road.chat), *aligned):
        figures = ", ".join(f"{key.replace('_', ' ')} {number(v)}" for key, v in model.record.figures.items())
        console.print(
            f"[bold]{title:<10}[/bold]  {figures}\n            {model.own_folder()}", soft_wrap=True
        )
    scores = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for figure in summary(road.scores.record):
        scores.add_row(f"  {figure.name.replace('_', ' ')}", number(figure.value), figure.meaning)
    console.print(scores)
    if road.comparison is not None:
        _tell_models_compared(road.comparison, console)
    best = road.chat.role
    if road.aligned:
        best = road.comparison.content()["best"] if road.comparison is not None else road.aligned[-1].role
    commands = {
        f'moinho complete {name}/base "The function returns a" --top 10': "",
        f"moinho chat {name}/{best}": "",
        f"moinho show {name}/{best}": "what it was made from",
        f"moinho show {name}/scores --figures": "all figures, and what each means",
        **({f"moinho show {name}/assessment-{best}": "where its own page lies"} if road.comparison else {}),
        f"moinho corpus dropped {name}/documents": "pages left out, and why",
        "moinho ui": "curves, counts and models in MLflow",
    }
    _tell_next(commands, console)


def _tell_models_compared(comparison: Comparison, console: Console) -> None:
    """Which model is the best and why, and where the pages lie."""
    console.print("\n[bold]compared[/bold]")
    for sentence in comparison.content()["verdict"]:
        console.print(f"  {escape(sentence)}", soft_wrap=True)
    console.print(f"  all figures side by side: {comparison.path(COMPARISON_PAGE)}", soft_wrap=True)


def _tell_end(artifact: Artifact, name: str, console: Console, *, until: str) -> None:
    """Where a run ended that its user let end early, and what to look at next."""
    commands = {f"moinho show {name}/{artifact.role}": "what it holds, and where its files lie"}
    if artifact.role in (Documents.role, Corpus.role):
        commands[f"moinho corpus dropped {name}/{Documents.role}"] = "what was left out, and why"
    commands["the same command without --until"] = "goes on from here"
    console.print(
        f"\nEnded with {artifact.stage}, as --until {until} asks: it lies in "
        f"{artifact.storage.full(artifact.base)}",
        soft_wrap=True,
    )
    _tell_next(commands, console)


def _tell_pages(pages: Pages, name: str, console: Console) -> None:
    """What to look at next. Pages that were taken from archives have no frontier and no report."""
    if pages.stage == Pages.stage:
        commands = {
            f"moinho crawl report {name}/pages": "what was found, in pictures",
            f"moinho frontier ls {name}/pages": "what became of each URL",
            f"moinho frontier why URL {name}/pages": "what became of one, and why",
        }
    else:
        commands = {
            f"moinho show {name}/pages": "what was counted, and where the log of all URLs lies",
            f"moinho ls {name}": "all that this run made",
        }
    _tell_next(commands, console)


def _tell_next(commands: Mapping[str, str], console: Console) -> None:
    """What to type next, and what it tells."""
    width = max(map(len, commands))
    console.print("\nnext:")
    for command, told in commands.items():
        console.print(f"  [bold]{command:<{width}}[/bold]    {told}".rstrip(), soft_wrap=True)


def _tell_comparison(comparison: VocabularyComparison, name: str, console: Console, *, shown: bool) -> None:
    from pipeline.tokens.comparison_page import rows

    found, report = comparison.figures(), comparison.path(REPORT)
    table = Table(title="on held-out text", title_justify="left")
    for place, column in enumerate(("", *found)):
        table.add_column(column, justify="right" if place else "left")
    for row in rows(found):
        table.add_row(*row)
    console.print(table)
    console.print(f"by language, and what each figure means: {report}", soft_wrap=True)
    if shown:
        webbrowser.open(report.absolute().as_uri())


def _quiet_libraries() -> None:
    """Warnings of the libraries belong into the logs of the stages, not between the progress lines."""
    logging.captureWarnings(True)
    logging.getLogger().setLevel(logging.INFO)
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        logging.getLogger("py.warnings").setLevel(logging.WARNING)

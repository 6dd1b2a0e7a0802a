"""How a run is stopped, and how it tells that a stage failed."""

import io
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from crawler.crawl import CrawlConfig
from crawler.ingest import IngestedPages
from crawler.seed_places import NoContactError
from flows.display import Display
from flows.endings import tell_failure, tell_pages, tell_stages
from flows.listeners import History, StageLog
from flows.run import _start_of_ray
from flows.stop_signals import StopSignals
from pipeline.cluster import deferred_stop
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.corpus.pages import EARLIER, Pages
from pipeline.errors import StageError
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.training.pretrain import BaseModel
from tests.road import CONFIG


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_run_and_further_ones_do_not_interrupt_the_stopping(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        signals.stopping()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_signal_is_acknowledged_while_ray_keeps_it_waiting(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []

    def start_ray() -> None:
        with deferred_stop():
            os.kill(os.getpid(), signal.SIGINT)
            end = time.monotonic() + 10
            while not any(told) and time.monotonic() < end:
                time.sleep(0.01)
                told.append(capfd.readouterr().err)

    with StopSignals(), pytest.raises(KeyboardInterrupt):
        start_ray()
    assert "".join(told) == "stopping ... (what is finished stays)\n"


def test_a_stop_that_waited_for_ray_counts_although_ray_did_not_start() -> None:
    def start_ray() -> None:
        with deferred_stop():
            os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("the node timed out during startup")

    with StopSignals(), pytest.raises(KeyboardInterrupt):
        start_ray()


def test_a_stop_that_a_destructor_swallowed_comes_again_and_shows_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Stopped:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # Python calls handlers between two instructions
                pass

    def work() -> None:
        Stopped()
        time.sleep(5)

    with StopSignals(), pytest.raises(KeyboardInterrupt):
        work()
    assert "Traceback" not in capfd.readouterr().err


def test_after_the_flow_signals_are_not_said_to_stop_it(capfd: pytest.CaptureFixture[str]) -> None:
    with StopSignals() as signals:
        signals.resume()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == ""


class Flour(Artifact):
    stage, role = "grind", "flour"


@pytest.mark.parametrize("root", ["folder", "memory://moinho-failing"])
def test_a_failed_stage_names_a_log_that_is_on_this_machine(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    history = History()
    store = Store(str(tmp_path / root) if root == "folder" else root, [StageLog(), history])

    def grind(attempt: Attempt) -> Made:
        raise ValueError("the wind dropped\nand the mill stands")

    with pytest.raises(ValueError, match="wind") as caught:
        store.make(Flour, Config(), {}, grind)
    console = Console(file=io.StringIO(), width=1000)
    assert tell_failure(caught.value, history, console, "moinho run x.toml") == 1
    assert isinstance(console.file, io.StringIO)
    lines = dict(line.split(": ", 1) for line in console.file.getvalue().splitlines() if ": " in line)
    assert lines["error"] == "ValueError: the wind dropped"
    assert "\n  and the mill stands\n" in console.file.getvalue()
    assert "the wind dropped" in Path(lines["log"]).read_text()
    _, attempt = history.broken or (None, None)
    assert attempt is not None
    assert b"the wind dropped" in store.storage.read(attempt.log)


def test_the_table_of_stages_tells_what_a_recrawl_found_of_the_crawl_before(store: Store) -> None:
    counts = {"pages": 9, "outcome.page": 2, "outcome.unchanged": 6, "outcome.changed": 1}
    first = store.make(Pages, CrawlConfig(max_pages=1), {}, lambda attempt: Made({}, counts))
    second = store.make(Pages, CrawlConfig(), {EARLIER: first}, lambda attempt: Made({}, counts))
    told = []
    for pages in (first, second):
        console, history = Console(file=io.StringIO(), width=1000), History()
        history.finished(pages)
        tell_stages(history, "", console, 1.0)
        assert isinstance(console.file, io.StringIO)
        told.append(console.file.getvalue())
    assert "crawl before" not in told[0]
    assert "9 pages; since the crawl before: 6 unchanged, 0 not-due, 1 changed, 0 gone, 2 new" in told[1]


@pytest.mark.parametrize(("kind", "is_crawl"), [(Pages, True), (IngestedPages, False)])
def test_only_commands_that_work_there_are_named_as_next(
    kind: type[Pages], is_crawl: bool, store: Store
) -> None:
    console = Console(file=io.StringIO(), width=1000)
    tell_pages(kind(store.storage, "0" * 16), "archives", console)
    assert isinstance(console.file, io.StringIO)
    named = [line.split()[1] for line in console.file.getvalue().splitlines() if "moinho" in line]
    assert named == (["crawl", "frontier", "frontier"] if is_crawl else ["show", "ls"])


class WindError(StageError):
    """The wind dropped."""

    remedy = "Wait for it."


class GrainError(StageError):
    """There is no grain."""

    passes = False
    remedy = "Bring some."


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("?"), True),
        (WindError("the wind dropped"), True),
        (GrainError("no grain"), False),
        (NoContactError("whose mill is it"), False),
    ],
)
def test_how_to_go_on_is_told_where_the_same_command_does(store: Store, error: Exception, told: bool) -> None:
    history = History()
    store.listeners = [StageLog(), history]

    def grind(attempt: Attempt) -> Made:
        raise error

    with pytest.raises(type(error)):
        store.make(Flour, Config(), {}, grind)
    console = Console(file=io.StringIO(), width=1000)
    tell_failure(error, history, console, "moinho run x.toml")
    assert isinstance(console.file, io.StringIO)
    assert ("to go on: moinho run x.toml" in console.file.getvalue()) is told


def test_a_signal_that_got_lost_can_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.stop_signals.UNHEARD_SECONDS", 0.0)
    with StopSignals():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            os.kill(os.getpid(), signal.SIGHUP)  # would raise KeyboardInterrupt
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_while_ray_starts_the_progress_line_says_so(store: Store) -> None:
    told = io.StringIO()
    compute = Compute(ComputeConfig())
    compute.is_starting = True
    display = Display(Console(file=told, width=100), starts=lambda: _start_of_ray(compute))
    base = BaseModel(store.storage, "key")
    display.started(base, Attempt(store.storage, "pretrain", "key", "one"), {})
    running = display.running[base.base]
    running.printed_at = -math.inf
    display._show(running)
    assert told.getvalue().endswith(": starting Ray\n")
    compute._stops = [signal.SIGINT]
    running.printed_at = -math.inf
    display._show(running)
    assert told.getvalue().endswith(
        ": starting Ray; the run stops when that is done, since Ray's start cannot be broken off\n"
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "■ pretrain stopped"),
        (SystemExit(1), "■ pretrain stopped"),
        (OSError(), "✗ pretrain failed"),
    ],
)
def test_a_stage_that_was_stopped_has_not_failed(store: Store, error: BaseException, told: str) -> None:
    console = Console(file=io.StringIO(), width=100)
    display, attempt = Display(console), Attempt(store.storage, "pretrain", "key", "one")
    display.failed(BaseModel(store.storage, "key"), attempt, error)
    assert isinstance(console.file, io.StringIO)
    assert " ".join(console.file.getvalue().split()) == told


INTERRUPTED = """
import builtins, os, runpy, signal, sys

import_module, module = builtins.__import__, sys.argv.pop(1)

def interrupted_after(*given, **named):
    found = import_module(*given, **named)
    if module in sys.modules and builtins.__import__ is not import_module:
        builtins.__import__ = import_module
        os.kill(os.getpid(), signal.SIGINT)
    return found

builtins.__import__ = interrupted_after
runpy.run_module("flows", run_name="__main__")
"""
"""A command that gets Ctrl-C as soon as it has imported a module."""


@pytest.mark.parametrize("module", ["rich.console", "pydantic.main", "flows.configuration", "flows.planning"])
def test_ctrl_c_at_any_moment_of_the_start_is_answered_by_a_line(module: str, tmp_path: Path) -> None:
    words = ["-c", INTERRUPTED, module, "plan", str(CONFIG), "--store", str(tmp_path / "store")]
    environment = os.environ | {"MOINHO_CACHE": str(tmp_path / "cache")}
    process = subprocess.run(
        [sys.executable, *words], stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    told = process.stderr.splitlines(keepends=True)
    assert told == ["stopped\n"]
    # Python itself ends by the signal where it came in code that is made as text; a shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT)

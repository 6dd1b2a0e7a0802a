"""A job's log says how far its run is: what `Display` writes is what `progress_of` reads."""

import io
import time

import pytest
from rich.console import Console

from flows.display import Display
from flows.job_log import Progress, progress_of
from pipeline.store import Attempt, Storage, Store
from tests.store.stages import Flour, GrindConfig, bake, grind

BY_RAY = "2026-02-01 10:00:00,000\tINFO job_manager.py:560 -- Runtime env is setting up.\n"


def test_a_log_says_what_is_finished_and_where_the_run_is_to_be_seen(store: Store) -> None:
    console = Console(file=io.StringIO(), width=160)
    display = Display(console, page=lambda: "http://mlflow.test:5000/#/experiments/1/runs/ab")
    store.listeners = [display]
    flour = grind(store, GrindConfig())
    display.tell_page()
    display.tell_page()
    bake(store, flour)
    grind(store, GrindConfig())
    told = console.file.getvalue()
    found = progress_of(BY_RAY + "Running entrypoint for job a-1: python\n" + told)
    assert found.finished == ["grind", "bake", "grind"]
    assert (found.running, found.ended, found.error) == ({}, None, None)
    assert found.page == "http://mlflow.test:5000/#/experiments/1/runs/ab"
    assert told.count("MLflow run: ") == 1
    assert found.last.startswith("= grind")


def test_a_running_stage_is_told_as_it_was_told_last(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("flows.display.PLAIN_INTERVAL_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=160)
    display, storage = Display(console), Storage(str(tmp_path))
    attempt = Attempt(storage, "grind", "0" * 16, "20260201-100000-aaaaaa")
    display.started(Flour(storage, "0" * 16), attempt, {})
    assert progress_of(console.file.getvalue()).stage() == "grind"
    attempt.journal("stones").progress(3, 10, "sacks", rate=2.5)
    (running,) = display.running.values()
    running.start = time.monotonic() - 12
    display._show(running)
    found = progress_of(console.file.getvalue())
    assert found.stage() == "grind 12 s: 3/10 sacks, rate 2.5"
    assert found.finished == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("stones")])
def test_a_stage_that_did_not_end_well_is_named(store: Store, error: BaseException) -> None:
    console = Console(file=io.StringIO(), width=160)
    store.listeners = [Display(console)]
    with pytest.raises(type(error)):
        store.make(Flour, GrindConfig(), {}, lambda attempt: (_ for _ in ()).throw(error))
    assert progress_of(console.file.getvalue()).ended == "grind"


def test_stages_side_by_side_are_all_told_and_other_lines_are_of_none() -> None:
    found = progress_of(
        "> crawl         making 00\n> extract       making 01\n"
        "  crawl         12 s: 3/9 pages\n  extract       10 s: 1/2 shards\n"
        "… clean         another run is making it; waiting\n"
        "  moinho show quickstart/chat    what it was made from\n! crawl         a page is too large\n"
    )
    assert (
        found.stage()
        == "crawl 12 s: 3/9 pages; extract 10 s: 1/2 shards; clean another run is making it; waiting"
    )
    assert found.finished == []


def test_of_a_failed_run_the_last_fault_is_told() -> None:
    found = progress_of("error: one\nerror: two\nlog: /store/log.txt\n")
    assert (found.error, found.last) == ("two", "log: /store/log.txt")
    assert progress_of("") == Progress()

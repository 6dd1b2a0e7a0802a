"""The child's loop is always woken again; all else of it is tested with real crawls (test_spider.py)."""

from types import SimpleNamespace
from typing import Any

import pytest

from crawler.drain import DRAIN_SECONDS, FILL_SECONDS, Drain
from crawler.fetching import SHORTEST_WAIT_SECONDS, Fetching


@pytest.mark.parametrize("host_seconds", [None, 0.0, 7.0])
@pytest.mark.parametrize("left_seconds", [-0.1, 0.0, 3.0])
def test_a_round_whose_time_ends_just_before_the_loop_rests_is_ended(
    host_seconds: float | None, left_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in flight, so that nothing but a timer can end it."""
    timers: list[float] = []
    fetching: Any = object.__new__(Fetching)
    fetching._tasks = {}
    fetching._options = SimpleNamespace(requests=8, max_pages=10, partitions=1, round=1)
    fetching._partition = SimpleNamespace(pages=0)
    fetching._frontier = SimpleNamespace(settled=True)
    fetching._window = SimpleNamespace(in_flight=0, wait_seconds=lambda: host_seconds)
    fetching._loop = SimpleNamespace(call_later=lambda seconds, call: timers.append(seconds))
    monkeypatch.setattr(Fetching, "_seconds_left", lambda self: left_seconds)
    fetching._wait()
    (seconds,) = timers
    assert SHORTEST_WAIT_SECONDS <= seconds <= max(SHORTEST_WAIT_SECONDS, left_seconds)


def test_while_a_slow_answer_is_awaited_quick_hosts_go_on_for_a_while() -> None:
    now = 100.0
    drain = Drain(lambda: now)
    assert not drain.may_fill({"slow"})
    drain.begin({"slow", "soon"})
    drain.begin({"slow", "later"})
    assert drain.may_fill({"slow", "later"})
    assert not drain.may_fill({"later"}), "what was begun meanwhile is no reason to begin more"
    assert drain.rest_seconds({"slow", "later"}) == DRAIN_SECONDS
    now += FILL_SECONDS
    assert not drain.may_fill({"slow", "later"})
    assert drain.rest_seconds({"slow", "later"}) == DRAIN_SECONDS - FILL_SECONDS
    assert drain.late(["slow", "later"]) == []
    now += DRAIN_SECONDS - FILL_SECONDS
    assert drain.late(["slow", "later"]) == ["slow"]
    assert drain.rest_seconds({"later"}) == FILL_SECONDS, "it has as much time as the slow one had"
    now += FILL_SECONDS
    assert drain.late(["slow", "later"]) == ["slow", "later"]
    drain.end()
    assert not drain.is_on


@pytest.mark.parametrize(
    ("pages", "seconds", "left_seconds", "may"),
    [(0, 5.0, -0.1, True), (9, 5.0, -0.1, False), (0, 60.0, -0.1, False), (0, 5.0, 1.0, False)],
)
def test_no_limit_of_the_crawl_is_passed_while_a_slow_answer_is_awaited(
    pages: int, seconds: float, left_seconds: float, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching: Any = object.__new__(Fetching)
    fetching._tasks, fetching._drain = {"slow": None}, Drain()
    fetching._drain.begin(fetching._tasks)
    fetching._options = SimpleNamespace(max_pages=10, max_seconds=60.0)
    fetching._partition = SimpleNamespace(pages=pages, seconds=seconds)
    fetching._window = SimpleNamespace(in_flight=1)
    monkeypatch.setattr(Fetching, "_seconds_left", lambda self: left_seconds)
    assert fetching._fills() is may

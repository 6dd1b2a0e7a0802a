"""The child's loop is always woken again; all else of it is tested with real crawls (test_spider.py)."""

from types import SimpleNamespace
from typing import Any

import pytest

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

"""The window: each URL offered once, no host asked too early, memory bounded, nothing lost by a kill."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.entries import Entry, Position, Visit
from crawler.frontier import Frontier
from crawler.manners import Manners
from crawler.urls import host_of
from crawler.window import Window

VISIT = Visit("page", fetched="2026-01-01T00:00:00Z")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(url: str, level: int = 0) -> Entry:
    return Entry(url, host_of(url), level, level)


@pytest.fixture
def frontier(tmp_path: Path) -> Frontier:
    return Frontier(tmp_path / "frontier.sqlite")


def offered(window: Window) -> list[str]:
    found = []
    while (each := window.next()) is not None:
        found.append(each.url)
    return found


def finish(frontier: Frontier, window: Window, each: Entry) -> None:
    frontier.finish(each.url, VISIT)
    window.ended(each)


def test_a_host_is_asked_one_thing_at_a_time_and_its_levels_in_turn(frontier: Frontier) -> None:
    frontier.add([entry("http://a.org/1"), entry("http://a.org/2"), entry("http://a.org/3", 1)])
    window = Window(frontier, Manners(per_host=2), clock=Clock())
    first, second = window.next(), window.next()
    assert first is not None
    assert second is not None
    assert window.next() is None
    finish(frontier, window, first)
    assert window.next() is None, "a level begins when the one before has ended"
    finish(frontier, window, second)
    assert offered(window) == ["http://a.org/3"]


def test_the_next_request_comes_a_delay_after_the_answer_began(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(3)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0), clock=clock)
    first = window.next()
    assert first is not None
    window.asked(first)
    window.answered(first, clock.now, clock.now + 0.25)
    finish(frontier, window, first)
    assert window.next() is None
    assert window.wait_seconds() == pytest.approx(1.25)
    clock.now += 1.2
    assert window.next() is None
    clock.now += 0.06
    assert window.next() is not None


def test_several_requests_to_a_host_begin_a_delay_apart(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(3)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0, per_host=2), clock=clock)
    first = window.next()
    assert first is not None
    window.reserve(first)
    assert window.next() is None
    clock.now += 1.0
    assert window.next() is not None


def test_a_shorter_delay_than_ours_that_a_host_asks_for_changes_nothing(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(2)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0), clock=clock)
    first = window.next()
    assert first is not None
    window.asked(first)
    assert window.slow_down("a.org", 0.3)
    assert window.rest_seconds(first) == pytest.approx(1.0)
    assert window.slow_down("a.org", 1.5)
    assert window.rest_seconds(first) == pytest.approx(1.5)
    assert not window.slow_down("a.org", 1.5)


def test_what_is_written_down_counts_from_the_answer_though_it_came_after_the_last_commit(
    frontier: Frontier,
) -> None:
    frontier.add([entry("http://a.org/1")])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0), clock=clock)
    first = window.next()
    assert first is not None
    window.asked(first)
    window.save()
    window.answered(first, clock.now, clock.now + 5.0)
    assert not window.is_saved
    window.save()
    [(due,)] = frontier.db.execute("SELECT due FROM hosts WHERE name = 'a.org'")
    assert due - time.time() == pytest.approx(6.0, abs=0.5)


def test_a_slow_host_is_given_time_up_to_a_limit(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(9)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0, max_delay_seconds=5.0), clock=clock)
    for latency, wait in ((3.0, 3.0), (30.0, 5.0)):
        each = window.next()
        assert each is not None
        window.asked(each)
        began, clock.now = clock.now, clock.now + latency
        window.answered(each, began, clock.now)
        finish(frontier, window, each)
        assert window.next() is None
        assert window.wait_seconds() == pytest.approx(wait)
        clock.now += wait


def test_a_host_that_puts_us_off_disturbs_no_other(frontier: Frontier) -> None:
    frontier.add([entry("http://a.org/1"), entry("http://a.org/2"), entry("http://b.org/1")])
    clock = Clock()
    window = Window(frontier, Manners(), clock=clock)
    each = window.next()
    assert each is not None
    window.put_off(each, 30.0)
    window.again(each)
    assert offered(window) == ["http://b.org/1"]
    clock.now += 30.0
    assert window.next() == entry("http://a.org/2")


def test_a_host_put_off_for_long_leaves_its_place_and_comes_back(frontier: Frontier) -> None:
    frontier.add([entry("http://a.org/1"), entry("http://b.org/1")])
    clock = Clock()
    window = Window(frontier, Manners(), clock=clock, hosts=1)
    each = window.next()
    assert each is not None
    window.put_off(each, 600.0)
    window.again(each)
    assert offered(window) == ["http://b.org/1"]
    window.ended(entry("http://b.org/1"))
    frontier.finish("http://b.org/1", VISIT)
    assert window.next() is None
    clock.now += 600.0
    again = window.next()
    assert again is not None
    assert (again.url, again.tries) == ("http://a.org/1", 1)


def test_a_host_that_is_given_up_or_has_given_enough_is_asked_no_more(frontier: Frontier) -> None:
    frontier.add([entry(f"http://{name}.org/{number}") for name in "ab" for number in range(5)])
    window = Window(frontier, Manners(pages_per_host=2), clock=Clock())
    asked = {"a.org": 0, "b.org": 0}
    while (each := window.next()) is not None:
        asked[each.host] += 1
        if each.host == "a.org":
            window.close(each, "given-up")
        window.served[each.host].host.pages += 1
        finish(frontier, window, each)
    assert asked == {"a.org": 1, "b.org": 2}
    assert dict(frontier.hosts.closed()) == {"a.org": "given-up", "b.org": "host-limit"}
    assert window.is_empty()


def test_a_host_that_was_given_up_stays_so_though_its_turn_never_came_again(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(2)])
    window = Window(frontier, Manners())
    first = window.next()
    assert first is not None
    window.asked(first)
    window.close(first, "given-up")
    finish(frontier, window, first)
    assert Window(frontier, Manners()).next() is None
    assert not frontier.has_work()
    assert window.next() is None
    assert dict(frontier.hosts.closed()) == {"a.org": "given-up"}


def test_hosts_of_one_address_take_turns_if_that_is_wanted(frontier: Frontier) -> None:
    frontier.add([entry(f"http://{name}.org/{number}") for name in "ab" for number in range(2)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0, per_ip=True), clock=clock)
    first, second = window.next(), window.next()
    assert first is not None
    assert second is not None
    for each in (first, second):
        window.asked(each)
        window.moved(each, "192.0.2.1")
        window.answered(each, clock.now, clock.now)
        finish(frontier, window, each)
    clock.now += 1.0
    third = window.next()
    assert third is not None
    window.asked(third)
    assert window.next() is None, "the other host has the same address"


def test_a_host_that_moves_to_another_address_takes_its_requests_and_its_due_time_along(
    frontier: Frontier,
) -> None:
    frontier.add([entry(f"http://{name}.org/{number}") for name in "ab" for number in range(3)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0, per_host=2, per_ip=True), clock=clock)
    found = [window.next() for _ in range(4)]
    first, second, other, last = (each for each in found if each is not None)
    assert [each.host for each in (first, second, other, last)] == ["a.org", "b.org", "a.org", "b.org"]
    for each in (first, other):
        window.moved(each, "192.0.2.1")
    window.moved(second, "192.0.2.1")
    assert window.served["a.org"].slot is window.served["b.org"].slot
    assert window.served["a.org"].slot.in_flight == 4
    window.asked(first)
    window.moved(first, "192.0.2.9")
    assert window.served["a.org"].slot.due == clock.now + 1.0
    assert (window.served["a.org"].slot.in_flight, window.served["b.org"].slot.in_flight) == (2, 2)
    for each in (first, second, other, last):
        finish(frontier, window, each)
    assert [served.slot.in_flight for served in window.served.values()] == [0, 0]


def test_a_host_that_waited_for_one_that_moved_away_gets_its_turn(frontier: Frontier) -> None:
    frontier.add([entry(f"http://{name}.org/1") for name in "ab"])
    frontier.db.execute("UPDATE hosts SET address = '192.0.2.1'")
    window = Window(frontier, Manners(per_ip=True), clock=Clock())
    first = window.next()
    assert first is not None
    assert window.next() is None
    window.moved(first, "192.0.2.2")
    second = window.next()
    assert second is not None
    assert second.host != first.host


def test_after_a_restart_each_host_waits_for_its_delay_once(frontier: Frontier) -> None:
    frontier.add([entry("http://a.org/1")])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=2.0), restarted=True, clock=clock)
    assert window.next() is None
    assert window.wait_seconds() == pytest.approx(2.0)
    clock.now += 2.0
    assert window.next() == entry("http://a.org/1")


def test_what_is_put_back_comes_first(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(3)])
    window = Window(frontier, Manners(), clock=Clock())
    each = window.next()
    assert each is not None
    window.put_back(each)
    assert window.next() == each


@settings(max_examples=30)
@given(
    st.dictionaries(st.integers(0, 30), st.integers(1, 12), min_size=1, max_size=20),
    st.integers(1, 8),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 1 << 30),
)
def test_each_url_is_offered_once_never_too_early_and_memory_is_bounded(
    pages: dict[int, int], hosts: int, urls: int, per_host: int, delay: float, seed: int
) -> None:
    """Any hosts, windows smaller than they, any order of answers, some of which fail once."""
    chance, clock = random.Random(seed), Clock()
    frontier = Frontier(Path(":memory:"))
    frontier.add(
        [entry(f"http://h{host}.org/{page}") for host, count in pages.items() for page in range(count)]
    )
    window = Window(frontier, Manners(delay, per_host=per_host), hosts=hosts, urls=urls, clock=clock)
    flying: list[Entry] = []
    done: list[str] = []
    last: dict[str, float] = {}
    failed: set[str] = set()
    while not window.is_empty():
        while (each := window.next()) is not None:
            assert clock.now - last.get(each.host, 0.0) >= delay - 1e-6
            assert sum(other.host == each.host for other in flying) < per_host
            window.asked(each)
            last[each.host] = clock.now
            flying.append(each)
        assert len(window.served) <= hosts
        assert all(len(served.waiting) <= urls for served in window.served.values())
        if not flying:
            wait = window.wait_seconds()
            if wait is None:
                break
            clock.now += wait + 1e-3
            continue
        each = flying.pop(chance.randrange(len(flying)))
        window.answered(each, clock.now, clock.now)
        if each.url not in failed and chance.random() < 0.2:
            failed.add(each.url)
            window.again(each)
        else:
            done.append(each.url)
            finish(frontier, window, each)
        window.save()
        frontier.commit(Position())
    assert sorted(done) == sorted(
        f"http://h{host}.org/{page}" for host, n in pages.items() for page in range(n)
    )
    assert frontier.left == 0
    frontier.close()


WRITER = """
import sys
from pathlib import Path
from crawler.entries import Entry, Position, Visit
from crawler.frontier import Frontier
from crawler.manners import Manners
from crawler.window import Window

frontier = Frontier(Path(sys.argv[1]))
if frontier.known == 0:
    frontier.add([Entry("http://h0.org/0", "h0.org", 0, 0)])
window = Window(frontier, Manners(), hosts=5, urls=4)
count = 0
while (entry := window.next()) is not None:
    number = int(entry.url.rpartition("/")[2])
    links = [(2 * number + step) for step in (1, 2)]
    urls = [f"http://h{each % 7}.org/{each}" for each in links if each < 3000]
    frontier.add([Entry(url, url.split("/")[2], entry.level + 1, entry.depth + 1) for url in urls])
    frontier.finish(entry.url, Visit("page", fetched="2026-01-01T00:00:00Z"))
    window.ended(entry)
    count += 1
    if count % 5 == 0:
        window.save()
        frontier.commit(Position())
        print(frontier.outcomes["page"], flush=True)
window.save()
frontier.commit(Position())
"""


def test_a_process_killed_at_any_moment_loses_nothing_that_it_had_committed(tmp_path: Path) -> None:
    path, chance, before = tmp_path / "frontier.sqlite", random.Random(1), 0
    for turn in range(20):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            committed = before
            stop = before + chance.randrange(5, 400)
            for line in process.stdout:
                committed = int(line)
                if committed >= stop and turn < 19:
                    time.sleep(chance.random() / 200)
                    process.send_signal(signal.SIGKILL)
        frontier = Frontier(path)
        before = frontier.outcomes["page"]
        assert before >= committed
        assert frontier.known == frontier.tried + frontier.left
        frontier.close()
        if process.returncode == 0:
            break
    frontier = Frontier(path)
    assert frontier.left == 0
    assert sorted(int(line["url"].rpartition("/")[2]) for line in frontier.log()) == list(range(3000))
    frontier.close()


def test_the_longest_hosts_are_those_with_most_waiting_times_delay(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(30)])
    frontier.add([entry(f"http://b.org/{number}") for number in range(9)])
    window = Window(frontier, Manners(delay_seconds=1.0), clock=Clock())
    assert window.longest(5) == [], "nothing is served yet"
    first, second = window.next(), window.next()
    assert first is not None
    assert second is not None
    assert window.longest(5) == [("a.org", 30, 1.0), ("b.org", 9, 1.0)]
    window.slow_down("b.org", 5.0)
    assert window.longest(1) == [("b.org", 9, 5.0)]
    frontier.add([entry("http://a.org/0", 1), entry("http://a.org/new", 1), entry("http://c.org/new", 1)])
    finish(frontier, window, first)
    frontier.add([entry("http://a.org/newer", 1)])
    assert ("a.org", 31, 1.0) in window.longest(5), "one ended, two were found"
    window.close(second, "given-up")
    assert [name for name, _, _ in window.longest(5)] == ["a.org"]


def test_a_host_of_which_few_pages_are_wanted_holds_up_the_end_for_those(frontier: Frontier) -> None:
    frontier.add([entry(f"http://a.org/{number}") for number in range(30)])
    window = Window(frontier, Manners(delay_seconds=1.0, pages_per_host=7), clock=Clock())
    assert window.next() is not None
    assert window.longest(5) == [("a.org", 7, 1.0)]


def test_where_only_quick_hosts_may_go_on_no_other_has_a_turn(frontier: Frontier) -> None:
    names = ["quick.org", "unknown.org", "slow.org", "failing.org"]
    frontier.add([entry(f"http://{name}/{number}") for name in names for number in range(3)])
    clock = Clock()
    window = Window(frontier, Manners(delay_seconds=1.0), clock=clock)
    for each in iter(window.next, None):
        if each.host != "unknown.org":
            window.answered(each, clock.now, clock.now + (5.0 if each.host == "slow.org" else 0.2))
        window.host_of(each).failures += each.host == "failing.org"
        finish(frontier, window, each)
    clock.now += 60.0
    quick = window.next(only_quick=True)
    assert quick is not None
    assert quick.host == "quick.org"
    assert window.next(only_quick=True) is None
    assert window.wait_seconds() is None, "none of the others is looked at again"
    finish(frontier, window, quick)
    assert window.next(only_quick=True) is not None

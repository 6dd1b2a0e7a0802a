"""The frontier: each URL once, one spelling, nothing lost by a kill, hosts served in turn."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.frontier import Entry, Frontier, Position, Visit, Window
from crawler.urls import host_of


def entry(url: str, level: int = 0) -> Entry:
    return Entry(url, host_of(url), level, level)


@pytest.fixture
def frontier(tmp_path: Path) -> Frontier:
    return Frontier(tmp_path / "frontier.sqlite")


def test_a_url_is_known_once(frontier: Frontier) -> None:
    assert frontier.add([entry("http://a.org/1"), entry("http://a.org/1"), entry("http://a.org/2")]) == 2
    assert frontier.add([entry("http://a.org/2", level=3)]) == 0
    assert frontier.left == 2


def test_what_was_not_committed_is_waiting_again(tmp_path: Path) -> None:
    frontier = Frontier(tmp_path / "f.sqlite")
    frontier.add([entry(f"http://a.org/{number}") for number in range(4)])
    taken = frontier.take("a.org", limit=3)
    frontier.finish(taken[0].url, Visit("page", fetched="2026-01-01T00:00:00Z"))
    frontier.commit(Position(2, 300, 4.5))
    frontier.finish(taken[1].url, Visit("page", fetched="2026-01-01T00:00:00Z"))
    frontier.close()

    reopened = Frontier(tmp_path / "f.sqlite")
    assert reopened.position() == Position(2, 300, 4.5)
    assert [line["url"] for line in reopened.log()] == ["http://a.org/0"]
    assert [each.url for each in reopened.take("a.org")] == [f"http://a.org/{number}" for number in (1, 2, 3)]


def test_levels_are_served_one_after_the_other(frontier: Frontier) -> None:
    window = Window(frontier, per_host=2)
    window.add([entry("http://a.org/0"), entry("http://a.org/1", level=1)])
    first = window.next()
    assert first is not None
    assert window.next() is None
    window.add([entry("http://a.org/00", level=1)])
    window.ended(first)
    assert [each.url for each in (window.next(), window.next()) if each] == [
        "http://a.org/00",
        "http://a.org/1",
    ]


def test_hosts_take_turns_and_none_exceeds_its_share(frontier: Frontier) -> None:
    window = Window(frontier, per_host=1)
    window.add([entry(f"http://{host}.org/{page}") for host in "abc" for page in range(3)])
    served = []
    while batch := [each for _ in range(5) if (each := window.next())]:
        assert sorted(each.host for each in batch) == sorted({each.host for each in batch})
        served += batch
        for each in batch:
            frontier.finish(each.url, Visit("page", fetched=""))
            window.ended(each)
    assert len({each.url for each in served}) == len(served) == 9
    assert frontier.left == 0


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    per_host=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_every_url_is_served_exactly_once_in_any_order_of_answers(
    sizes: list[int], per_host: int, order: Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frontier = Frontier(tmp_path_factory.mktemp("frontier") / "f.sqlite")
    window = Window(frontier, per_host)
    window.add(
        [entry(f"http://h{host}.org/{page}", page % 2) for host, n in enumerate(sizes) for page in range(n)]
    )
    under_way: list[Entry] = []
    served: list[str] = []
    while True:
        while (each := window.next()) is not None:
            under_way.append(each)
            served.append(each.url)
        if not under_way:
            break
        done = under_way.pop(order.randrange(len(under_way)))
        if len(served) == 1:
            window.add([entry("http://late.org/")])
        frontier.finish(done.url, Visit("page", fetched=""))
        window.ended(done)
    assert len(served) == len(set(served))
    assert frontier.left == 0
    frontier.close()

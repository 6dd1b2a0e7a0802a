"""The frontier: each URL once, the shortest way to it, nothing lost by a kill, nothing kept in memory."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.entries import Entry, Position, Visit
from crawler.frontier import Added, Frontier
from crawler.hosts import Host
from crawler.places import url_of
from crawler.urls import bucket_of, canonical, host_of

VISIT = Visit("page", fetched="2026-01-01T00:00:00Z")


def entry(url: str, level: int = 0, **fields: int) -> Entry:
    return Entry(url, host_of(url), level, fields.pop("depth", level), **fields)


@pytest.fixture
def frontier(tmp_path: Path) -> Frontier:
    return Frontier(tmp_path / "frontier.sqlite")


def taken(frontier: Frontier, name: str, limit: int = 100) -> list[str]:
    """The host's next URLs, as when it is served."""
    frontier.admit(100, 1e12)
    return [each.url for each in frontier.take(Host(frontier.hosts.id_of(name), name), limit)]


def test_a_url_is_known_once(frontier: Frontier) -> None:
    urls = [entry("http://a.org/1"), entry("http://a.org/1"), entry("http://a.org/2")]
    assert frontier.add(urls) == Added(new=2, lowered=0)
    assert frontier.add([entry("http://a.org/2", level=3)]) == Added(new=0, lowered=0)
    assert frontier.left == 2


@given(
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.org", "www.b-c.co.uk", "127.0.0.1", "[::1]", "localhost"]),
    st.sampled_from(["", ":8080", ":444"]),
    st.text(st.sampled_from("ab/:?=.%"), max_size=12),
)
def test_a_url_comes_back_as_it_went_in(scheme: str, name: str, port: str, path: str) -> None:
    url = canonical(f"{scheme}://{name}{port}/{path}")
    assert url is not None
    found = Frontier(Path(":memory:"))
    found.add([entry(url)])
    assert taken(found, host_of(url)) == [url]
    found.close()


def test_what_is_no_web_page_keeps_its_whole_url(frontier: Frontier) -> None:
    frontier.refuse("file:///etc/passwd", replace(VISIT, outcome="refused-scheme"), entry("http://a.org/"))
    [line] = frontier.log()
    assert (line["url"], line["referrer"], line["depth"]) == ("file:///etc/passwd", "http://a.org/", 1)
    assert url_of("", "data:,x") == "data:,x"
    assert frontier.hosts.first_due() is None


def test_what_was_not_committed_is_waiting_again(tmp_path: Path) -> None:
    frontier = Frontier(tmp_path / "f.sqlite")
    frontier.add([entry(f"http://a.org/{number}") for number in range(4)])
    urls = taken(frontier, "a.org", 3)
    frontier.finish(urls[0], VISIT)
    frontier.commit(Position(2, 300, 4.5, 6, False))
    frontier.finish(urls[1], VISIT)
    frontier.close()

    reopened = Frontier(tmp_path / "f.sqlite")
    assert reopened.position() == Position(2, 300, 4.5, 6, False)
    assert [line["url"] for line in reopened.log()] == ["http://a.org/0"]
    assert taken(reopened, "a.org") == [f"http://a.org/{number}" for number in (1, 2, 3)]
    assert (reopened.known, reopened.left, reopened.outcomes["page"]) == (4, 3, 1)


def test_a_host_is_served_by_level_then_priority_then_url(frontier: Frontier) -> None:
    frontier.add(
        [
            entry("http://a.org/c"),
            entry("https://a.org/a"),
            entry("http://a.org/b", priority=1),
            entry("http://a.org/a", level=1),
            entry("http://a.org:81/a"),
        ]
    )
    assert taken(frontier, "a.org") == [
        *("http://a.org/c", "http://a.org:81/a", "https://a.org/a", "http://a.org/b")
    ]


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 40)), max_size=9),
            st.integers(1, 5),
            st.booleans(),
        ),
        max_size=9,
    )
)
def test_a_big_host_is_served_in_the_order_of_a_small_one(
    steps: list[tuple[list[tuple[int, int, int]], int, bool]],
) -> None:
    """The same links found, some of them fetched, and the file opened again, also before it is written
    down that the host is big."""
    served: list[list[str]] = []
    for big in (10**9, 4):
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            patch.setattr("crawler.frontier.BIG_HOST_URLS", big)
            path, urls = Path(name) / "f.sqlite", []
            frontier = Frontier(path)
            frontier.add([entry("http://a.org/")])
            [host] = frontier.admit(9, 1e12)
            for links, limit, again in steps:
                frontier.add([entry(f"http://a.org/{page}", level, priority=p) for level, p, page in links])
                for each in frontier.take(host, limit):
                    urls.append(each.url)
                    frontier.finish(each.url, VISIT)
                if again:
                    frontier.commit(Position())
                    frontier.close()
                    frontier = Frontier(path)
                    host = next(iter(frontier.admit(9, 1e12)), host)
            urls.extend(each.url for _ in range(3) for each in frontier.take(host, 100))
            frontier.close()
            served.append(urls)
    assert served[0] == served[1]


def test_a_shorter_way_is_taken_and_told_if_the_page_is_done(frontier: Frontier) -> None:
    frontier.add([entry("http://a.org/1", 5), entry("http://a.org/2", 5)])
    frontier.finish("http://a.org/1", VISIT)
    shorter = [entry("http://a.org/1", 2), entry("http://a.org/2", 3), entry("http://a.org/3", 3)]
    assert frontier.add(shorter) == Added(new=1, lowered=2)
    assert frontier.depth_of("http://a.org/2") == (3, 3)
    assert [(each.url, each.depth, visit.outcome) for each, visit in frontier.lowered()] == [
        ("http://a.org/1", 2, "page")
    ]
    assert list(frontier.lowered()) == []
    assert frontier.left == 2


def test_links_to_undecided_hosts_are_admitted_or_dropped_when_seeds_have_led_somewhere(
    frontier: Frontier,
) -> None:
    frontier.add_seeds([entry("http://a.org/")])
    frontier.add([entry("http://b.org/1", 1), entry("http://c.org/1", 1)], aside=True)
    assert frontier.open_seeds()
    assert frontier.left == 1
    frontier.hosts.allow(["b.org"])
    frontier.finish("http://a.org/", VISIT)
    assert not frontier.open_seeds()
    frontier.settle()
    assert taken(frontier, "b.org") == ["http://b.org/1"]
    assert taken(frontier, "c.org") == []
    assert frontier.left == 1


def test_other_partitions_urls_are_handed_over_once_and_again_when_they_are_nearer(tmp_path: Path) -> None:
    here = bucket_of("a.org") % 2
    other = next(name for name in ("b.org", "c.org", "d.org", "e.org") if bucket_of(name) % 2 != here)
    frontier = Frontier(tmp_path / "f.sqlite", partition=here, partitions=2)
    link = Entry(f"http://{other}/x", other, 3, 3, 0, "http://a.org/")
    frontier.add([entry("http://a.org/"), link, link])
    assert frontier.left == 1
    assert list(frontier.outgoing()) == [(replace(link, referrer="http://a.org/"), True)]
    frontier.handed_over()
    frontier.add([link, replace(link, depth=4, level=4)])
    assert list(frontier.outgoing()) == []
    frontier.add([replace(link, depth=1, level=1)])
    assert [(each.depth, is_new) for each, is_new in frontier.outgoing()] == [(1, False)]
    assert [each.name for each in frontier.admit(9, 1e12)] == ["a.org"]


def test_there_is_work_while_a_host_that_is_served_or_queued_has_waiting_urls(frontier: Frontier) -> None:
    assert not frontier.has_work()
    frontier.add([entry("http://a.org/1")])
    assert frontier.has_work()
    [host] = frontier.admit(9, 1e12)
    assert frontier.hosts.first_due() is None
    assert frontier.has_work(), "though no host is in the queue"
    frontier.finish("http://a.org/1", VISIT)
    assert not frontier.has_work()
    frontier.add([entry("http://a.org/2")])
    assert frontier.has_work()
    frontier.hosts.close(host, "given-up")
    assert not frontier.has_work()


def test_hosts_that_were_closed_or_are_not_due_are_not_served(frontier: Frontier) -> None:
    frontier.add([entry(f"http://{name}.org/") for name in "abc"])
    hosts = {each.name: each for each in frontier.admit(3, 0.0)}
    frontier.hosts.close(hosts["a.org"], "given-up")
    hosts["b.org"].due = 500.0
    frontier.hosts.leave(hosts["b.org"], waiting=True)
    frontier.hosts.leave(hosts["c.org"], waiting=False)
    frontier.add([entry("http://a.org/more")])
    assert frontier.admit(9, 499.0) == []
    assert frontier.hosts.first_due() == 500.0
    frontier.add([entry("http://c.org/more")])
    assert [each.name for each in frontier.admit(9, 500.0)] == ["c.org", "b.org"]
    assert list(frontier.hosts.closed()) == [("a.org", "given-up")]


def test_what_waits_at_a_host_that_is_given_up_has_that_outcome_and_nothing_is_left(tmp_path: Path) -> None:
    """Also what is found there later, and after a restart."""
    frontier = Frontier(tmp_path / "00.sqlite")
    frontier.add([entry(f"http://a.org/{number}") for number in range(3)])
    frontier.add([entry("http://b.org/")])
    hosts = {each.name: each for each in frontier.admit(9, 1e12)}
    frontier.finish("http://a.org/0", VISIT)
    frontier.hosts.close(hosts["a.org"], "given-up")
    frontier.refuse_rest("2026-01-01T00:00:00Z")
    assert (frontier.left, frontier.outcomes) == (1, {"page": 1, "given-up": 2})
    frontier.add([entry("http://a.org/3"), entry("http://a.org/1")])
    frontier.commit(Position())
    frontier.close()
    again = Frontier(tmp_path / "00.sqlite")
    again.add([entry("http://a.org/4")])
    for _ in range(2):
        again.refuse_rest("2026-01-02T00:00:00Z")
    assert (again.left, again.outcomes) == (1, {"page": 1, "given-up": 4})
    assert [line["outcome"] for line in again.log()] == ["page"] + ["given-up"] * 4
    assert [each.name for each in again.admit(9, 1e12)] == ["b.org"]


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 4)), max_size=8), max_size=12
    )
)
def test_any_batches_leave_each_url_once_with_its_smallest_depth(
    batches: list[list[tuple[int, int, int]]],
) -> None:
    frontier = Frontier(Path(":memory:"))
    smallest: dict[str, int] = {}
    for batch in batches:
        entries = [entry(f"http://h{name}.org/{page}", depth) for name, page, depth in batch]
        new = {each.url for each in entries} - set(smallest)
        for each in entries:
            smallest[each.url] = min(each.depth, smallest.get(each.url, 99))
        assert frontier.add(entries).new == len(new)
        frontier.commit(Position())
    assert frontier.known == len(smallest)
    assert {url: frontier.depth_of(url)[1] for url in smallest} == smallest
    frontier.close()

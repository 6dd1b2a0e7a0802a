"""Partitions and rounds: how many there are changes nothing of what is fetched."""

import dataclasses
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import rounds
from crawler.crawl import CrawlConfig, crawl
from crawler.entries import Entry, Position, Visit
from crawler.frontier import Frontier
from crawler.history import History, Limits, Plan
from crawler.hosts import Host
from crawler.regrouping import regrouped
from crawler.repetition import Traps
from crawler.urls import bucket_of, host_of
from pipeline.compute import Compute
from pipeline.corpus.pages import Pages
from pipeline.store import File, ShardRecord, Store
from tests.crawler.web import Answer, Web, page, redirect, serve

HOSTS = [f"www.site{number}.example" for number in range(8)]
REFUSED = ("file:///etc/passwd", "ftp://www.site0.example/", f"http://{HOSTS[6]}/{'x' * 9_000}")
"""Refused by name, and linked from hosts of all partitions."""
LIMITS = Limits(1_000, None, None, 300.0)


def linked_site() -> dict[str, Answer]:
    """Each host has all paths; a page leads to the next one here, and to others on two more hosts."""
    site = {"/": page("/p0.html", *(f"http://{host}/start.html" for host in HOSTS[:3]))}
    site["/start.html"] = page("/p0.html", "http://elsewhere.example/", text="start")
    site["/moved.html"] = redirect("/p3.html")
    for number in range(6):
        far = [f"http://{HOSTS[(number * 3 + step) % 8]}/p{(number + step) % 6}.html" for step in (1, 2)]
        links = (f"p{number + 1}.html", "moved.html", "/gone.html", *far, *REFUSED)
        site[f"/p{number}.html"] = page(*links, text=f"page {number} " * 20)
    return site


def with_processes(compute: Compute, web: Web, processes: int, **fields: Any) -> Compute:
    places = {host: f"127.0.0.1:{web.port}" for host in HOSTS}
    config = compute.config.model_copy(update={"crawl_processes": processes, "hosts": places, **fields})
    other = dataclasses.replace(compute, config=config)
    other._started = compute._started
    return other


def config_for(**fields: Any) -> CrawlConfig:
    """Only some hosts are seeds: one leads to another host, which is wanted by that alone."""
    seeds = (*(f"http://{host}/" for host in HOSTS[:5]), f"http://{HOSTS[5]}/moved.html")
    return CrawlConfig(seeds=seeds, contact="https://crawler.example/", delay_seconds=0, **fields)


def outcomes(pages: Pages) -> dict[str, str]:
    lines = list(pages.log())
    found = {line["url"]: line["outcome"] for line in lines}
    assert Counter(line["url"] for line in lines).most_common(1)[0][1] == 1
    counts = pages.record.counts
    assert counts["tried"] == len(lines)
    assert {name: counts[f"outcome.{name}"] for name in found.values()} == Counter(found.values())
    return found


def test_one_two_and_four_processes_fetch_the_same_pages(tmp_path: Path, compute: Compute) -> None:
    compute.start()
    with serve(linked_site()) as web:
        found = {}
        for processes in (1, 2, 4):
            web.asked.clear()
            web.hosts.clear()
            store = Store(str(tmp_path / str(processes)))
            pages = crawl(store, None, config_for(), with_processes(compute, web, processes))
            found[processes] = outcomes(pages)
            assert 1 <= len(pages.names("frontier/")) <= processes
            urls = [entry.url for entry in pages.entries()]
            assert len(urls) == len(set(urls)) == pages.record.counts["pages"]
            asked = Counter((host, path) for host, (_, path) in zip(web.hosts, web.asked, strict=True))
            assert max(asked.values()) == 1, asked.most_common(3)
    assert found[1] == found[2] == found[4]
    assert Counter(found[1].values())["page"] > 30
    assert not any("elsewhere" in url for url in found[1])
    assert Counter(found[1].values())["refused-scheme"] == 2
    assert Counter(found[1].values())["trap-url-length"] == 1


@pytest.mark.everything
def test_a_limit_of_depth_cuts_at_the_shortest_way_with_any_number_of_processes(
    tmp_path: Path, compute: Compute
) -> None:
    compute.start()
    with serve(linked_site()) as web:
        found = [
            outcomes(
                crawl(
                    Store(str(tmp_path / str(processes))),
                    None,
                    config_for(max_depth=2),
                    with_processes(compute, web, processes),
                )
            )
            for processes in (1, 3)
        ]
    assert found[0] == found[1]


@pytest.mark.everything
def test_a_crawl_goes_on_with_another_number_of_processes(
    tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after each of its first rounds, and gone on with each time with other processes."""
    compute.start()
    store = Store(str(tmp_path))
    run, ended = rounds._run, Counter[int]()

    def stop_after(*given: Any) -> Any:
        records = run(*given)
        ended[given[1].number] += 1
        if ended.total() < 4:
            raise KeyboardInterrupt
        return records

    monkeypatch.setattr(rounds, "_run", stop_after)
    with serve(linked_site()) as web:
        pages = None
        for processes in (2, 3, 1, 4):
            try:
                pages = crawl(store, None, config_for(), with_processes(compute, web, processes))
            except KeyboardInterrupt:
                continue
        assert pages is not None
        asked = Counter((host, path) for host, (_, path) in zip(web.hosts, web.asked, strict=True))
        monkeypatch.setattr(rounds, "_run", run)
        whole = crawl(Store(str(tmp_path / "whole")), None, config_for(), with_processes(compute, web, 1))
    assert outcomes(pages) == outcomes(whole)
    assert pages.record.counts["left"] == 0
    assert max(asked.values()) == 1, asked.most_common(3)


def test_a_limit_of_pages_is_never_passed(tmp_path: Path, compute: Compute) -> None:
    compute.start()
    with serve(linked_site()) as web:
        for processes, most in ((1, 7), (3, 7), (4, 2)):
            store = Store(str(tmp_path / f"{processes}"))
            pages = crawl(store, None, config_for(max_pages=most), with_processes(compute, web, processes))
            assert pages.record.counts["pages"] == most


# --- what comes next ---


def record(name: str, **counts: int) -> ShardRecord:
    handed = [key.partition(".")[2] for key in counts if key.startswith("handed.")]
    files = {f"handed/{target}.jsonl": File(path=target, bytes=1, sha256="") for target in handed}
    whole = {"pages": 0, "has_work": 0, "open_seeds": 0, "settled": 1, "milliseconds": 1000}
    return ShardRecord(identity=name, files=files, counts=whole | counts)


def plan(number: int, partitions: int = 2, **fields: Any) -> Plan:
    return Plan(number, partitions, 0, **({"settled": True} | fields))


def next_of(
    *ended: tuple[Plan, dict[str, ShardRecord]], limits: Limits = LIMITS, partitions: int = 2
) -> Plan | None:
    return rounds._next(History(list(ended)), limits, partitions, ["00", "01"])


def test_only_partitions_with_something_to_do_take_part() -> None:
    first = {"00": record("00", has_work=1), "01": record("01")}
    found = next_of((plan(0), first))
    assert found is not None
    assert list(found.max_pages) == ["00"]
    assert next_of((plan(0), {"00": record("00"), "01": record("01")})) is None


def test_what_is_handed_over_is_read_in_the_targets_next_round_once() -> None:
    first = {"00": record("00", **{"handed.01": 3}), "01": record("01")}
    second = next_of((plan(0), first))
    assert second is not None
    assert list(second.max_pages) == ["01"]
    history = History([(plan(0), first)])
    assert len(history.incoming("01")) == 1
    history.add(second, {"01": record("01")})
    assert history.incoming("01") == []
    assert rounds._next(history, LIMITS, 2, ["00", "01"]) is None


def test_seeds_of_all_partitions_lead_somewhere_before_it_is_settled_what_is_wanted() -> None:
    open_, led = record("00", open_seeds=1, has_work=1, settled=0), record("01", settled=0, has_work=1)
    found = next_of((plan(0, settled=False), {"00": open_, "01": led}))
    assert found is not None
    assert (found.settled, list(found.max_pages)) == (False, ["00", "01"])
    done = record("00", settled=0)
    found = next_of((plan(0, settled=False), {"00": done, "01": led}))
    assert found is not None
    assert (found.settled, list(found.max_pages)) == (True, ["00", "01"])


def test_other_partitions_are_made_when_a_round_has_ended() -> None:
    found = next_of((plan(0), {"00": record("00", has_work=1), "01": record("01")}), partitions=3)
    assert found is not None
    assert (found.regroups, found.partitions, found.layout) == (True, 3, 1)


def test_rounds_grow_longer_up_to_a_limit_and_to_what_is_left_of_the_time() -> None:
    ended = [
        (plan(number), {"00": record("00", has_work=1, milliseconds=1000 * number)}) for number in range(3)
    ]
    found = next_of(*ended)
    assert found is not None
    assert found.seconds == 80.0
    assert rounds._seconds(Limits(9, 5.0, None, 300.0), History(list(ended))) == 3.0


@given(
    st.integers(1, 500),
    st.integers(1, 20),
    st.dictionaries(st.sampled_from(["00", "01"]), st.integers(0, 50)),
)
def test_shares_add_up_to_what_is_left(room: int, partitions: int, pages: dict[str, int]) -> None:
    names = [f"{number:02d}" for number in range(partitions)]
    shares = rounds._shares(room, names, pages)
    assert sum(share - pages.get(name, 0) for name, share in shares.items()) == room
    assert all(share > pages.get(name, 0) for name, share in shares.items())


def test_a_partition_without_seeds_begins_when_something_is_handed_to_it() -> None:
    first = rounds._next(History(), LIMITS, 4, ["02"])
    assert first is not None
    assert list(first.max_pages) == ["02"]
    ended = (plan(0, 4, settled=False), {"02": record("02", settled=0, **{"handed.01": 1})})
    second = rounds._next(History([ended]), LIMITS, 4, ["02"])
    assert second is not None
    assert (second.settled, list(second.max_pages)) == (True, ["01", "02"])


# --- partitions made anew ---


@pytest.mark.parametrize("sent", [False, True])
def test_what_is_refused_by_name_is_counted_once_by_new_partitions_too(sent: bool, tmp_path: Path) -> None:
    sources = {number: tmp_path / f"old-{number}.sqlite" for number in range(3)}
    urls = ["file:///etc/passwd", f"http://{HOSTS[0]}/{'x' * 400}"]
    for number, path in sources.items():
        frontier = Frontier(path, number, 3)
        frontier.outside(lambda db: Traps(db, 2026))
        for url in urls:
            frontier.refuse(
                url, Visit("refused-scheme", "2026-01-01T00:00:00Z"), Entry("http://a/", "a", 0, 0)
            )
        handed = len(list(frontier.refused()))
        assert handed + len(list(frontier.log())) == 2
        if sent:
            frontier.handed_over()
        frontier.commit(Position(0, 0, 5.0, 3, True))
        frontier.close()
    for partitions in (1, 2):
        found = Counter[str]()
        for number in range(partitions):
            target = tmp_path / f"new-{partitions}-{number}.sqlite"
            assert regrouped(sources, 3, target, 4, number, partitions).left == 0
            frontier = Frontier(target, number, partitions)
            found.update(line["url"] for line in frontier.log())
            assert frontier.tried == len(list(frontier.log()))
            frontier.close()
        assert found == Counter(urls)


@given(st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_new_partitions_know_all_that_the_old_ones_knew(old: int, new: int, chance: Any) -> None:
    urls = [f"http://h{chance.randrange(12)}.org/{chance.randrange(30)}" for _ in range(80)]
    with tempfile.TemporaryDirectory() as name:
        folder, done, waiting = Path(name), set(), set()
        sources = {number: folder / f"old-{number}.sqlite" for number in range(old)}
        for number, path in sources.items():
            frontier = Frontier(path, number, old)
            frontier.outside(lambda db: Traps(db, 2026))
            for url in urls:
                here = bucket_of(host_of(url)) % old == number
                if here or chance.random() < 0.5:
                    frontier.add([Entry(url, host_of(url), 2, 2, 0, "http://h0.org/")])
                    waiting.add(url)
                if here and chance.random() < 0.4:
                    frontier.finish(url, Visit("page", fetched="2026-01-01T00:00:00Z", warc="warc/x"))
                    done.add(url)
            if chance.random() < 0.5:
                frontier.handed_over()  # which those for whom it was need not have read yet
            frontier.commit(Position(0, 0, 5.0, 3, True))
            frontier.close()
        found_done, found_waiting = Counter[str](), Counter[str]()
        for number in range(new):
            target = folder / f"new-{number}.sqlite"
            ended = regrouped(sources, old, target, 4, number, new)
            frontier = Frontier(target, number, new)
            assert frontier.position() == Position(0, 0, 5.0, 4, True)
            assert ended.has_work == (frontier.left > 0)
            lines = list(frontier.log())
            assert all(line["referrer"] == "http://h0.org/" for line in lines)
            found_done.update(line["url"] for line in lines)
            for host in frontier.admit(100, 1e12):
                assert frontier.places.serves(host.name)
                found_waiting.update(each.url for each in frontier.take(Host(host.id, host.name), 100))
            frontier.close()
        assert found_done == Counter(done)
        assert found_waiting == Counter(waiting - done)


def test_what_was_found_for_a_big_host_is_fetched_though_another_partition_serves_it_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawler.frontier.BIG_HOST_URLS", 3)
    here = bucket_of("a.org") % 2
    sources = {number: tmp_path / f"old-{number}.sqlite" for number in range(2)}
    for number, path in sources.items():
        frontier = Frontier(path, number, 2)
        frontier.outside(lambda db: Traps(db, 2026))
        paths = "1234" if number == here else "567"
        frontier.add([Entry(f"http://a.org/{each}", "a.org", 2, 2) for each in paths])
        for host in frontier.admit(9, 1e12):
            assert len(frontier.take(host, 9)) == 4
            assert host.big
            frontier.hosts.leave(host, waiting=True)
        frontier.commit(Position(0, 0, 5.0, 3, True))
        frontier.close()
    regrouped(sources, 2, tmp_path / "new.sqlite", 4, 0, 1)
    frontier = Frontier(tmp_path / "new.sqlite")
    [host] = frontier.admit(9, 1e12)
    assert [each.url[-1] for each in frontier.take(host, 9)] == list("1234567")
    frontier.close()


def test_a_plan_that_was_written_is_kept(tmp_path: Path) -> None:
    first = plan(3, max_pages={"00": 5})
    assert Plan(**json.loads(json.dumps(dataclasses.asdict(first)))) == first

"""What partitions tell: added up in any order, shown, and kept as metrics."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.outcomes import ERROR, REFUSED, TRAP, meaning_of
from crawler.progress import (
    LONGEST_HOSTS,
    PARTITION,
    SLOWEST_HOSTS,
    STALE_SECONDS,
    LongHost,
    Progress,
    Rate,
    SlowHost,
    Total,
    added,
    figures,
    limited,
    rows,
)
from crawler.telling import EVEN_POINTS, Round, Teller, telling, told_in
from pipeline.store import Attempt, JournalReader, Storage

NAMES = st.sampled_from(["page", "redirect", "robots", "http-error", "trap-path", "timeout"])
COUNTS = st.integers(0, 10**9)
PARTS = st.builds(
    Progress,
    seconds=st.floats(0, 1e6),
    waiting=COUNTS,
    bytes=COUNTS,
    outcomes=st.dictionaries(NAMES, COUNTS),
    hosts_active=COUNTS,
    slowest=st.lists(
        st.builds(SlowHost, st.text("abc", min_size=1), st.floats(0, 60)), max_size=SLOWEST_HOSTS
    ).map(tuple),
    longest=st.lists(
        st.builds(LongHost, st.text("abc", min_size=1), st.integers(1, 99), st.sampled_from([0.5, 1.0, 2.0])),
        max_size=LONGEST_HOSTS,
    ).map(tuple),
)
TOLD = Progress(
    partition=1,
    partitions=2,
    seconds=61.5,
    waiting=9,
    bytes=4_000_000,
    outcomes={"page": 20, "redirect": 2, "http-error": 3, "timeout": 1, "robots": 4, "trap-path": 5},
    pages_per_second=2.5,
    bytes_per_second=500_000,
    in_flight=3,
    hosts_active=2,
    hosts_waiting=1,
    hosts_done=4,
    slowest=(SlowHost("b.example.org", 3.25), SlowHost("a.example.org", 0.5)),
    longest=(LongHost("b.example.org", 9, 1.5),),
)


def held_up(*hosts: tuple[str, int, float]) -> Progress:
    return Progress(longest=tuple(LongHost(*host) for host in hosts))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PARTS, max_size=4), st.randoms())
def test_partitions_add_up_the_same_in_any_order_and_grouping(parts, random):
    shuffled = random.sample(parts, len(parts))
    cut = random.randint(0, len(parts))
    whole = added(parts)
    assert added(shuffled) == whole
    assert added([added(shuffled[:cut]), added(shuffled[cut:])]) == whole
    assert whole.tried == sum(part.tried for part in parts)


def test_a_partition_that_is_silent_keeps_its_counts_and_does_nothing():
    total = Total()
    total.take(TOLD, at=100)
    total.take(dataclasses.replace(TOLD, partition=0), at=100 + STALE_SECONDS)
    told = total.sum(now=101 + STALE_SECONDS)
    assert (told.pages, told.waiting, told.hosts_done) == (40, 18, 8)
    assert (told.pages_per_second, told.in_flight) == (2.5, 3)
    assert (told.hosts_active, told.hosts_waiting) == (2, 4)
    assert told.slowest == TOLD.slowest


def test_partitions_of_an_earlier_division_no_longer_count():
    total = Total()
    total.take(TOLD, at=-math.inf)
    total.take(dataclasses.replace(TOLD, partition=0, partitions=4), at=5)
    assert total.sum(now=5).pages == 20


def test_a_word_travels_as_a_line_of_a_journal():
    line = json.loads(json.dumps({"time": 1.0, "kind": PARTITION, **dataclasses.asdict(TOLD)}))
    assert Progress.read(line) == TOLD


def test_a_rate_is_that_of_the_last_while():
    rate = Rate()
    assert rate.per_second(1000, now=50.0) == 0
    assert rate.per_second(1010, now=51.0) == 10
    for second in range(52, 80):
        last = rate.per_second(1010 + 3 * (second - 51), now=float(second))
    assert last == pytest.approx(3)


def test_the_table_names_errors_refusals_and_traps_by_kind():
    assert rows(TOLD) == [
        ("speed", "2.5 pages/s, 0.50 MB/s, 3 requests under way"),
        ("hosts", "2 active, 1 waiting, 4 done"),
        ("errors", "http-error 3, timeout 1"),
        ("refused", "robots 4"),
        ("traps", "trap-path 5"),
        ("slowest", "b.example.org 3.2 s, a.example.org 0.5 s"),
        ("longest", "b.example.org: 9 waiting at 1.5 s each"),
    ]
    assert [label for label, _ in rows(Progress())] == ["speed"]
    assert "slowest" not in dict(rows(Progress(slowest=(SlowHost("a.example.org", 0.01),))))


def test_a_recrawl_tells_what_is_new_beside_what_became_of_known_pages():
    told = Progress(outcomes={"page": 7, "unchanged": 30, "changed": 2, "gone": 1})
    assert dict(rows(told))["recrawl"] == "unchanged 30, new 7, changed 2, gone 1"
    assert figures(told)["recrawl.new"] == 7
    assert "recrawl" not in dict(rows(Progress(outcomes={"page": 7}))), "a first crawl has only new pages"


def test_the_longest_host_of_all_partitions_is_named():
    told = added([held_up(("a.example", 300, 1.0)), held_up(("b.example", 200, 2.0), ("c.example", 9, 1.0))])
    assert dict(rows(told))["longest"] == "b.example: 200 waiting at 2.0 s each"
    assert [host.seconds for host in told.longest] == [400, 300, 9]


def test_of_a_host_only_what_the_limit_of_pages_cannot_do_without_holds_up_the_end():
    told = dataclasses.replace(held_up(("a.example", 100, 10.0), ("b.example", 2_000, 0.4)), waiting=2_500)
    assert limited(told, 2_500).longest == told.longest
    assert [host.name for host in limited(told, 2_410).longest] == ["b.example", "a.example"]
    told_of = str(limited(told, 2_410).longest[1])
    assert told_of == "a.example: 100 waiting at 10.0 s each, of which 10 are needed for crawl.max_pages"
    assert limited(told, 400).longest == ()


def test_metrics_have_names_that_stay_the_same():
    found = figures(TOLD)
    assert (found["pages"], found["tried"], found["errors"]) == (20, 35, 4)
    assert (found["errors.http-error"], found["refused.robots"], found["traps.trap-path"]) == (3, 4, 5)
    assert found["megabytes_per_second"] == 0.5
    assert found["slowest_host_seconds"] == 3.25


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("http-error", ERROR),
        ("opt-out", REFUSED),
        ("trap-anything", TRAP),
        ("soft-404", TRAP),
        ("new", ERROR),
    ],
)
def test_every_outcome_is_of_one_kind(outcome, kind):
    assert meaning_of(outcome).kind == kind


def attempt_in(folder: Path, number: int) -> Attempt:
    return Attempt(Storage(str(folder)), "crawl", "0123456789abcdef", f"20260101-00000{number}-aaaaaa")


def test_the_driver_tells_the_sum_of_all_attempts_and_partitions(tmp_path: Path):
    before = attempt_in(tmp_path, 1).journal("spider")
    before.write(PARTITION, **dataclasses.asdict(dataclasses.replace(TOLD, partition=0)))
    before.write(PARTITION, **dataclasses.asdict(TOLD))
    attempt = attempt_in(tmp_path, 2)
    with telling(attempt, max_pages=50):
        longest = (LongHost("b.example.org", 20, 1.5),)
        later = dataclasses.replace(TOLD, outcomes={"page": 25}, seconds=90.0, longest=longest)
        attempt.journal("spider").write(PARTITION, **dataclasses.asdict(later))
    lines = [
        line
        for line in JournalReader(attempt.storage, f"{attempt.folder}/journal").read()
        if line["kind"] != PARTITION
    ]
    progress, table, metrics = lines[-3:]
    assert (progress["done"], progress["total"], progress["unit"]) == (45, 50, "pages")
    assert progress["bound"] == {
        "seconds": 10.5,
        "by": "host b.example.org: 20 waiting at 1.5 s each, of which 7 are needed for crawl.max_pages",
    }, "5 of 18 URLs may make the 50 pages, 13 need not be had"
    assert table["rows"][0] == ["speed", "2.5 pages/s, 0.50 MB/s, 3 requests under way"]
    assert (metrics["step"], metrics["values"]["crawl.pages"]) == (90, 45)
    assert told_in(attempt).sum(now=0.0).pages == 45


def test_a_long_crawl_has_a_bounded_number_of_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    teller, steps = Teller(attempt_in(tmp_path, 1), 10), []
    lines = [{"kind": PARTITION, "seconds": float(second)} for second in range(3 * EVEN_POINTS)]
    monkeypatch.setattr(teller._reader, "read", lambda: [lines.pop(0)])
    for told in ("progress", "table"):
        monkeypatch.setattr(teller._journal, told, lambda *_, **__: None)
    monkeypatch.setattr(teller._journal, "metrics", lambda step, **_: steps.append(step))
    while lines:
        teller.tell()
    assert steps == [*range(2 * EVEN_POINTS), *range(2 * EVEN_POINTS, 3 * EVEN_POINTS, 2)]


def test_what_came_in_the_crawls_last_second_is_in_its_metrics(tmp_path: Path):
    attempt = attempt_in(tmp_path, 1)
    spider, teller = attempt.journal("spider"), Teller(attempt, 50)
    for robots in (4, 5):
        told = dataclasses.replace(TOLD, outcomes={"robots": robots})
        spider.write(PARTITION, **dataclasses.asdict(told))
        teller.tell()
    teller.tell(last=True)
    teller.tell(last=True)
    lines = JournalReader(attempt.storage, f"{attempt.folder}/journal").read()
    metrics = [line for line in lines if line["kind"] == "metrics"]
    assert [(line["step"], line["values"]["crawl.refused.robots"]) for line in metrics] == [(61, 4), (62, 5)]


def words(*over: bool, number: int = 1, in_flight: int = 0) -> list[Progress]:
    return [Progress(round=number, is_over=each, in_flight=in_flight) for each in over]


@pytest.mark.parametrize(
    ("parts", "told", "is_pause"),
    [
        (words(True, True, number=0), "2, of at most 20 s, begins", True),
        (words(False, False), "2, of at most 20 s", False),
        (words(True, False), "2, of at most 20 s: 1 of 2 partitions have ended it", False),
        (
            words(True, True, in_flight=3),
            "2 is over: what is under way ends, links to other partitions are handed over, "
            "round 3 begins if URLs wait",
            True,
        ),
        (
            words(True, True),
            "2 is over: links to other partitions are handed over, round 3 begins if URLs wait",
            True,
        ),
    ],
)
def test_it_is_told_what_happens_between_two_rounds(parts, told: str, is_pause: bool):
    assert Round(1, 2, 2, 20.0, regroups=False).told(parts) == (told, is_pause)


def test_the_round_stands_in_the_table_and_between_rounds_in_the_line(tmp_path: Path):
    attempt = attempt_in(tmp_path, 1)
    spider, rounds, teller = attempt.journal("spider"), attempt.journal("rounds"), Teller(attempt, 50)
    lines = JournalReader(attempt.storage, f"{attempt.folder}/journal")
    for told in (Round(0, 1, 1, 10.0, regroups=False), Round(1, 1, 1, 20.0, regroups=False)):
        told.tell(rounds)
        for is_over in (False, True):
            spider.write(PARTITION, **dataclasses.asdict(Progress(round=told.number, is_over=is_over)))
            teller.tell()
    found = list(lines.read())
    shown = [line["figures"].get("round") for line in found if line["kind"] == "progress"]
    first, second = (f"{each} is over: it is stored, round {each + 1} begins if URLs wait" for each in (1, 2))
    assert shown == [None, first, None, second]
    tables = [dict(line["rows"])["round"] for line in found if line["kind"] == "table"]
    assert tables[::2] == ["1, of at most 10 s", "2, of at most 20 s"]

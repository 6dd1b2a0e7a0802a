"""What a recrawl asks for, how, what it makes of the answer, and which crawl it starts from."""

import datetime
import random
from typing import Any

import pytest

from crawler.recrawl import (
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Known,
    conditional_headers,
    earlier_crawl,
    is_due,
    known_page,
    outcome_of,
    refresh_seconds,
)
from pipeline.store import Record
from pipeline.store.records import InputOf

DAY = 86_400.0
KNOWN = Known(
    "http://example.org/", "2026-01-01T10:00:00Z", "aa", '"v1"', "Thu, 01 Jan 2026 09:00:00 GMT", 10 * DAY
)


def on(day: int) -> datetime.date:
    return datetime.date(2026, 1, day)


def known(**changes: Any) -> Known:
    return Known(**{**vars(KNOWN), **changes})


def test_a_page_is_due_when_its_rest_is_over_by_the_end_of_the_snapshots_day() -> None:
    assert [day for day in range(1, 20) if is_due(KNOWN, on(day))] == list(range(11, 20))
    assert is_due(known(refresh_seconds=None), on(1))


def test_conditions_are_what_the_server_said_itself() -> None:
    assert conditional_headers(KNOWN) == {
        "If-None-Match": '"v1"',
        "If-Modified-Since": "Thu, 01 Jan 2026 09:00:00 GMT",
    }
    assert conditional_headers(known(etag=None, last_modified=None)) == {}
    for bad in ("a\r\nCookie: b", "", " ", "x" * 2000, "\u20ac"):
        assert conditional_headers(known(etag=bad, last_modified=bad)) == {}


@pytest.mark.parametrize(
    ("status", "sha256", "outcome"),
    [
        (304, None, "unchanged"),
        (200, "aa", "unchanged"),
        (200, "bb", "changed"),
        (404, None, "gone"),
        (410, "aa", "gone"),
        (200, None, None),
        (301, None, None),
        (503, None, None),
    ],
)
def test_an_answer_says_what_became_of_the_page(status: int, sha256: str | None, outcome: str | None) -> None:
    found = outcome_of(KNOWN, status, sha256, "2026-01-11T10:00:00Z")
    assert (found.name if found else None) == outcome
    if found is not None:
        rest = {"unchanged": 15 * DAY, "changed": 5 * DAY, "gone": None}
        assert found.refresh_seconds == rest[found.name]


def test_not_modified_without_a_condition_says_nothing() -> None:
    assert outcome_of(known(etag=None, last_modified=None), 304, None, "2026-01-11T10:00:00Z") is None


def test_the_interval_stays_within_its_bounds() -> None:
    assert refresh_seconds(known(refresh_seconds=None), "2026-01-01T11:00:00Z", True) == SHORTEST_SECONDS
    assert (
        refresh_seconds(known(refresh_seconds=LONGEST_SECONDS), "2026-12-31T10:00:00Z", False)
        == LONGEST_SECONDS
    )
    long_rest = refresh_seconds(KNOWN, "2026-03-02T10:00:00Z", False)
    assert long_rest == 60 * DAY * 1.5
    assert refresh_seconds(KNOWN, "2026-03-02T10:00:00Z", True) == 5 * DAY


def test_a_page_that_changes_at_random_is_visited_about_twice_between_two_changes() -> None:
    """Expected is 0.46 of the mean time: where 37 % of visits find a change (1 - exp(-0.46) = 0.37)."""
    chance, mean = random.Random(0), 30 * DAY
    page, at, intervals = known(refresh_seconds=None), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), []
    interval = 2 * DAY
    for _ in range(4000):
        at += datetime.timedelta(seconds=interval)
        has_changed = chance.expovariate(1 / mean) < interval
        interval = refresh_seconds(page, at.isoformat(), has_changed)
        page = known(fetched=at.isoformat(), refresh_seconds=interval)
        intervals.append(interval)
    typical = sorted(intervals)[len(intervals) // 2]
    assert 0.3 < typical / mean < 0.65


def test_only_pages_are_known() -> None:
    visit = {
        name: getattr(KNOWN, name)
        for name in ("fetched", "sha256", "etag", "last_modified", "refresh_seconds")
    }
    for outcome in ("page", "unchanged", "not-due"):
        assert known_page(KNOWN.url, {"outcome": outcome, **visit}) == KNOWN
    assert known_page(KNOWN.url, {"outcome": "redirect", **visit}) is None
    assert known_page(KNOWN.url, {"outcome": "page", **visit, "sha256": None}) is None


def record(key: str, snapshot: str | None, earlier: str | None = None, **changes: Any) -> Record:
    inputs = {"earlier": InputOf(stage="crawl", key=earlier, digest="")} if earlier else {}
    identity = {"seeds": ["http://example.org/"]} | ({"snapshot": snapshot} if snapshot else {})
    given: dict[str, Any] = {
        "stage": "crawl", "revision": 1, "key": key, "identity": identity, "config": {}, "inputs": inputs,
        "content": {}, "counts": {}, "figures": {}, "files": {}, "digest": "", "compute": {}, "attempt": "",
        "started": "2026-01-05T00:00:00+00:00", "seconds": 0.0, "commit": None, "versions": {},
    }  # fmt: skip
    return Record(**(given | changes))


def test_a_recrawl_starts_from_the_latest_earlier_crawl_of_the_same_configuration() -> None:
    records = [
        record("first", "2026-01-01"),
        record("undated", None),
        record("last", "2026-01-09"),
        record("lost", "2026-01-10", incomplete=True),
        record("later", "2026-03-01"),
        record("other", "2026-01-10", identity={"seeds": ["http://other.org/"], "snapshot": "2026-01-10"}),
        record("raw", "2026-01-10", stage="extract"),
    ]

    def found(snapshot: str | None, *more: Record) -> str | None:
        identity = {"seeds": ["http://example.org/"]} | ({"snapshot": snapshot} if snapshot else {})
        return earlier_crawl([*records, *more], "crawl", identity, {}, {})

    assert found("2026-02-01") == "last"
    assert found("2026-01-07") == "undated"
    assert found("2026-01-03") == "first"
    assert found("2026-01-01") is None
    assert found("2025-01-01") is None
    assert found(None) is None
    assert found("2026-02-01", record("made", "2026-02-01", earlier="first")) == "first"
    assert earlier_crawl(records, "crawl", records[-3].identity, {"site": "s"}, {}) is None
    assert earlier_crawl(records, "crawl", records[-3].identity, {}, {"seeds": "of a file"}) is None

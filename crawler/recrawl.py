"""Crawling again: what is due, how it is asked for, what came of it, and when to ask next.

A recrawl is a crawl of the same configuration with a later snapshot date; the earlier one is its input.
Everything here is decided from what the earlier frontier knows of a page and from the two dates, never
from the clock, so that an interrupted recrawl goes on as it began.

A page that changed is asked for again in half the time, one that did not in half as much more. So a
page whose changes come at random is asked for about twice in the mean time between two of them: the
interval stays where (1/2)^p (3/2)^(1-p) = 1, which is p = 0.37 of visits that find a change. That is a
multiplicative form of estimating how often a page changes from the visits that found it changed (Cho and
Garcia-Molina 2003, Estimating Frequency of Change, ACM TOIT 3(3)); the lower bound is what keeps pages
that change all the time from taking all visits, which is no use (the same, Effective Page Refresh
Policies for Web Crawlers, ACM TODS 28(4)).
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crawler.warc import Original
from pipeline.corpus.pages import EARLIER, KEPT
from pipeline.store import Record

SHORTEST_SECONDS = 86_400.0
LONGEST_SECONDS = 180 * 86_400.0
"""Between two visits to a page: a snapshot has a day; half a year is seldom enough for anything."""
CHANGED_FACTOR, UNCHANGED_FACTOR = 0.5, 1.5
VALIDATOR_CHARACTERS = 1024
"""A longer ETag or Last-Modified is not sent back."""
GONE = frozenset({404, 410})
NOT_MODIFIED = 304
SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class Known:
    """What the earlier crawl knows of a page that it has: stored, unchanged, or taken over as not due."""

    url: str
    fetched: str
    """UTC, ISO 8601: when it was last asked for."""
    sha256: str
    """Of its body."""
    etag: str | None = None
    last_modified: str | None = None
    refresh_seconds: float | None = None
    """How long it may rest. None: it was asked for once, so nothing is known."""


@dataclass(frozen=True)
class Outcome:
    """What came of asking again."""

    name: str
    """As in the crawl log."""
    refresh_seconds: float | None
    """How long the page may rest from now on. None: it is no page any more."""


def end_of(snapshot: datetime.date) -> datetime.datetime:
    """The moment that a crawl of this date stands for: the end of that day, UTC."""
    return datetime.datetime.combine(snapshot, datetime.time(), datetime.UTC) + datetime.timedelta(days=1)


def is_due(known: Known, snapshot: datetime.date) -> bool:
    """Whether a crawl of this date asks for the page. If not, the earlier copy stands (`not-due`)."""
    if known.refresh_seconds is None:
        return True
    rested = end_of(snapshot) - _moment(known.fetched)
    return rested.total_seconds() >= known.refresh_seconds


def conditional_headers(known: Known) -> dict[str, str]:
    """Headers that spare the server the page if it is the same (RFC 9110, section 13.1), verbatim what it
    said itself; none if it said nothing, or what cannot stand in a header."""
    told = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in told.items() if value is not None and _can_be_sent(value)}


def outcome_of(known: Known, status: int, sha256: str | None, fetched: str) -> Outcome | None:
    """What the answer to asking again means; None if it says nothing of the page as it was known, and is
    judged as any other (a redirect, an error, another content type).

    `sha256` is that of the body of a page that would be stored, None if there is none. A 304 counts only
    as the answer to a condition.
    """
    if status == NOT_MODIFIED and conditional_headers(known):
        return Outcome("unchanged", refresh_seconds(known, fetched, has_changed=False))
    if status in GONE:
        return Outcome("gone", None)
    if status == 200 and sha256 is not None:
        has_changed = sha256 != known.sha256
        name = "changed" if has_changed else "unchanged"
        return Outcome(name, refresh_seconds(known, fetched, has_changed))
    return None


def refresh_seconds(known: Known, fetched: str, has_changed: bool) -> float:
    """How long the page may rest, after it was asked for again at `fetched`.

    The interval that is halved or stretched is the one that was seen: a page that did not change for longer
    than it was to rest has shown that it may rest longer.
    """
    seen = (_moment(fetched) - _moment(known.fetched)).total_seconds()
    planned = seen if known.refresh_seconds is None else known.refresh_seconds
    rest = min(seen, planned) * CHANGED_FACTOR if has_changed else max(seen, planned) * UNCHANGED_FACTOR
    return min(max(rest, SHORTEST_SECONDS), LONGEST_SECONDS)


def original_of(headers: Mapping[str, str]) -> Original:
    """What a revisit record is to refer to, by the WARC headers of the record at the known page's place:
    that response, or if it is a revisit itself, what that one refers to."""
    if headers["WARC-Type"] == "revisit":
        url, date, identity = "WARC-Refers-To-Target-URI", "WARC-Refers-To-Date", "WARC-Refers-To"
    else:
        url, date, identity = "WARC-Target-URI", "WARC-Date", "WARC-Record-ID"
    return Original(headers[url], headers[date], headers.get(identity), headers.get("WARC-Payload-Digest"))


def known_page(url: str, visit: Mapping[str, Any]) -> Known | None:
    """What is known of a URL by its row in the earlier frontier's `visits`; None if it was no page."""
    if visit["outcome"] not in KEPT or not visit["sha256"] or not visit["fetched"]:
        return None
    return Known(
        url,
        visit["fetched"],
        visit["sha256"],
        visit["etag"],
        visit["last_modified"],
        visit["refresh_seconds"],
    )


def earlier_crawl(
    records: Iterable[Record],
    stage: str,
    identity: Mapping[str, Any],
    inputs: Mapping[str, str],
    content: Mapping[str, str],
) -> str | None:
    """Key of the crawl that a crawl with this identity, these inputs (name to key) and this content from
    outside starts from, or None.

    The latest one of the same configuration whose snapshot is earlier; one without a snapshot has the date
    on which it was made. If the crawl itself is in the store already, what it started from: a crawl that was
    made in between does not make it again. A crawl without a snapshot starts from nothing.
    """
    snapshot = identity.get(SNAPSHOT)
    if snapshot is None:
        return None
    found = []
    for record in _same(records, stage, identity, inputs, content):
        date = record.identity.get(SNAPSHOT)
        if date == snapshot:
            given = record.inputs.get(EARLIER)
            return given.key if given is not None else None
        date = date or record.started[: len("YYYY-MM-DD")]
        if date < snapshot and not record.incomplete:
            found.append((date, record.started, record.key))
    return max(found)[2] if found else None


def _same(
    records: Iterable[Record],
    stage: str,
    identity: Mapping[str, Any],
    inputs: Mapping[str, str],
    content: Mapping[str, str],
) -> Iterator[Record]:
    """Crawls that differ in nothing but their snapshot and what they started from."""
    wanted = _but(identity, SNAPSHOT)
    for record in records:
        given = {name: each.key for name, each in record.inputs.items() if name != EARLIER}
        same = _but(record.identity, SNAPSHOT) == wanted and given == dict(inputs)
        if record.stage == stage and same and record.content == dict(content):
            yield record


def _but(values: Mapping[str, Any], left_out: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != left_out}


def _moment(fetched: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(fetched)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


def _can_be_sent(value: str) -> bool:
    """One line of what a header may hold (RFC 9110, section 5.5)."""
    visible = all(each == "\t" or " " <= each <= "~" or "\xa0" <= each <= "\xff" for each in value)
    return visible and bool(value.strip()) and len(value) <= VALIDATOR_CHARACTERS

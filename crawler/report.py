"""The report at a crawl's end: what is counted in its frontiers, by SQL and in bounded memory.

`report_page.py` draws it. The report is a function of the crawl's files and configuration alone: the same
frontiers and archive give the same page, byte by byte, with the same version of matplotlib.
"""

import hashlib
import heapq
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawler.hosts import Host
from crawler.inquiry import Frontiers
from crawler.manners import Manners
from crawler.markup import read_markup, visible_text
from crawler.out_of_scope import Unwanted
from crawler.outcomes import ERROR, IS_PAGE, IS_STORED, REFUSED, TRAP, meaning_of, of_kind
from crawler.recrawl import NOT_MODIFIED
from crawler.schema import DONE
from pipeline.store import Attempt, File, Storage

if TYPE_CHECKING:
    from pipeline.shards import ShardOutput

REPORT = "report.html"
"""Its name among the files of the artifact."""
SHOWN = 20
"""Hosts, and names of other things, that a chart shows; what is rarer is added up."""
GROUPS = 200
"""Values that a server chooses, such as content types, of which so many are counted each for itself."""
EXAMPLES = 5
"""URLs that are shown of each outcome that is no page, and of each reason why URLs are not wanted."""
BINS = 120
"""Bars of the chart over time, at most."""
BIN_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
DEEPEST = 40
"""Pages that are deeper are counted as of this depth."""
SAMPLE_PAGES = 200
"""Pages whose language is looked at: a crawl keeps none."""
SAMPLE_BYTES = 128 << 10
"""Of a page, from its beginning."""
ENOUGH_CHARACTERS = 80
"""With less text a language cannot be told."""


@dataclass
class HostTotals:
    """Hosts that stand out, each with its count, the largest first."""

    by_pages: list[tuple[str, int]] = field(default_factory=list)
    by_bytes: list[tuple[str, int]] = field(default_factory=list)
    by_robots: list[tuple[str, int]] = field(default_factory=list)
    """URLs that robots.txt forbids."""
    by_traps: list[tuple[str, int]] = field(default_factory=list)
    """URLs that are of a trap."""
    asked: int = 0
    """All hosts of which a URL has an outcome."""


@dataclass(frozen=True)
class SlowHost:
    """A host that answers slowly."""

    name: str
    latency: float
    """Seconds to the headers of an answer: a moving average."""
    delay: float
    """Seconds between two requests that were kept to at the end: the configured ones, or more as it asked
    for more or was slow."""
    requests: int


@dataclass(frozen=True)
class Example:
    """A URL of an outcome."""

    url: str
    detail: str | None


@dataclass
class Timeline:
    """Pages over time."""

    start: int = 0
    """Of the first bar: seconds since 1970."""
    bin_seconds: int = 1
    pages: list[int] = field(default_factory=list)


@dataclass
class Languages:
    """Of a sample of pages."""

    sampled: int = 0
    detected: Counter[str] = field(default_factory=Counter)
    """ISO 639-1 code, or `too little text`."""
    declared: Counter[str] = field(default_factory=Counter)
    """What the `lang` of the html element begins with, or `none`."""


@dataclass
class Facts:
    """All that the report shows."""

    seconds: float
    """Of crawling, interruptions not counted."""
    waiting: int
    bytes: int
    outcomes: Counter[str]
    statuses: Counter[str]
    content_types: Counter[str]
    opt_outs: Counter[str]
    closed: Counter[str]
    """Hosts that are asked no more, by the reason."""
    depths: Counter[int]
    """Pages by links from a seed."""
    timeline: Timeline
    hosts: HostTotals
    slowest: list[SlowHost]
    examples: dict[str, list[Example]]
    """Outcome → some of its URLs; of refusals, traps and errors."""
    unwanted: dict[str, Unwanted]
    """URLs that were found and are not wanted, by the reason."""
    languages: Languages


def manners_of(config: Mapping[str, Any]) -> Manners:
    """How hosts were asked; moinho's own site, which is crawled without seeds, needs no politeness."""
    if not (config.get("seeds") or config.get("seeds_file")):
        return Manners()
    return Manners(config["delay_seconds"], config["max_delay_seconds"])


@dataclass(frozen=True)
class Place:
    """Where a page's record lies in the archive."""

    warc: str
    offset: int
    length: int


@dataclass(frozen=True)
class ToReport:
    """What the task gets that writes the report of a finished crawl."""

    attempt: Attempt
    frontiers: tuple[File, ...]
    """By partition."""
    archive: Mapping[str, File]
    """WARC files by their logical name."""
    config: Mapping[str, Any]
    """Of the crawl, resolved."""


def write_report(given: ToReport, output: "ShardOutput") -> Mapping[str, int]:
    """In a Ray task: the report as a file of the artifact; how many URLs are not wanted, by the reason."""
    storage, base = given.attempt.storage, given.attempt.base
    paths = [storage.download(f"{base}/{file.path}", file.sha256) for file in given.frontiers]
    with Frontiers(paths, finished=True) as frontiers:
        pages = archived(
            frontiers, storage, {name: f"{base}/{file.path}" for name, file in given.archive.items()}
        )
        make_report(frontiers, pages, output.path(REPORT), base, given.config)
        unwanted = frontiers.out_of_scope()
    return {f"out-of-scope.{reason}": each.urls for reason, each in unwanted.items()}


def make_report(
    frontiers: Frontiers, pages: Iterator[bytes], target: Path, name: str, config: Mapping[str, Any]
) -> None:
    """Write the page. `pages` are the archived responses to look for languages in; `name` is that by which
    `moinho frontier` finds the crawl, `config` its resolved configuration, empty where it cannot be told."""
    from crawler.report_page import page

    facts = facts_of(frontiers, languages_of(pages), manners_of(config))
    target.write_text(page(facts, name), encoding="utf-8")


def facts_of(frontiers: Frontiers, languages: Languages, manners: Manners) -> Facts:
    """Counts that need a pass over all URLs: of outcomes and times, of hosts, of depths."""
    outcomes: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    size = 0
    for outcome, status, count, some in frontiers.rows(
        "SELECT outcome, status, count(*), total(bytes) FROM visits GROUP BY outcome, status"
    ):
        outcomes[outcome] += count
        statuses[str(status) if status is not None else "no answer"] += count
        if outcome != "not-due" and status != NOT_MODIFIED:
            size += int(some)  # of pages that were taken over nothing came
    return Facts(
        seconds=max((row[0] for row in frontiers.rows("SELECT seconds FROM position")), default=0.0),
        waiting=sum(row[0] for row in frontiers.rows("SELECT known FROM position")) - outcomes.total(),
        bytes=size,
        outcomes=outcomes,
        statuses=statuses,
        content_types=_grouped(frontiers, "content_type", "visits WHERE content_type IS NOT NULL"),
        opt_outs=_opt_outs(frontiers),
        closed=_grouped(frontiers, "closed", "hosts WHERE closed IS NOT NULL"),
        depths=_depths(frontiers),
        timeline=_timeline(frontiers),
        hosts=_hosts(frontiers),
        slowest=_slowest(frontiers, manners),
        examples={
            outcome: _examples(frontiers, outcome) for outcome in of_kind(outcomes, REFUSED, TRAP, ERROR)
        },
        unwanted=frontiers.out_of_scope(EXAMPLES),
        languages=languages,
    )


def _grouped(frontiers: Frontiers, column: str, table: str) -> Counter[str]:
    """The most frequent values of a column. Beyond GROUPS of them in a partition the rest is one."""
    query = (
        f"WITH counted AS (SELECT {column} AS value, count(*) AS amount FROM {table} GROUP BY 1), "
        f"frequent AS (SELECT * FROM counted ORDER BY amount DESC, value LIMIT {GROUPS}) "
        "SELECT * FROM frequent UNION ALL SELECT NULL, (SELECT total(amount) FROM counted) - total(amount) "
        "FROM frequent"
    )
    found: Counter[str] = Counter()
    for value, amount in frontiers.rows(query):
        if amount:
            found[str(value) if value is not None else "others"] += int(amount)
    return found


def _opt_outs(frontiers: Frontiers) -> Counter[str]:
    """Each statement for itself; a page may have several."""
    found: Counter[str] = Counter()
    for text, count in _grouped(frontiers, "opt_outs", "visits WHERE opt_outs IS NOT NULL").items():
        for word in text.split():
            found[word] += count
    return found


def _depths(frontiers: Frontiers) -> Counter[int]:
    query = (
        f"SELECT min(depth, {DEEPEST}), count(*) FROM visits JOIN urls USING (host, place) "
        f"WHERE {IS_PAGE} AND state = {DONE} GROUP BY 1"
    )
    found: Counter[int] = Counter()
    for depth, count in frontiers.rows(query):
        found[depth] += count
    return found


def _timeline(frontiers: Frontiers) -> Timeline:
    pages = f"FROM visits WHERE {IS_PAGE} AND outcome != 'not-due'"
    ends = "SELECT strftime('%s', min(fetched)), strftime('%s', max(fetched)) " + pages
    spans = [(int(first), int(last)) for first, last in frontiers.rows(ends) if first is not None]
    if not spans:
        return Timeline()
    start, end = min(first for first, _ in spans), max(last for _, last in spans)
    width = next((each for each in BIN_SECONDS if (end - start) / each < BINS), -(-(end - start + 1) // BINS))
    start -= start % width
    counts = [0] * ((end - start) // width + 1)
    query = f"SELECT (strftime('%s', fetched) - ?) / ?, count(*) {pages} GROUP BY 1"
    for place, count in frontiers.rows(query, (start, width)):
        counts[place] += count
    return Timeline(start, width, counts)


def _hosts(frontiers: Frontiers) -> HostTotals:
    """In one pass, host by host: a host is one partition's, so nothing is to be added up."""
    traps = {
        name
        for (name,) in frontiers.rows("SELECT DISTINCT outcome FROM visits")
        if meaning_of(name).kind == TRAP
    }
    listed = ", ".join("?" * len(traps))
    query = (
        "SELECT (SELECT name FROM hosts WHERE hosts.id = host), "
        f"sum({IS_PAGE}), total(bytes), "
        f"sum(outcome = 'robots'), sum(outcome IN ({listed})) FROM visits GROUP BY host"
    )
    found = HostTotals()
    tops = (found.by_pages, found.by_bytes, found.by_robots, found.by_traps)
    for name, *counts in frontiers.rows(query, sorted(traps)):
        found.asked += bool(name)
        for top, count in zip(tops, counts, strict=True):
            if name and count:
                top.append((name, int(count)))
                if len(top) > 10 * SHOWN:
                    _keep_largest(top)
    for top in tops:
        _keep_largest(top)
    return found


def _keep_largest(top: list[tuple[str, int]]) -> None:
    top.sort(key=lambda each: (-each[1], each[0]))
    del top[SHOWN:]


def _slowest(frontiers: Frontiers, manners: Manners) -> list[SlowHost]:
    query = (
        "SELECT name, latency, delay, requests FROM hosts WHERE requests > 0 "
        f"ORDER BY latency DESC, name LIMIT {SHOWN}"
    )
    found = [
        SlowHost(name, latency, manners.delay_of(Host(0, name, delay=delay, latency=latency)), requests)
        for name, latency, delay, requests in frontiers.rows(query)
    ]
    return sorted(found, key=lambda host: (-host.latency, host.name))[:SHOWN]


def _examples(frontiers: Frontiers, outcome: str) -> list[Example]:
    """Of several hosts, if it has several; `visits` are in the order of hosts, so that nothing is sorted."""
    query = (
        "SELECT url_of((SELECT name FROM hosts WHERE hosts.id = host), {place}), detail FROM visits "
        f"WHERE outcome = ? {{group}} LIMIT {EXAMPLES}"
    )
    found: dict[str, Example] = {}
    for place, group in (("min(place)", "GROUP BY host"), ("place", "")):
        if len(found) < EXAMPLES:
            for url, detail in frontiers.rows(query.format(place=place, group=group), (outcome,)):
                found.setdefault(url, Example(url, detail))
    return list(found.values())[:EXAMPLES]


# --- languages ---


def archived(frontiers: Frontiers, storage: Storage, archive: Mapping[str, str]) -> Iterator[bytes]:
    """WARC records of SAMPLE_PAGES pages, drawn by a hash of their URLs: the same ones from equal crawls.
    `archive` maps names of WARC files to their paths in the store; of each only the records are read."""
    for place in _sample(frontiers):
        if place.warc in archive:
            yield storage.read(archive[place.warc], place.offset, place.offset + place.length)


def _sample(frontiers: Frontiers) -> list[Place]:
    query = (
        "SELECT drawn(hosts.name || place) AS number, warc, offset, length FROM visits "
        f"JOIN hosts ON hosts.id = host WHERE {IS_STORED} AND warc IS NOT NULL "
        f"ORDER BY number LIMIT {SAMPLE_PAGES}"
    )
    frontiers.create_function("drawn", 1, _number_of)
    drawn = heapq.nsmallest(SAMPLE_PAGES, frontiers.rows(query))
    return [Place(*row[1:]) for row in drawn]


def _number_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def languages_of(records: Iterator[bytes]) -> Languages:
    """What the pages' text is written in, and what they say that they are written in."""
    from pipeline.corpus.charset import decode
    from pipeline.corpus.language import of_passages, passages

    found = Languages()
    for data in records:
        response = _response(data)
        if response is None:
            continue
        markup = decode(*response)
        text = unescape(visible_text(markup))
        declared = (read_markup(markup).language or "").strip().lower().partition("-")[0]
        found.sampled += 1
        found.declared[declared if declared.isascii() and declared.isalpha() else "none"] += 1
        enough = len(text) >= ENOUGH_CHARACTERS
        found.detected[of_passages(passages(text)).code if enough else "too little text"] += 1
    return found


def _response(data: bytes) -> tuple[bytes, str | None] | None:
    """The beginning of the page in a WARC record, and the charset that its header names."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    try:
        records = ArchiveIterator(
            io.BytesIO(data), record_types=WarcRecordType.response, parse_http=True, auto_decode="all"
        )
        return next(((record.reader.read(SAMPLE_BYTES), record.http_charset) for record in records), None)
    except Exception:
        # The reader raises what its decoders raise, of many types: one page less in the sample.
        return None

"""The judge: what a web's log, its truth and a crawl's artifact say against the crawl.

Pure functions; each yields a line for every fault it finds, and none where there is none. They know
nothing of the crawler but its crawl log's columns, and read WARC files by a library of their own.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warcio.archiveiterator import ArchiveIterator

from tests.crawler.testweb.exchange import WELL_KNOWN, Request, digest
from tests.crawler.testweb.hosts import Host

TOLERANCE_SECONDS = 0.05
"""By so much two requests may be closer than the delay: a network is not a clock."""
RETRIED_STATUSES = (0, 408, 425, 429, 500, 502, 503, 504)
"""Answers after which a URL may be asked for again; 0 is one that was broken."""
TRIES = 12
"""How often at most."""


@dataclass(frozen=True)
class Stored:
    """A response, or a revisit, in a WARC file."""

    url: str
    kind: str
    sha256: str
    """Of its body, without encodings."""


@dataclass(frozen=True)
class Logged:
    """A line of the crawl log."""

    url: str
    outcome: str
    detail: str | None = None
    referrer: str | None = None


@dataclass(frozen=True)
class Crawled:
    """What a crawl left behind."""

    stored: Sequence[Stored]
    logged: Sequence[Logged]


@dataclass(frozen=True)
class Killed:
    """A moment at which something was killed."""

    at: float
    """Seconds (monotonic)."""
    window_seconds: float
    """What was answered so long before it may not have been durable."""
    over: float | None = None
    """When the last process was gone that could not outlive what was killed; default: at once."""


Unit = Callable[[Request], str]
"""What politeness counts as one."""


def by_name(request: Request) -> str:
    return request.host


def by_address(request: Request) -> str:
    """For a crawl that counts hosts of one address as one."""
    return request.address


def read_crawl(warcs: Iterable[Path], logs: Iterable[Path]) -> Crawled:
    stored = [each for path in warcs for each in _stored(path)]
    lines = [json.loads(line) for path in logs for line in path.read_text(encoding="utf-8").splitlines()]
    names = ("url", "outcome", "detail", "referrer")
    return Crawled(stored, [Logged(**{name: line.get(name) for name in names}) for line in lines])


def _stored(path: Path) -> Iterator[Stored]:
    with path.open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type in ("response", "revisit"):
                url = record.rec_headers.get_header("WARC-Target-URI")
                yield Stored(url, record.rec_type, digest(record.content_stream().read()))


def wrong_pages(hosts: Collection[Host], requests: Sequence[Request], crawled: Crawled) -> Iterator[str]:
    """Pages that are not exactly once in the archive and in the log, and any that should not be there."""
    stored = Counter(each.url for each in crawled.stored)
    logged = Counter(line.url for line in crawled.logged)
    pages = Counter(line.url for line in crawled.logged if line.outcome == "page")
    names = {line.url: f"{line.outcome} ({line.detail})" for line in crawled.logged}
    wanted = {host.url(path) for host in hosts for path in host.pages}
    for url in sorted(wanted):
        if stored[url] != 1:
            yield f"{url}: {stored[url]} times in the archive; the log says {names.get(url, 'nothing')}"
        if pages[url] != 1:
            yield f"{url}: {pages[url]} times a page in the log, which says {names.get(url, 'nothing')}"
    yield from (f"{url}: {count} lines in the log" for url, count in logged.items() if count > 1)
    yield from (f"{url}: stored, but no page in the log" for url in stored if not pages[url])
    yield from (f"{url}: a page in the log, but not stored" for url in pages if not stored[url])
    yield from _false_bodies(requests, crawled)


def _false_bodies(requests: Sequence[Request], crawled: Crawled) -> Iterator[str]:
    """Pages whose bytes are not what was sent."""
    sent: dict[tuple[str, str], set[str]] = defaultdict(set)
    for request in requests:
        if request.whole:
            sent[request.host, request.path].add(request.sha256)
    for each in crawled.stored:
        host, path = _split(each.url)
        bodies = sent.get((host, path))
        if each.kind == "response" and bodies and each.sha256 not in bodies:
            yield f"{each.url}: other bytes are stored than were sent"


def wrong_outcomes(hosts: Collection[Host], crawled: Crawled) -> Iterator[str]:
    """URLs of which the log says what it should not, and hosts whose kind is not counted by its name."""
    by_host: dict[str, set[str]] = defaultdict(set)
    said: dict[str, str] = {}
    names = {host.name for host in hosts}
    for line in crawled.logged:
        said[line.url] = line.outcome
        name = _split(line.url)[0]
        # What leads to no host of the web counts where the link stood.
        by_host[name if name in names else _split(line.referrer or "")[0]].add(line.outcome)
    for host in hosts:
        for path, allowed in host.may.items():
            outcome = said.get(host.url(path))
            if outcome is not None and allowed and outcome not in allowed:
                yield f"{host.url(path)}: {outcome}, not {' or '.join(sorted(allowed))}"
        if host.counted and not host.counted & by_host[host.name]:
            found = ", ".join(sorted(by_host[host.name])) or "nothing"
            yield f"{host.name}: counted as {found}, not as {' or '.join(sorted(host.counted))}"


def forbidden(hosts: Mapping[str, Host], requests: Iterable[Request]) -> Iterator[str]:
    """Requests that must not have been made: against rules, to strangers, for what nobody linked to."""
    probed = set[str]()
    for request in requests:
        host = hosts.get(request.host)
        url = f"{request.host}{request.path[:200]} at {request.address}"
        if host is None:
            yield f"{url}: asked, though it is no host of this web"
        elif request.path in host.never:
            yield f"{url}: asked, though {host.never[request.path]}"
        elif request.is_well_known:
            continue
        elif host.closed:
            yield f"{url}: asked, though {host.closed}"
        elif host.at_most is None and request.path not in host.pages and request.path not in host.may:
            if request.status == 404 and host.name not in probed:
                probed.add(host.name)  # one look at how the host says that it has no such page
                continue
            yield f"{url}: asked, though no canonical URL is spelled so"


def too_many(hosts: Mapping[str, Host], requests: Iterable[Request]) -> Iterator[str]:
    """Endless hosts that cost more than they may."""
    asked = Counter(request.host for request in requests)
    for name, host in hosts.items():
        if host.at_most is not None and asked[name] > host.at_most:
            yield f"{name}: {asked[name]} requests, {host.at_most} at most are worth it"


def too_close(
    hosts: Mapping[str, Host], requests: Iterable[Request], delay_seconds: float, unit: Unit = by_name
) -> Iterator[str]:
    """Two requests to a host that came closer together than the delay, as the server measured it.

    What the server itself was late in reading the first is allowed for.
    """
    for name, asked in _by(unit, requests).items():
        for first, second in itertools.pairwise(asked):
            host = hosts.get(second.host)
            delay = max(delay_seconds, host.delay_seconds if host is not None else 0.0)
            apart = second.arrived - first.arrived + first.late
            if apart < delay - TOLERANCE_SECONDS:
                both = f"{second.path[:200]} came {apart:.3f} s after {first.path[:200]}"
                yield f"{name}: {both}, not {delay:g} s"


def too_early(requests: Iterable[Request]) -> Iterator[str]:
    """Requests before the time that a Retry-After of the host had named."""
    for name, asked in _by(by_name, requests).items():
        until = 0.0
        for request in asked:
            if request.arrived + TOLERANCE_SECONDS < until:
                yield f"{name}: {request.path} came {until - request.arrived:.3f} s before its Retry-After"
            if request.not_before is not None:
                until = max(until, request.not_before)


def at_once(requests: Iterable[Request], most: int = 1, unit: Unit = by_name) -> Iterator[str]:
    """Hosts that were asked for more things at once than they should be."""
    for name, asked in _by(unit, requests).items():
        ends: list[float] = []
        for request in asked:
            ends = [end for end in ends if end > request.arrived]
            ends.append(request.ended if request.ended is not None else float("inf"))
            if len(ends) > most:
                yield f"{name}: {request.path[:200]} made {len(ends)} requests at once, not {most}"


def repeated(requests: Iterable[Request], kills: Sequence[Killed] = ()) -> Iterator[str]:
    """URLs that were fetched again, though the first answer was a good one and had become durable."""
    by_url: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in requests:
        by_url[request.host, request.path].append(request)
    for (name, path), asked in by_url.items():
        for first, second in itertools.pairwise(asked):
            if _why_again(first, second, kills) is None:
                yield f"{name}{path[:200]}: fetched again after a good answer ({first.status})"
        if len(asked) > TRIES + len(kills):
            yield f"{name}{path[:200]}: asked for {len(asked)} times"


def fetched_again(requests: Iterable[Request], kills: Sequence[Killed] = ()) -> Counter[str]:
    """How many requests were repetitions, by why they were allowed; `not allowed` for the rest."""
    by_url: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in requests:
        by_url[request.host, request.path].append(request)
    return Counter(
        _why_again(first, second, kills) or "not allowed"
        for asked in by_url.values()
        for first, second in itertools.pairwise(asked)
    )


def _why_again(first: Request, second: Request, kills: Sequence[Killed]) -> str | None:
    """Why `second` was allowed after `first`, or None."""
    if first.status in RETRIED_STATUSES or not first.whole:
        return "the answer was none"
    if first.path in WELL_KNOWN and first.status >= 300:
        return "the answer was none"
    for kill in kills:
        over = kill.at if kill.over is None else kill.over
        if first.arrived <= over <= second.arrived:
            if first.ended is None or first.ended >= over:
                return "in flight at a kill"
            if first.ended >= kill.at - kill.window_seconds:
                return "not yet durable at a kill"
    return None


def pages_per_second(hosts: Mapping[str, Host], requests: Iterable[Request]) -> float:
    """How fast the good hosts' pages came, from their first request to their last answer."""
    asked = [each for each in requests if each.host in hosts and hosts[each.host].is_good]
    pages = [each for each in asked if each.path in hosts[each.host].pages]
    if not pages:
        return 0.0
    begin = min(each.arrived for each in asked)
    end = max(each.ended or each.arrived for each in pages)
    return len(pages) / max(end - begin, 1e-9)


def slowed(alone: float, among_hostile: float, least: float) -> Iterator[str]:
    """`least`: the share of the good hosts' pages per second that they must keep among hostile ones."""
    if among_hostile < least * alone:
        yield (
            f"good hosts: {among_hostile:.1f} pages/s among hostile ones, {alone:.1f} without; "
            f"at least {least:g} of that was to be kept"
        )


def judge(
    hosts: Mapping[str, Host],
    requests: Sequence[Request],
    crawled: Crawled,
    *,
    delay_seconds: float,
    at_once_per_host: int = 1,
    unit: Unit = by_name,
    kills: Sequence[Killed] = (),
) -> list[str]:
    """All faults of a crawl that ended because nothing was left."""
    return [
        *wrong_pages(hosts.values(), requests, crawled),
        *wrong_outcomes(hosts.values(), crawled),
        *forbidden(hosts, requests),
        *too_many(hosts, requests),
        *too_close(hosts, requests, delay_seconds, unit),
        *too_early(requests),
        *at_once(requests, at_once_per_host, unit),
        *repeated(requests, kills),
    ]


def _by(unit: Unit, requests: Iterable[Request]) -> dict[str, list[Request]]:
    """Unit → its requests in the order of their arrival."""
    found: dict[str, list[Request]] = defaultdict(list)
    for request in sorted(requests, key=lambda each: each.arrived):
        found[unit(request)].append(request)
    return found


def _split(url: str) -> tuple[str, str]:
    """Host and path with query."""
    rest = url.partition("://")[2]
    host, slash, path = rest.partition("/")
    return host, slash + path

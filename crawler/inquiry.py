"""What the frontiers of a crawl tell to whoever asks. They are read and never written: those of a finished
crawl, which do not change, and those that a child process is writing to at this moment.

SQLite's write-ahead log lets readers see the last commit while the next one is made, and holds up nobody.
"""

import difflib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crawler.entries import Visit
from crawler.hosts import QUEUED, SERVED
from crawler.out_of_scope import Unwanted, kept_in, merged, number_of
from crawler.places import url_of
from crawler.progress import Progress, added
from crawler.schema import ASIDE, DONE, FRESH, NEARER, OUTGOING, SENT, VISIT_COLUMNS, WAITING
from crawler.urls import bucket_of, host_of
from pipeline.errors import InputError

STATES: dict[str, tuple[int, ...]] = {
    "waiting": (WAITING, FRESH),
    "done": (DONE,),
    "aside": (ASIDE,),
    "elsewhere": (OUTGOING, SENT, NEARER),
}
"""In words: what is to be fetched; what has an outcome; what is kept aside until it is known whose pages
are wanted; what was found here and is another partition's."""
CACHE_KIB = 64 << 10
"""Memory that SQLite may use for the pages of one file."""
SIMILAR_HOSTS = 2_000
"""Host names that are compared with one that is not known."""
LONGEST_CHAIN = 1_000
"""Steps back to a seed that are looked at."""

URLS = f"""
SELECT hosts.name, place, state, level, depth, redirects, tries,
    (SELECT url FROM sources WHERE sources.id = source),
    {", ".join(f"visits.{name}" for name in VISIT_COLUMNS)}
FROM urls JOIN hosts ON hosts.id = host LEFT JOIN visits USING (host, place)
"""
KNOWN_FIELDS = 8
HOST_COUNTS = f"""
SELECT total(queued IN ({QUEUED}, {SERVED})), total(queued NOT IN ({QUEUED}, {SERVED}) AND requests > 0),
    total(bytes) FROM hosts
"""


class NoFrontierError(InputError):
    """The crawl has no frontier to look into: it was begun elsewhere, made by another version, or its
    pages came from an archive."""

    remedy = "Look where the crawl runs, or into the crawl log that `moinho show` leads to."


class UnknownHostError(InputError):
    """The crawl knows no such host."""

    remedy = "Use a host name that the message or `moinho frontier ls` shows."


class UnknownOutcomeError(InputError):
    """No URL of the crawl had this outcome."""

    remedy = "Use an outcome that the message names."


@dataclass(frozen=True)
class Known:
    """A URL as a frontier knows it."""

    url: str
    host: str
    state: str
    """One of STATES."""
    level: int
    """Steps from a seed, redirects included."""
    depth: int
    """Links from a seed."""
    redirects: int
    tries: int
    """How often it was asked for in vain."""
    referrer: str | None
    """The page that led to it; None for a seed."""
    visit: Visit | None
    """What became of it; None while it has no outcome."""
    frontier: str
    """The file that tells this: that of the partition which serves its host."""


@dataclass(frozen=True)
class HostFacts:
    """A host as its partition knows it."""

    name: str
    allowed: bool
    """Its pages are wanted."""
    closed: str | None
    """Why it is not asked any more."""
    due: float
    """Not to be asked before: seconds since 1970."""
    delay: float
    failures: int
    requests: int
    pages: int
    bytes: int
    errors: int
    latency: float


class Frontiers:
    """The frontiers of all partitions of one crawl, by partition. Used as a context."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        finished: bool,
        as_of: str | None = None,
        cache_kib: int = CACHE_KIB,
    ) -> None:
        """`finished`: the files never change, so that nothing is locked or left beside them. `as_of`: which
        moment they tell of, in words, if the crawl may know more by now. Raises NoFrontierError if there is
        no file."""
        self.as_of = as_of
        if not paths:
            raise NoFrontierError("this crawl has no frontier to look into; its crawl log may say more")
        opened = ((_opened(path, finished, cache_kib), str(path)) for path in paths)
        self._files = {connection: path for connection, path in opened if _has_begun(connection)}
        self._connections = list(self._files)
        if not self._connections:
            raise NoFrontierError("this crawl has only just begun, and nothing is written yet; ask again")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()

    @property
    def count(self) -> int:
        """How many frontiers these are."""
        return len(self._connections)

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """What a query gives in every partition, one after the other."""
        for connection in self._connections:
            yield from connection.execute(query, values)

    def create_function(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Let queries call a function of Python's."""
        for connection in self._connections:
            connection.create_function(name, arguments, function, deterministic=True)

    def find(self, url: str) -> Known | None:
        """A canonical URL, where its host is served if it is known there."""
        name, place = place_of(url)
        found = None
        for connection in self._serving(name):
            row = connection.execute(f"{URLS} WHERE hosts.name = ? AND place = ?", (name, place)).fetchone()
            if row is not None:
                known = _known(row, self._files[connection])
                if known.state != "elsewhere":
                    return known
                found = found or known
        return found

    def way_to(self, known: Known) -> list[Known]:
        """The pages that led to it, from itself back to a seed."""
        way, seen = [known], {known.url}
        while way[-1].referrer is not None and len(way) < LONGEST_CHAIN:
            before = self.find(way[-1].referrer)
            if before is None or before.url in seen:
                break
            way.append(before)
            seen.add(before.url)
        return way

    def host(self, name: str) -> HostFacts | None:
        """Where it is served, if it is known there."""
        columns = "name, allowed, closed, due, delay, failures, requests, pages, bytes, errors, latency"
        for connection in self._serving(name):
            row = connection.execute(f"SELECT {columns} FROM hosts WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return HostFacts(row[0], bool(row[1]), *row[2:])
        return None

    def out_of_scope(self, examples: int = 0) -> dict[str, Unwanted]:
        """URLs that were found and are not wanted, by the reason, with some of them."""
        rows = (row for connection in self._connections for row in kept_in(connection))
        return merged(rows, examples)

    def unwanted_as(self, url: str) -> str | None:
        """The reason for which a canonical URL was found and is not wanted, if it is among those kept."""
        number = number_of(url)
        rows = (row for connection in self._connections for row in kept_in(connection))
        return next((reason for reason, kept, _ in rows if kept == number), None)

    def robots(self, origin: str) -> bytes | None:
        """The robots.txt that an origin was asked by, if one was kept."""
        query = "SELECT body FROM kept_files WHERE url = ?"
        return next((row[0] for row in self.rows(query, (f"{origin}/robots.txt",))), None)

    def urls(
        self, host: str | None, states: Iterable[str], outcome: str | None, limit: int
    ) -> Iterator[Known]:
        """URLs by partition, host and place, `limit` at most; of one host and with one outcome, if these are
        given. Raises UnknownHostError or UnknownOutcomeError, naming what there is."""
        numbers = [number for state in states for number in STATES[state]]
        conditions = [f"state IN ({', '.join(map(str, numbers))})"]
        values: list[str] = []
        if host is not None:
            self._check_host(host)
            conditions.append("hosts.name = ?")
            values.append(host)
        if outcome is not None:
            self._check_outcome(outcome)
            conditions.append("visits.outcome = ?")
            values.append(outcome)
        query = f"{URLS} WHERE {' AND '.join(conditions)} ORDER BY host, place"
        found = (
            _known(row, path)
            for connection, path in self._files.items()
            for row in connection.execute(query, values)
        )
        yield from islice(found, limit)

    def outcomes(self) -> dict[str, int]:
        """How many URLs came to what, the most frequent first."""
        found: Counter[str] = Counter()
        for (text,) in self.rows("SELECT outcomes FROM position"):
            found.update(json.loads(text))
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))

    def standing(self) -> Progress:
        """How far the crawl is, as of the last commits; its speed is that of all its time."""
        parts = []
        for connection in self._connections:
            row = connection.execute("SELECT seconds, known, outcomes FROM position").fetchone()
            seconds, known, outcomes = row[0], row[1], json.loads(row[2])
            waiting, done, received = connection.execute(HOST_COUNTS).fetchone()
            part = Progress(
                seconds=seconds,
                waiting=known - sum(outcomes.values()),
                bytes=int(received),
                outcomes=outcomes,
                hosts_waiting=int(waiting),
                hosts_done=int(done),
            )
            parts.append(part)
        whole = added(parts)
        time = whole.seconds or 1.0
        return replace(whole, pages_per_second=whole.pages / time, bytes_per_second=whole.bytes / time)

    def near_hosts(self, name: str) -> list[str]:
        """Known host names like this one."""
        query = "SELECT name FROM hosts WHERE name != '' LIMIT ?"
        names = {
            each: None for (each,) in self.rows(query, (SIMILAR_HOSTS,))
        }  # several partitions may know one
        return difflib.get_close_matches(name, names, n=3, cutoff=0.5)

    def _serving(self, host: str) -> list[sqlite3.Connection]:
        """All partitions, the one first that serves the host: bucket b is that of partition b % P."""
        first = bucket_of(host) % len(self._connections)
        return [self._connections[first], *self._connections[:first], *self._connections[first + 1 :]]

    def _check_host(self, name: str) -> None:
        if self.host(name) is None:
            near = self.near_hosts(name)
            there = f"; there is {', '.join(near)}" if near else ""
            raise UnknownHostError(f"{name}: this crawl knows no host of that name{there}")

    def _check_outcome(self, outcome: str) -> None:
        outcomes = self.outcomes()
        if outcome not in outcomes:
            there = ", ".join(f"{name} {count:,}" for name, count in outcomes.items()) or "none yet"
            raise UnknownOutcomeError(f"no URL has the outcome {outcome}; outcomes of this crawl: {there}")


def place_of(url: str) -> tuple[str, str]:
    """Host and place of a canonical URL, as `url_of` puts them together."""
    host = host_of(url)
    if not host or not url.startswith(("http://", "https://")):
        return "", url
    scheme, _, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    port = netloc.rpartition("]")[2] if netloc.startswith("[") else netloc[len(host) :]
    return host, f"{scheme}{port}/{path}"


def _opened(path: Path, finished: bool, cache_kib: int) -> sqlite3.Connection:
    mode = "mode=ro&immutable=1" if finished else "mode=ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=30)
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.create_function("url_of", 2, url_of, deterministic=True)
    return connection


def _has_begun(connection: sqlite3.Connection) -> bool:
    """False before a partition's first commit."""
    try:
        return connection.execute("SELECT 1 FROM position").fetchone() is not None
    except sqlite3.OperationalError:
        return False


def _known(row: tuple[Any, ...], frontier: str) -> Known:
    name, place, state, level, depth, redirects, tries, referrer = row[:KNOWN_FIELDS]
    visit = Visit(**dict(zip(VISIT_COLUMNS, row[KNOWN_FIELDS:], strict=True))) if row[KNOWN_FIELDS] else None
    word = next(word for word, numbers in STATES.items() if state in numbers)
    return Known(
        url_of(name, place), name, word, level, depth, redirects, tries or 0, referrer, visit, frontier
    )

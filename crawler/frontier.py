"""Which URL next: every URL that the crawl has seen, once, with its state and what became of it.

One SQLite file per partition. What was done is made durable by `commit` alone, after the archive
was: a page and the links found on it count from the same moment. After a kill the frontier stands
at its last commit, and what was in flight is waiting again.
"""

import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crawler.urls import host_of

WAITING, IN_FLIGHT, DONE = 0, 1, 2
REDIRECTS = 10
"""Redirects in a row after which a chain is given up."""
WINDOW_HOSTS = 500
"""Hosts that are served at the same time; all others stay on disk."""
WINDOW_URLS = 256
"""URLs of one host that are held in memory."""
ROBOTS_HOURS = 24
"""How long a robots.txt may be used (RFC 9309, section 2.4)."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
    url TEXT PRIMARY KEY, host TEXT NOT NULL, level INTEGER NOT NULL, depth INTEGER NOT NULL,
    redirects INTEGER NOT NULL, referrer TEXT, state INTEGER NOT NULL,
    outcome TEXT, status INTEGER, content_type TEXT, bytes INTEGER,
    warc TEXT, offset INTEGER, length INTEGER, sha256 TEXT, fetched TEXT, detail TEXT
);
CREATE INDEX IF NOT EXISTS waiting ON urls (host, level, url) WHERE state = 0;
CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS robots (origin TEXT PRIMARY KEY, fetched REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS position (number INTEGER, offset INTEGER, seconds REAL);
"""
LOG_COLUMNS = (
    *("url", "outcome", "status", "content_type", "bytes", "depth", "referrer"),
    *("warc", "offset", "length", "sha256", "fetched", "detail"),
)


@dataclass(frozen=True)
class Entry:
    """A URL that is to be fetched."""

    url: str
    host: str
    level: int
    """Steps from a seed, redirects included: the order of the crawl."""
    depth: int
    """Links from a seed."""
    redirects: int = 0
    """Redirects that led here in a row."""
    referrer: str | None = None


@dataclass(frozen=True)
class Visit:
    """What became of a URL."""

    outcome: str
    """`page` for a stored page; otherwise why there is none."""
    fetched: str
    status: int | None = None
    content_type: str | None = None
    bytes: int | None = None
    warc: str | None = None
    offset: int | None = None
    length: int | None = None
    sha256: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Position:
    """Where the archive stood at the last commit, and the seconds that the crawl had run."""

    number: int = 0
    offset: int = 0
    seconds: float = 0.0


class Frontier:
    """The SQLite file. One process alone opens it, and every change waits for `commit`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        self._db.execute("BEGIN")
        self._db.execute("UPDATE urls SET state = ? WHERE state = ?", (WAITING, IN_FLIGHT))
        counted = self._db.execute("SELECT outcome, count(*) FROM urls GROUP BY outcome").fetchall()
        self.outcomes: Counter[str] = Counter({name: count for name, count in counted if name is not None})
        self.known: int = sum(count for _, count in counted)
        self.hosts = {host for (host,) in self._db.execute("SELECT host FROM hosts")}
        """Hosts whose pages are wanted."""

    @property
    def tried(self) -> int:
        """URLs whose outcome is known."""
        return sum(self.outcomes.values())

    @property
    def left(self) -> int:
        """URLs that are waiting or in flight."""
        return self.known - self.tried

    def allow(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            self.hosts.add(host)
            self._db.execute("INSERT OR IGNORE INTO hosts VALUES (?)", (host,))

    def add(self, entries: Iterable[Entry]) -> int:
        """Remember URLs that were not known yet, as waiting. Returns how many were new."""
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO urls (url, host, level, depth, redirects, referrer, state) "
            "VALUES (?, ?, ?, ?, ?, ?, 0)",
            (
                (each.url, each.host, each.level, each.depth, each.redirects, each.referrer)
                for each in entries
            ),
        )
        new: int = self._db.total_changes - before
        self.known += new
        return new

    def refuse(self, url: str, visit: Visit, entry: Entry) -> None:
        """Remember a URL that is not even asked for, with the reason."""
        added = self.add([Entry(url, host_of(url), entry.level + 1, entry.depth + 1, 0, entry.url)])
        if added:
            self.finish(url, visit)

    def take(self, host: str, limit: int = WINDOW_URLS) -> list[Entry]:
        """Waiting URLs of the host, of one level (its lowest), in order; from now on in flight."""
        rows = self._db.execute(
            "SELECT url, host, level, depth, redirects, referrer FROM urls WHERE state = 0 AND host = ?1 AND "
            "level = (SELECT min(level) FROM urls WHERE state = 0 AND host = ?1) ORDER BY url LIMIT ?2",
            (host, limit),
        ).fetchall()
        self._db.executemany("UPDATE urls SET state = 1 WHERE url = ?", ((row[0],) for row in rows))
        return [Entry(*row) for row in rows]

    def waiting_host(self, after: str) -> str | None:
        """The first host name beyond `after` that has waiting URLs; costs the same for any number."""
        row = self._db.execute(
            "SELECT host FROM urls WHERE state = 0 AND host > ? ORDER BY host LIMIT 1", (after,)
        ).fetchone()
        return str(row[0]) if row else None

    def finish(self, url: str, visit: Visit) -> None:
        """Record what became of a URL."""
        self._db.execute(
            "UPDATE urls SET state = 2, outcome = ?, status = ?, content_type = ?, bytes = ?, warc = ?, "
            "offset = ?, length = ?, sha256 = ?, fetched = ?, detail = ? WHERE url = ?",
            (
                *(visit.outcome, visit.status, visit.content_type, visit.bytes, visit.warc),
                *(visit.offset, visit.length, visit.sha256, visit.fetched, visit.detail, url),
            ),
        )
        self.outcomes[visit.outcome] += 1

    def robots(self, origin: str) -> bytes | None:
        """The robots.txt of an origin, if it was read within the last 24 hours (not in the future of a
        clock that was set back)."""
        now = time.time()
        row = self._db.execute(
            "SELECT body FROM robots WHERE origin = ? AND fetched > ? AND fetched <= ?",
            (origin, now - ROBOTS_HOURS * 3600, now),
        ).fetchone()
        return row[0] if row else None

    def keep_robots(self, origin: str, body: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO robots VALUES (?, ?, ?)", (origin, time.time(), body))

    def position(self) -> Position:
        row = self._db.execute("SELECT number, offset, seconds FROM position").fetchone()
        return Position(*row) if row else Position()

    def commit(self, position: Position) -> None:
        """Make all changes durable. The archive must have been synced up to `position` before."""
        self._db.execute("DELETE FROM position")
        self._db.execute(
            "INSERT INTO position VALUES (?, ?, ?)", (position.number, position.offset, position.seconds)
        )
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def log(self) -> Iterator[dict[str, Any]]:
        """What became of each URL tried, sorted by URL."""
        columns = ", ".join(LOG_COLUMNS)
        for row in self._db.execute(f"SELECT {columns} FROM urls WHERE state = 2 ORDER BY url"):
            yield dict(zip(LOG_COLUMNS, row, strict=True))

    def close(self) -> None:
        """Leave; changes since the last commit are dropped."""
        self._db.close()


@dataclass(eq=False)
class _Host:
    """A host in the window."""

    name: str
    waiting: deque[Entry] = field(default_factory=deque)
    in_flight: int = 0
    ready: bool = False
    """True while it stands in the queue of hosts that may be asked."""


class Window:
    """The bounded part of the frontier that is being served: its hosts take turns.

    A host's URLs come level by level: a level begins when the one before has ended, so that the
    depth of a page, and which pages a limit leaves out, do not hang on which answer came first.
    """

    def __init__(self, frontier: Frontier, per_host: int) -> None:
        self._frontier, self._per_host = frontier, per_host
        self._hosts: dict[str, _Host] = {}
        self._ready: deque[_Host] = deque()
        self._cursor = ""
        self._others = True
        """False while it is known that no host outside the window has waiting URLs."""
        self.in_flight = 0

    def add(self, entries: list[Entry]) -> None:
        """Remember URLs that were not known yet."""
        if entries and self._frontier.add(entries):
            self._others = self._others or any(entry.host not in self._hosts for entry in entries)

    def next(self) -> Entry | None:
        """A URL to ask for now, or None until another has ended."""
        while self._ready or self._admit():
            host = self._ready.popleft()
            host.ready = False
            if not host.waiting and not host.in_flight:
                host.waiting.extend(self._frontier.take(host.name))
                if not host.waiting:
                    del self._hosts[host.name]
            if host.waiting:
                entry = host.waiting.popleft()
                host.in_flight += 1
                self.in_flight += 1
                if host.in_flight < self._per_host:
                    self._queue(host)
                return entry
        return None

    def ended(self, entry: Entry) -> None:
        """The URL needs no connection any more."""
        host = self._hosts[entry.host]
        host.in_flight -= 1
        self.in_flight -= 1
        self._queue(host)

    def again(self, entry: Entry) -> None:
        """Ask once more, after the host's others of the same level."""
        self._hosts[entry.host].waiting.append(entry)
        self.ended(entry)

    def _queue(self, host: _Host) -> None:
        if not host.ready:
            host.ready = True
            self._ready.append(host)

    def _admit(self) -> bool:
        """Bring waiting hosts into the window, going round all of them. True if there is one."""
        wrapped = not self._cursor
        while self._others and len(self._hosts) < WINDOW_HOSTS:
            name = self._frontier.waiting_host(self._cursor)
            self._cursor = name or ""
            if name is None:
                self._others = not wrapped
                wrapped = True
            elif name not in self._hosts:
                self._hosts[name] = _Host(name)
                self._queue(self._hosts[name])
                return True
        return False

"""Which URL next: every URL that a partition has seen, once, with its state and what became of it.

One SQLite file per partition. What was done is made durable by `commit` alone, after the archive
was: a page and the links found on it count from the same moment. After a kill the frontier stands
at its last commit, and what was in flight is waiting again, for being in flight is not written down. After a
loss of power it stands whole at an earlier commit, the archive is cut off there, and what came since is
fetched again (SQLite's write-ahead log with `synchronous = NORMAL`: it is synced before each checkpoint, of
at most some 1,000 of its pages).

What costs is inserting some sixty links a page into B-trees of ten million rows. So a URL's row is
small (what became of it stands in `visits`), is keyed by host and place, so that a page's links fall
on few pages of the file, and no index changes with it. Which of a host's URLs are next is found by going
through them; only of a host with very many is there an index, in the order of the crawl (its URLs are
WAITING, all others FRESH). `python -m tests.benchmarks frontier` measures it against a bare insert; its
README has the figures. Of other embedded stores, on one x86 core, thousand URLs a CPU-second in batches of
60: SQLite's bare insert 90 to 145; LMDB 460 without and 170 with an fsync a batch, but a queue, a report and
a repartition would each be code of our own on it; DuckDB 11.
"""

import json
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from crawler import hosts
from crawler.entries import Entry, Position, Visit
from crawler.hosts import COUNTED_URLS, Host, Hosts
from crawler.origins import KEPT_SECONDS
from crawler.out_of_scope import OTHER_HOST, OutOfScope
from crawler.places import Places, url_of
from crawler.schema import (
    ADD,
    ASIDE,
    COUNT,
    COUNT_ORDERED,
    DONE,
    ENTRY_COLUMNS,
    ENTRY_FIELDS,
    FRESH,
    LOG,
    LOG_COLUMNS,
    LOWERED,
    MOVE,
    OUTGOING,
    REFUSE,
    REFUSED,
    SCHEMA,
    SENT,
    TAKE,
    TAKE_ORDERED,
    TO_REFUSE,
    VISIT,
    VISIT_COLUMNS,
    WAITING,
)

BIG_HOST_URLS = 2_000
"""The waiting URLs of a host with at least so many are kept in order. Going through fewer takes half a
millisecond, a fraction of what fetching a page does."""
CACHE_KIB = 32 << 10
"""Memory that SQLite may use for pages of the file. More is slower: after a page of a B-tree was split, a
commit goes through the whole cache (as long as the file is below 1 GiB). With 128 MiB a page's links cost
half as much again, ours and a bare insert's; what is not in it the operating system has."""

T = TypeVar("T")
Row = tuple[int, str, int, int, int, int, int, int | None]
"""What is inserted for a URL: host, place, state, level, priority, depth, redirects, source."""


@dataclass(frozen=True)
class Added:
    """How `add` ended."""

    new: int
    lowered: int
    """URLs known before that turned out to be nearer to a seed."""


class Frontier:
    """The SQLite file. One process alone opens it, and every change waits for `commit`."""

    def __init__(self, path: Path, partition: int = 0, partitions: int = 1) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self.db.create_function("url_of", 2, url_of, deterministic=True)
        self._lowered: list[tuple[int, str]] = []
        self.db.create_function("nearer", 3, _noting(self._lowered))
        self.db.executescript(hosts.SCHEMA + SCHEMA)
        self.db.execute("BEGIN")
        self.hosts = Hosts(self.db)
        self.out_of_scope = OutOfScope(self.db)
        row = self.db.execute("SELECT known, settled, outcomes FROM position").fetchone()
        self.known: int = row[0] if row else 0
        self.settled: bool = bool(row[1]) if row else False
        """True once all seeds have led somewhere, so that it is known whose pages are wanted."""
        self.outcomes: Counter[str] = Counter(json.loads(row[2]) if row else {})
        self.places = Places(self.hosts, partition, partitions)
        self._source: tuple[str | None, int | None] = (None, None)

    def outside(self, make: Callable[[sqlite3.Connection], T]) -> T:
        """What `make` returns, which has tables of its own in the file; no transaction is open meanwhile."""
        self.db.execute("COMMIT")
        made = make(self.db)
        self.db.execute("BEGIN")
        return made

    @property
    def tried(self) -> int:
        """URLs whose outcome is known."""
        return sum(self.outcomes.values())

    @property
    def left(self) -> int:
        """URLs that are waiting or in flight."""
        return self.known - self.tried

    # --- URLs that are found ---

    def add(self, entries: Iterable[Entry], *, aside: bool = False) -> Added:
        """Remember URLs that were not known yet, as waiting (or aside); one that was, with a greater
        depth, takes the smaller one. Those of other partitions' hosts wait to be handed over."""
        rows: list[Row] = []
        outgoing: list[Row] = []
        origins, ordered = self.places.known, self.hosts.ordered
        referrer, source = self._source
        for each in entries:
            url = each.url
            end = url.find("/", 8)
            host, prefix, foreign = origins.get(url[:end]) or self.places.learn(url[:end])
            if each.referrer != referrer:
                referrer, source = each.referrer, self.source_of(each.referrer)
            state = ASIDE if aside else OUTGOING if foreign else WAITING if host in ordered else FRESH
            small = (state, each.level, each.priority, each.depth, each.redirects, source)
            (outgoing if foreign else rows).append((host, prefix + url[end:], *small))
        self.insert(outgoing)
        added = self.insert(rows)
        if not aside:
            self.known += added.new
            self.hosts.queue({row[0] for row in rows})
        return added

    def insert(self, rows: list[Row]) -> Added:
        """Write down what was not known yet, and what is nearer now."""
        by_host: dict[int, list[Row]] = {}
        for row in rows:
            by_host.setdefault(row[0], []).append(row)
        waiting, new, lowered = self.hosts.waiting, 0, 0
        for host, group in by_host.items():
            before = len(self._lowered)
            changed = self.db.executemany(ADD, group).rowcount + before - len(self._lowered)
            new += changed
            if host in waiting and group[0][2] in (WAITING, FRESH):
                waiting[host] += changed
        if self._lowered:
            lowered = len(self._lowered)
            self.db.executemany(LOWERED, self._lowered)
            self._lowered.clear()
        return Added(new, lowered)

    def add_seeds(self, entries: list[Entry]) -> None:
        """Remember seeds, and where seeds redirect to, whose hosts are wanted."""
        self.hosts.allow(each.host for each in entries)
        self.add(entries)
        for each in entries:
            host, place, _ = self.places.locate(each.url)
            self.db.execute(
                "INSERT OR IGNORE INTO seeds SELECT host, place FROM urls "
                f"WHERE host = ? AND place = ? AND state IN ({WAITING}, {FRESH})",
                (host, place),
            )

    def refuse(self, url: str, visit: Visit, entry: Entry) -> None:
        """Remember a URL that is not even asked for, with the reason, as found on the page `entry`; one of
        another partition's host, or of none, is handed over, lest it be counted by several."""
        self.take_refused(Entry(url, "", entry.level + 1, entry.depth + 1, referrer=entry.url), visit)

    def take_refused(self, entry: Entry, visit: Visit) -> None:
        """As `refuse`; `entry` is the URL itself."""
        if not self.places.counts(entry.url):
            values = (*(visit.outcome, visit.fetched, visit.detail), entry.level, entry.depth, entry.referrer)
            self.db.execute(REFUSED, (entry.url, *values))
            return
        host, place, _ = self.places.locate(entry.url)
        source = self.source_of(entry.referrer)
        if self.insert([(host, place, DONE, entry.level, 0, entry.depth, 0, source)]).new:
            self.known += 1
            self._visit(host, place, visit)

    def refuse_rest(self, fetched: str) -> None:
        """Give what waits at hosts that are asked no more the outcome that says why: nothing is left then."""
        for host, reason in self.hosts.take_refused():
            self.outcomes[reason] += self.db.execute(REFUSE, (reason, fetched, host)).rowcount
            for state in (WAITING, FRESH):
                self.db.execute(MOVE, (DONE, host, state))
            self.db.execute("DELETE FROM seeds WHERE host = ?", (host,))

    def settle(self) -> None:
        """All seeds have led somewhere: admit what was set aside and is wanted, drop the rest."""
        query = "SELECT DISTINCT host, name, allowed FROM urls JOIN hosts ON hosts.id = host WHERE state = ?"
        for host, name, allowed in self.db.execute(query, (ASIDE,)).fetchall():
            if not allowed:
                dropped = "SELECT place FROM urls WHERE host = ? AND state = ?"
                for (place,) in self.db.execute(dropped, (host, ASIDE)).fetchall():
                    self.out_of_scope.note(OTHER_HOST, url_of(name, place))
                self.db.execute("DELETE FROM urls WHERE host = ? AND state = ?", (host, ASIDE))
                continue
            own = self.places.serves(name)
            state = OUTGOING if not own else WAITING if host in self.hosts.ordered else FRESH
            moved = self.db.execute(MOVE, (state, host, ASIDE)).rowcount
            if own:
                self.known += moved
                self.hosts.queue({host})
        self.settled = True

    def open_seeds(self) -> bool:
        """True while a seed of this partition has led nowhere yet, and its host is not given up."""
        query = "SELECT 1 FROM seeds JOIN hosts ON id = host WHERE closed IS NULL LIMIT 1"
        return self.db.execute(query).fetchone() is not None

    def has_work(self) -> bool:
        """True while a URL waits that may be fetched, at a host that is being served or not; those of a host
        that is given up do not count."""
        waiting = f"SELECT 1 FROM urls WHERE host = hosts.id AND state IN ({WAITING}, {FRESH})"
        query = f"SELECT 1 FROM hosts WHERE queued > 0 AND closed IS NULL AND EXISTS ({waiting}) LIMIT 1"
        return self.db.execute(query).fetchone() is not None

    def lowered(self) -> Iterator[tuple[Entry, Visit]]:
        """URLs that were done before a shorter way to them was found; each is told once."""
        columns = ", ".join(f"visits.{name}" for name in VISIT_COLUMNS)
        query = (
            f"SELECT {ENTRY_COLUMNS}, {columns} "
            "FROM lowered JOIN urls USING (host, place) JOIN visits USING (host, place) "
            "JOIN hosts ON hosts.id = host"
        )
        rows = self.db.execute(query).fetchall()
        self.forget_lowered()
        for row in rows:
            yield _entry(row), Visit(**dict(zip(VISIT_COLUMNS, row[ENTRY_FIELDS:], strict=True)))

    def forget_lowered(self) -> None:
        self.db.execute("DELETE FROM lowered")

    # --- URLs that are fetched ---

    def admit(self, limit: int, before: float) -> list[Host]:
        """The queued hosts that may be asked first, `before` a time at the latest (seconds since 1970); from
        now on they are served. Costs the same for any number of queued hosts."""
        return self.hosts.admit(limit, before)

    def take(self, host: Host, limit: int) -> list[Entry]:
        """Waiting URLs of the host, of one level (its lowest), in order."""
        if not host.big and self._is_big(host.id):
            host.big = True
            self.hosts.ordered.add(host.id)
            self.db.execute(MOVE, (WAITING, host.id, FRESH))
        count, take = (COUNT_ORDERED, TAKE_ORDERED) if host.big else (COUNT, TAKE)
        counted = self.db.execute(count, (host.id, COUNTED_URLS)).fetchone()
        self.hosts.waiting[host.id] = int(counted[0])
        return [_entry(row) for row in self.db.execute(take, (host.id, limit))]

    def _is_big(self, host: int) -> bool:
        query = "SELECT count(*) FROM (SELECT 1 FROM urls WHERE host = ? LIMIT ?)"
        return int(*self.db.execute(query, (host, BIG_HOST_URLS)).fetchone()) == BIG_HOST_URLS

    def finish(self, url: str, visit: Visit) -> None:
        """Record what became of a URL."""
        host, place, _ = self.places.locate(url)
        self.db.execute("UPDATE urls SET state = ? WHERE host = ? AND place = ?", (DONE, host, place))
        if not self.settled:
            self.db.execute("DELETE FROM seeds WHERE host = ? AND place = ?", (host, place))
        if host in self.hosts.waiting:
            self.hosts.waiting[host] -= 1
        self._visit(host, place, visit)

    def _visit(self, host: int, place: str, visit: Visit) -> None:
        self.db.execute(VISIT, (host, place, *(getattr(visit, name) for name in VISIT_COLUMNS)))
        self.outcomes[visit.outcome] += 1

    def failed(self, url: str, tries: int) -> None:
        """The URL was asked for `tries` times in vain and stays waiting."""
        host, place, _ = self.places.locate(url)
        self.db.execute("UPDATE urls SET tries = ? WHERE host = ? AND place = ?", (tries, host, place))

    def depth_of(self, url: str) -> tuple[int, int]:
        """Level and depth of a known URL as of now: a shorter way may have been found since it was taken."""
        host, place, _ = self.places.locate(url)
        query = "SELECT level, depth FROM urls WHERE host = ? AND place = ?"
        level, depth = self.db.execute(query, (host, place)).fetchone()
        return level, depth

    def keep_links(self, url: str, links: Sequence[str]) -> None:
        """Keep what a page led to, lest it be read again when a shorter way to it is found."""
        host, place, _ = self.places.locate(url)
        body = zlib.compress("\n".join(links).encode(), 1)
        self.db.execute("INSERT OR REPLACE INTO links VALUES (?, ?, ?)", (host, place, body))

    def kept_links(self, url: str) -> list[str]:
        host, place, _ = self.places.locate(url)
        query = "SELECT urls FROM links WHERE host = ? AND place = ?"
        row = self.db.execute(query, (host, place)).fetchone()
        return zlib.decompress(row[0]).decode().split("\n") if row else []

    # --- URLs of other partitions ---

    def outgoing(self) -> Iterator[tuple[Entry, bool]]:
        """URLs of other partitions' hosts that are to be handed over, by host and URL; False goes with those
        that were before, with a greater depth."""
        query = (
            f"SELECT {ENTRY_COLUMNS}, (SELECT url FROM sources WHERE sources.id = source), "
            f"state = {OUTGOING} FROM urls JOIN hosts ON hosts.id = host WHERE state IN (2, 6) "
            "ORDER BY host, place"
        )
        for row in self.db.execute(query):
            yield replace(_entry(row), referrer=row[ENTRY_FIELDS]), bool(row[ENTRY_FIELDS + 1])

    def refused(self) -> Iterator[tuple[Entry, Visit]]:
        """URLs that are refused by name, for the partitions that count them."""
        for url, outcome, fetched, detail, level, depth, referrer in self.db.execute(TO_REFUSE):
            yield Entry(url, "", level, depth, referrer=referrer), Visit(outcome, fetched, detail=detail)

    def handed_over(self) -> None:
        """What `outgoing` and `refused` told is on its way."""
        self.db.execute("UPDATE refused SET sent = 1 WHERE sent = 0")
        self.db.execute(f"UPDATE urls SET state = {SENT} WHERE state IN (2, 6)")

    # --- the rest ---

    def kept_file(self, url: str) -> tuple[bytes, float] | None:
        """A host's robots.txt or the like and its age in seconds, if it was read within the last 24 hours
        (not in the future of a clock that was set back)."""
        now = time.time()
        row = self.db.execute(
            "SELECT body, ?1 - fetched FROM kept_files "
            "WHERE url = ?2 AND fetched > ?1 - ?3 AND fetched <= ?1",
            (now, url, KEPT_SECONDS),
        ).fetchone()
        return (row[0], row[1]) if row else None

    def keep_file(self, url: str, body: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO kept_files VALUES (?, ?, ?)", (url, time.time(), body))

    def position(self) -> Position:
        row = self.db.execute("SELECT number, offset, seconds, round, ended FROM position").fetchone()
        return Position(*row) if row else Position()

    def commit(self, position: Position) -> None:
        """Make all changes durable. The archive must have been synced up to `position` before."""
        self.db.execute(
            "INSERT OR REPLACE INTO position VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(position.number, position.offset, position.seconds, position.round, position.ended),
                *(self.known, self.settled, json.dumps(self.outcomes)),
            ),
        )
        self.db.execute("COMMIT")
        self.db.execute("BEGIN")

    def log(self) -> Iterator[dict[str, Any]]:
        """What became of each URL tried, sorted by URL."""
        for row in self.db.execute(LOG):
            yield dict(zip(LOG_COLUMNS, row, strict=True))

    def close(self) -> None:
        """Leave; changes since the last commit are dropped."""
        self.db.close()

    # --- the page that links ---

    def source_of(self, url: str | None) -> int | None:
        """The number under which the URL of a page that links is kept."""
        if url != self._source[0]:
            statement = "INSERT INTO sources (url) VALUES (?)"
            self._source = (url, self.db.execute(statement, (url,)).lastrowid if url else None)
        return self._source[1]


def _noting(lowered: list[tuple[int, str]]) -> Callable[[int, str, int], int]:
    def nearer(host: int, place: str, depth: int) -> int:
        lowered.append((host, place))
        return depth

    return nearer


def _entry(row: tuple[Any, ...]) -> Entry:
    name, place, level, depth, redirects, priority, tries = row[:ENTRY_FIELDS]
    return Entry(url_of(name, place), name, level, depth, redirects, None, priority, tries or 0)

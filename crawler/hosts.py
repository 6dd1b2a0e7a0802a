"""The hosts of a partition: which are wanted, which has something to fetch and may be asked first."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

QUEUED, SERVED, REFUSED = 1, 2, 3
"""A host is QUEUED while it has waiting URLs, SERVED while it is in the window; REFUSED if it is asked no
more and there may be URLs of it without an outcome; otherwise 0."""
LONGEST_SECONDS = 3600.0
"""What a host may ask us to wait for; one that wants more is not asked again in this crawl."""
COUNTED_URLS = 50_000
"""So many waiting URLs of a host are counted at most, in an index: it takes some milliseconds. It is done
when URLs of a host are taken from disk, some 256 at a time."""
REMEMBERED_HOSTS = 200_000
"""Hosts of which is kept in memory that they are queued, or wanted."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS hosts (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, allowed INTEGER NOT NULL DEFAULT 0,
    queued INTEGER NOT NULL DEFAULT 0, closed TEXT, due REAL NOT NULL DEFAULT 0,
    delay REAL NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, address TEXT,
    requests INTEGER NOT NULL DEFAULT 0, pages INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0, latency REAL NOT NULL DEFAULT 0,
    big INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS queue ON hosts (queued, due) WHERE queued > 0;
"""
COLUMNS = (
    *("due", "delay", "failures", "address", "requests", "pages", "bytes", "errors"),
    *("duplicates", "latency", "big"),
)
"""What changes while a host is served."""
HOST = f"SELECT id, name, {', '.join(COLUMNS)} FROM hosts"
LOAD = f"{HOST} WHERE queued = {QUEUED} AND due <= ? ORDER BY due LIMIT ?"
SAVE = f"UPDATE hosts SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ?"


@dataclass(eq=False)
class Host:
    """What is known of a host."""

    id: int
    name: str
    due: float = 0.0
    """Not to be asked again before: seconds since 1970."""
    delay: float = 0.0
    """Seconds between two requests that the host asked for, or that its slowness calls for."""
    failures: int = 0
    """Answers in a row that put us off, or did not come."""
    address: str | None = None
    requests: int = 0
    pages: int = 0
    bytes: int = 0
    """Of the bodies that it sent."""
    errors: int = 0
    duplicates: int = 0
    latency: float = 0.0
    """Seconds to the headers of an answer: of the last one, or more if those before took longer."""
    big: bool = False
    """So many URLs of it are known that going through them would take long: those that wait are in order."""


class Hosts:
    """The table of hosts in a frontier's file. Changes wait for the frontier's commit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.execute(f"UPDATE hosts SET queued = {QUEUED} WHERE queued = {SERVED}")
        # Nobody puts us off for longer; the clock was set back since this was written.
        latest = time.time() + LONGEST_SECONDS
        db.execute(f"UPDATE hosts SET due = 0 WHERE queued = {QUEUED} AND due > ?", (latest,))
        self._queued: set[int] = set()
        """Hosts that are known to be queued or served: most are, when a link to them is found."""
        self.ordered = {number for (number,) in db.execute("SELECT id FROM hosts WHERE big")}
        """Big ones: their URLs are put in order as they are found."""
        self.waiting: dict[int, int] = {}
        """Of each host that is served: its URLs that wait or are in flight. Of one with more than
        `COUNTED_URLS` there are more."""
        self._allowed: dict[str, bool] = {}
        settled = f"queued IN (0, {REFUSED}) AND requests > 0"
        done = db.execute(f"SELECT count(*) FROM hosts WHERE {settled}").fetchone()
        self._done = int(done[0])
        self.changes = 0
        """Counts how often hosts were queued."""

    def id_of(self, name: str) -> int:
        """The host's number; a host that was not known is written down."""
        row = self._db.execute("SELECT id FROM hosts WHERE name = ?", (name,)).fetchone()
        if row is None:
            row = (self._db.execute("INSERT INTO hosts (name) VALUES (?)", (name,)).lastrowid,)
        return int(row[0])

    def allow(self, names: Iterable[str]) -> None:
        """From now on pages of these hosts are wanted."""
        for name in names:
            if not self.allows(name):
                self._db.execute("UPDATE hosts SET allowed = 1 WHERE id = ?", (self.id_of(name),))
                self._allowed[name] = True

    def allows(self, name: str) -> bool:
        found = self._allowed.get(name)
        if found is None:
            row = self._db.execute("SELECT allowed FROM hosts WHERE name = ?", (name,)).fetchone()
            if len(self._allowed) >= REMEMBERED_HOSTS:
                self._allowed.clear()
            found = self._allowed[name] = row is not None and bool(row[0])
        return found

    def allowed(self) -> list[str]:
        """All hosts whose pages are wanted, sorted."""
        return [name for (name,) in self._db.execute("SELECT name FROM hosts WHERE allowed ORDER BY name")]

    def queue(self, numbers: set[int]) -> None:
        """These hosts have waiting URLs now."""
        new = numbers - self._queued
        if new:
            statement = (
                f"UPDATE hosts SET queued = CASE WHEN closed IS NULL THEN {QUEUED} ELSE {REFUSED} END "
                "WHERE id = ? AND queued = 0 RETURNING requests > 0 AND closed IS NULL"
            )
            for number in new:
                row = self._db.execute(statement, (number,)).fetchone()
                self._done -= row is not None and row[0]
            if len(self._queued) >= REMEMBERED_HOSTS:
                self._queued.clear()
            self._queued |= new
            self.changes += 1

    def admit(self, limit: int, before: float) -> list[Host]:
        """See `Frontier.admit`."""
        found = [Host(*row) for row in self._db.execute(LOAD, (before, limit))]
        self._db.executemany(
            f"UPDATE hosts SET queued = {SERVED} WHERE id = ?", ((each.id,) for each in found)
        )
        return found

    def first_due(self) -> float | None:
        """When the first of the queued hosts may be asked (seconds since 1970); None if none is queued."""
        row = self._db.execute(f"SELECT min(due) FROM hosts WHERE queued = {QUEUED}").fetchone()
        return None if row[0] is None else float(row[0])

    def leave(self, host: Host, *, waiting: bool) -> None:
        """The host is served no longer; it is queued again if it has waiting URLs."""
        self.save([host])
        self.waiting.pop(host.id, None)
        self._db.execute("UPDATE hosts SET queued = ? WHERE id = ?", (QUEUED if waiting else 0, host.id))
        self._done += not waiting
        if waiting:
            self.changes += 1
        else:
            self._queued.discard(host.id)

    def close(self, host: Host, reason: str) -> None:
        """The host is asked no more in this crawl; `Frontier.refuse_rest` tells of what waits there."""
        self.save([host])
        self.waiting.pop(host.id, None)
        change = f"UPDATE hosts SET queued = {REFUSED}, closed = ? WHERE id = ? AND closed IS NULL"
        self._done += self._db.execute(change, (reason, host.id)).rowcount
        self._queued.add(host.id)

    def find(self, name: str) -> Host:
        """What is known of a host, whether it is served or not."""
        row = self._db.execute(f"{HOST} WHERE id = ?", (self.id_of(name),)).fetchone()
        return Host(*row)

    def put_off(self, name: str, due: float) -> None:
        """A host that is not served is not to be asked before (seconds since 1970)."""
        self._db.execute("UPDATE hosts SET due = max(due, ?) WHERE name = ?", (due, name))

    def take_refused(self) -> list[tuple[int, str]]:
        """Hosts that are asked no more and at which something may wait, each with the reason; once."""
        found = self._db.execute(f"SELECT id, closed FROM hosts WHERE queued = {REFUSED}").fetchall()
        self._db.execute(f"UPDATE hosts SET queued = 0 WHERE queued = {REFUSED}")
        self._queued.difference_update(number for number, _ in found)
        return found

    def closed(self) -> Iterator[tuple[str, str]]:
        """Hosts that are not asked any more, each with the reason."""
        yield from self._db.execute("SELECT name, closed FROM hosts WHERE closed IS NOT NULL ORDER BY name")

    def counts(self) -> tuple[int, int]:
        """Hosts that wait for their turn, and hosts that had it and of which nothing waits or that are
        asked no more."""
        row = self._db.execute(f"SELECT count(*) FROM hosts WHERE queued = {QUEUED}").fetchone()
        return int(row[0]), self._done

    def bytes(self) -> int:
        """Received from all hosts, as of the last commit."""
        return int(self._db.execute("SELECT ifnull(sum(bytes), 0) FROM hosts").fetchone()[0])

    def save(self, hosts: Iterable[Host]) -> None:
        """Write down what changed while they were served."""
        self._db.executemany(SAVE, ((*(getattr(host, name) for name in COLUMNS), host.id) for host in hosts))

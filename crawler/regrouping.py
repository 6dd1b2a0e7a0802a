"""A partition of a new layout, made from the old ones: its hosts, and all that is known of them."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from crawler.entries import Entry, Position, Visit
from crawler.frontier import Frontier
from crawler.hosts import COLUMNS, QUEUED, REFUSED
from crawler.options import Ended
from crawler.out_of_scope import kept_in
from crawler.partition import ended_of
from crawler.repetition import TABLES, Traps
from crawler.responses import now
from crawler.schema import (
    ALL_REFUSED,
    ASIDE,
    DONE,
    FRESH,
    NEARER,
    OUTGOING,
    SENT,
    VISIT_COLUMNS,
    WAITING,
)
from crawler.urls import bucket_of, host_of

OWN = f"{WAITING}, {DONE}, {ASIDE}, {FRESH}"
"""States of a URL in the frontier that serves it."""
URL_COLUMNS = "place, state, level, priority, depth, redirects"


def regrouped(
    sources: Mapping[int, Path], before: int, target: Path, number: int, partition: int, partitions: int
) -> Ended:
    """Make partition `partition` of `partitions` at `target`, as if it had ended round `number`.

    `sources` are the frontiers of the old layout of `before` partitions, by their number there.
    What was handed over is taken in here, whether whom it was for had read it or not: a URL is there once, so
    nothing is lost and nothing is counted twice. That it was handed over is forgotten: where it is found
    again it is once more, and is known then.
    """
    frontier = Frontier(target, partition, partitions)
    frontier.outside(lambda db: Traps(db, 0))
    opened = {old: sqlite3.connect(source) for old, source in sources.items()}
    try:
        for old, source in opened.items():
            _take_served(frontier, source, old, before)
        for source in opened.values():
            _take_found(frontier, source)
        if partition == 0:  # what is nobody's is counted once
            for source in opened.values():
                for row in kept_in(source):
                    frontier.out_of_scope.take(*row)
        query = "SELECT seconds, settled FROM position"
        places = [source.execute(query).fetchone() for source in opened.values()]
        _count(frontier)
        frontier.settled = all(settled for _, settled in places)
        seconds = max(float(seconds) for seconds, _ in places)
        frontier.commit(Position(0, 0, seconds, number, ended=True))
        ended = ended_of(frontier, seconds, {}, {})
    finally:
        for source in opened.values():
            source.close()
        frontier.close()
    return ended


def _is_from(host: str, index: int, count: int) -> bool:
    """True if the old frontier `index` of `count` served the host."""
    return bucket_of(host) % count == index


def _take_hostless(frontier: Frontier, source: sqlite3.Connection, host: int) -> None:
    """What is refused by name and has no host, such as a file: link."""
    query = (
        "SELECT place, outcome, fetched, detail, level, depth, "
        "(SELECT url FROM sources WHERE sources.id = source) "
        "FROM visits JOIN urls USING (host, place) WHERE host = ?"
    )
    for url, outcome, fetched, detail, level, depth, referrer in source.execute(query, (host,)):
        if frontier.places.counts(url):
            entry = Entry(url, "", level, depth, referrer=referrer)
            frontier.take_refused(entry, Visit(outcome, fetched, detail=detail))


def _take_served(frontier: Frontier, source: sqlite3.Connection, index: int, count: int) -> None:
    """What an old frontier knows of hosts that it served and that are the new one's."""
    names = ", ".join(COLUMNS)
    offset = frontier.db.execute("SELECT ifnull(max(id), 0) FROM sources").fetchone()[0]
    used: set[int] = set()
    hostless: list[int] = []
    for row in source.execute(f"SELECT id, name, allowed, closed, {names} FROM hosts"):
        old, name, allowed, closed, *rest = row
        if allowed:
            frontier.hosts.allow([name])
        if not name:
            hostless.append(old)
        if not (name and _is_from(name, index, count) and frontier.places.serves(name)):
            continue
        new = frontier.hosts.id_of(name)
        statement = (
            f"UPDATE hosts SET closed = ?, {', '.join(f'{each} = ?' for each in COLUMNS)} WHERE id = ?"
        )
        frontier.db.execute(statement, (closed, *rest, new))
        urls = source.execute(
            f"SELECT {URL_COLUMNS}, source, tries FROM urls WHERE host = ? AND state IN ({OWN})", (old,)
        ).fetchall()
        used.update(url[6] for url in urls if url[6] is not None)
        frontier.db.executemany(
            f"INSERT OR IGNORE INTO urls (host, {URL_COLUMNS}, source, tries) "
            f"VALUES ({new}, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*url[:6], None if url[6] is None else url[6] + offset, url[7]) for url in urls),
        )
        _copy(frontier, source, "visits", ("place", *VISIT_COLUMNS), old, new)
        for table, columns in (("seeds", ("place",)), ("lowered", ("place",)), ("links", ("place", "urls"))):
            _copy(frontier, source, table, columns, old, new)
        for table in TABLES:
            _copy_named(frontier, source, table, name)
    for number in used:
        url = source.execute("SELECT url FROM sources WHERE id = ?", (number,)).fetchone()
        frontier.db.execute("INSERT INTO sources VALUES (?, ?)", (number + offset, *url))
    for old in hostless:  # after the numbers above are taken, as it adds sources of its own
        _take_hostless(frontier, source, old)
    for url, fetched, body in source.execute("SELECT url, fetched, body FROM kept_files"):
        if frontier.places.serves(host_of(url)):
            frontier.db.execute("INSERT OR REPLACE INTO kept_files VALUES (?, ?, ?)", (url, fetched, body))


def _copy(
    frontier: Frontier,
    source: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    old: int,
    new: int,
) -> None:
    names = ", ".join(columns)
    rows = source.execute(f"SELECT {names} FROM {table} WHERE host = ?", (old,))
    marks = ", ?" * len(columns)
    frontier.db.executemany(f"INSERT OR IGNORE INTO {table} (host, {names}) VALUES ({new}{marks})", rows)


def _copy_named(frontier: Frontier, source: sqlite3.Connection, table: str, host: str) -> None:
    rows = source.execute(f"SELECT * FROM {table} WHERE host = ?", (host,)).fetchall()
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        frontier.db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)


def _take_found(frontier: Frontier, source: sqlite3.Connection) -> None:
    """What an old frontier found for hosts that others served and that are the new one's."""
    query = (
        f"SELECT name, {URL_COLUMNS}, (SELECT url FROM sources WHERE sources.id = source) "
        f"FROM urls JOIN hosts ON hosts.id = host WHERE state IN ({OUTGOING}, {SENT}, {NEARER}, {ASIDE})"
    )
    for url, outcome, fetched, detail, level, depth, referrer in source.execute(ALL_REFUSED):
        if frontier.places.counts(url):
            entry = Entry(url, "", level, depth, referrer=referrer)
            frontier.take_refused(entry, Visit(outcome, fetched, detail=detail))
    for name, place, state, level, priority, depth, redirects, referrer in source.execute(query):
        if name and frontier.places.serves(name):
            found = (level, priority, depth, redirects, frontier.source_of(referrer))
            new_state = ASIDE if state == ASIDE else FRESH
            frontier.insert([(frontier.hosts.id_of(name), place, new_state, *found)])


def _count(frontier: Frontier) -> None:
    """What a frontier counts as it goes."""
    db = frontier.db
    outcomes = db.execute("SELECT outcome, count(*) FROM visits GROUP BY outcome")
    frontier.outcomes = Counter(dict(outcomes.fetchall()))
    known = f"SELECT count(*) FROM urls WHERE state IN ({WAITING}, {DONE}, {FRESH})"
    frontier.known = int(db.execute(known).fetchone()[0])
    waiting = f"SELECT 1 FROM urls WHERE host = hosts.id AND state IN ({WAITING}, {FRESH})"
    state = f"CASE WHEN closed IS NULL THEN {QUEUED} ELSE {REFUSED} END"
    db.execute(f"UPDATE hosts SET queued = {state} WHERE EXISTS ({waiting})")
    frontier.refuse_rest(now())
    # What others found for a big host is not in order yet: all that waits there is put in order once more.
    db.execute("UPDATE hosts SET big = 0")

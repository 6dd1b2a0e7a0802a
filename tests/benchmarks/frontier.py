"""URLs added to a frontier that grows from 9 to 10 million, against the same store's bare insert."""

import argparse
import contextlib
import random
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from crawler.entries import Entry, Position, Visit
from crawler.frontier import CACHE_KIB, Frontier, Row
from crawler.manners import Manners
from crawler.schema import FRESH, MOVE, WAITING
from crawler.window import Window
from tests.benchmarks.measure import Pair, Result, in_turn, note

URLS = 10_000_000
LINKS, OWN = 60, 50
"""Links of a page, and how many of them lead to its own host. Half of each are known."""
HOST_URLS = 100
SERVED = 1_000
"""Hosts whose pages are being fetched, so that it is theirs that links are found on."""
SLICES = 4
"""Turns of adding for each that is asked for: what else the machine does soon meets both sides."""
FEW_HOSTS, MANY_HOSTS = 100, 100_000
NEXT_URLS = 30
"""URLs of a host when choosing the next is measured, and turns that each of FEW_HOSTS gets."""
NEXT_TARGET = 1 / 1.5
T = TypeVar("T")
WORDS = (
    *("water", "wheel", "stone", "flour", "grain", "river", "village"),
    *("morning", "letter", "number", "window", "table", "bread"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--urls", type=int, default=URLS, help="how many URLs it grows to, from nine tenths")
    parser.add_argument("--hosts", type=int, default=MANY_HOSTS, help="pending hosts, against 100")


def run(given: argparse.Namespace) -> Result:
    """Three parts: the ratio is of adding; figures that begin with `next` are of choosing the next URL, those
    with `big_hosts` of adding to hosts of which so much is known that their URLs are kept in order."""
    with tempfile.TemporaryDirectory(prefix="moinho-frontier-") as name, contextlib.ExitStack() as stack:
        folder, turns = Path(name), given.pairs * SLICES
        choices = [_next_cost(folder / f"few-{turn}", given.hosts) for turn in range(given.pairs)]
        chosen = statistics.median(pair.ratio for pair in choices)
        note(f"next URL: ratio {chosen:.3f}, target {NEXT_TARGET:.3f}")
        growing = stack.enter_context(contextlib.closing(_Growing(folder, given.urls, turns)))
        note(f"filled; resident memory {_resident_mib()} MiB")
        pairs = in_turn(growing.ours, growing.references, turns)
        walls = {name: list(speeds) for name, speeds in growing.walls.items()}
        same_rows = [pair.ours / rows for pair, rows in zip(pairs, growing.same_rows, strict=True)]
        growing.make_big()
        growing.pages //= 4
        big = in_turn(growing.ours, growing.references, turns)
        return Result(
            "frontier",
            "URLs per CPU-second",
            0.7,
            pairs,
            {
                "urls": given.urls,
                "file_bytes": growing.file_bytes(),
                "resident_mib": _resident_mib(),
                "wall_ratio": statistics.median(a / b for a, b in zip(*walls.values(), strict=True)),
                "same_rows_ratio": statistics.median(same_rows),
                "same_rows_interval": [min(same_rows), max(same_rows)],
                "big_hosts_ratio": statistics.median(pair.ratio for pair in big),
                "big_hosts_interval": [min(pair.ratio for pair in big), max(pair.ratio for pair in big)],
                "next_ratio": chosen,
                "next_target": NEXT_TARGET,
                "next_microseconds": [1e6 / statistics.median(pair.ours for pair in choices)],
                "next_hosts": given.hosts,
            },
        )


def _resident_mib() -> int:
    """At most so far, of this process: with all stores' caches."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


# --- adding ---


def _name(host: int) -> str:
    return f"www.{WORDS[host % 13]}-{host * 2654435761 % 2**32:x}.example.org"


def _url(host: int, number: int) -> str:
    folder = f"{WORDS[number % 13]}/{WORDS[number // 13 % 13]}"
    return f"https://{_name(host)}/{folder}/{number * 2654435761 % 2**32:08x}.html"


class _Growing:
    """The frontier and what it is measured against, filled to nine tenths; each turn adds its share of the
    last one. `bare` is a table of URLs alone; `rows` is the frontier's own table, without its indexes, and
    what goes into it is ready-made."""

    def __init__(self, folder: Path, urls: int, turns: int) -> None:
        self.path = folder / "frontier.sqlite"
        self.frontier = Frontier(self.path)
        self.bare = _opened(folder / "bare.sqlite")
        self.bare.execute("CREATE TABLE urls (url TEXT PRIMARY KEY) WITHOUT ROWID")
        self.hosts = urls * 9 // 10 // HOST_URLS
        self.pages = urls // 10 // (LINKS // 2) // turns
        self.walls: dict[str, list[float]] = {"ours": [], "bare": []}
        """URLs per second of each turn."""
        self.same_rows: list[float] = []
        """URLs per CPU-second of each turn, into `rows`."""
        self._fill()
        self.frontier.outside(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        self.rows = _opened(Path(shutil.copy(self.path, folder / "rows.sqlite")))
        self.rows.executescript("DROP INDEX waiting; DROP INDEX outgoing")
        self._ids = dict(self.rows.execute("SELECT name, id FROM hosts").fetchall())
        served = {host.name for host in self.frontier.admit(SERVED, time.time())}
        self.frontier.commit(Position())
        self.served = [host for host in range(self.hosts) if _name(host) in served]
        self._chances = [random.Random(1) for _ in range(3)]

    def _fill(self) -> None:
        """Hosts in any order, as a crawl finds them."""
        order = list(range(self.hosts))
        random.Random(0).shuffle(order)
        for start in range(0, self.hosts, 200):
            urls = [_url(host, number) for host in order[start : start + 200] for number in range(HOST_URLS)]
            self._add([Entry(url, "", 3, 3) for url in urls])
            self._insert([(url,) for url in urls])

    def _pages(self, chance: random.Random) -> Iterator[tuple[str, list[str]]]:
        """A page's address and its links: to known and to new URLs, most of them of its own host."""
        for _ in range(self.pages):
            own = chance.choice(self.served)
            hosts = [own] * OWN + [chance.randrange(self.hosts) for _ in range(LINKS - OWN)]
            numbers = (
                chance.randrange(HOST_URLS) if at % 2 else chance.randrange(HOST_URLS, 10_000_000)
                for at in range(LINKS)
            )
            yield _url(own, 0), [_url(host, number) for host, number in zip(hosts, numbers, strict=True)]

    def ours(self) -> float:
        cpu, wall = self._speeds(
            (
                [Entry(url, "", 4, 4, 0, page) for url in links]
                for page, links in self._pages(self._chances[0])
            ),
            self._add,
        )
        self.walls["ours"].append(wall)
        return cpu

    def references(self) -> float:
        """URLs per CPU-second of the bare insert; the other reference is measured beside it."""
        places = ([self._place(url) for url in links] for _, links in self._pages(self._chances[2]))
        self.same_rows.append(self._speeds(places, self._insert_rows)[0])
        cpu, wall = self._speeds(
            ([(url,) for url in links] for _, links in self._pages(self._chances[1])), self._insert
        )
        self.walls["bare"].append(wall)
        return cpu

    def _speeds(self, batches: Iterable[list[T]], add: Callable[[list[T]], None]) -> tuple[float, float]:
        """URLs per CPU-second and per second, of `add` alone."""
        cpu = wall = 0.0
        for batch in batches:
            cpu_before, wall_before = time.process_time(), time.perf_counter()
            add(batch)
            cpu, wall = cpu + time.process_time() - cpu_before, wall + time.perf_counter() - wall_before
        return self.pages * LINKS / cpu, self.pages * LINKS / wall

    def _add(self, entries: list[Entry]) -> None:
        self.frontier.add(entries)
        self.frontier.commit(Position())

    def _insert(self, urls: list[tuple[str]]) -> None:
        self.bare.execute("BEGIN")
        self.bare.executemany("INSERT OR IGNORE INTO urls VALUES (?)", urls)
        self.bare.execute("COMMIT")

    def _insert_rows(self, rows: list[Row]) -> None:
        self.rows.execute("BEGIN")
        self.rows.executemany(
            "INSERT OR IGNORE INTO urls (host, place, state, level, priority, depth, redirects, source) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self.rows.execute("COMMIT")

    def _place(self, url: str) -> Row:
        scheme, _, rest = url.partition("://")
        name, _, path = rest.partition("/")
        return (self._ids[name], f"{scheme}/{path}", FRESH, 4, 0, 4, 0, 1)

    def make_big(self) -> None:
        """From now on the URLs of hosts that are served are kept in order."""
        for number in [self._ids[_name(host)] for host in self.served]:
            self.frontier.db.execute(MOVE, (WAITING, number, FRESH))
            self.frontier.hosts.ordered.add(number)
        self.frontier.commit(Position())

    def file_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        self.frontier.close()
        self.bare.close()
        self.rows.close()


def _opened(path: Path) -> sqlite3.Connection:
    """As the frontier opens its file."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"cache_size = -{CACHE_KIB}"):
        db.execute(f"PRAGMA {pragma}")
    return db


# --- choosing the next ---


def _next_cost(folder: Path, many: int) -> Pair:
    """URLs chosen, and ended, per CPU-second: with many hosts pending, and with few. The window is of as
    many hosts as the few are, so that in both each host in it is served to its end."""
    return Pair(*(_chosen(folder / f"{hosts}.sqlite", hosts) for hosts in (many, FEW_HOSTS)))


def _chosen(path: Path, hosts: int) -> float:
    frontier = Frontier(path)
    for start in range(0, hosts, 500):
        frontier.add(
            [
                Entry(_url(host, number), "", 1, 1)
                for host in range(start, min(start + 500, hosts))
                for number in range(NEXT_URLS)
            ]
        )
    frontier.commit(Position())
    window = Window(frontier, Manners(), hosts=FEW_HOSTS)
    visit = Visit("page", fetched="2026-01-01T00:00:00Z")
    start_cpu = time.process_time()
    for number in range(FEW_HOSTS * NEXT_URLS):
        entry = window.next()
        assert entry is not None
        window.asked(entry)
        frontier.finish(entry.url, visit)
        window.ended(entry)
        if number % 16 == 15:
            window.save()
            frontier.commit(Position())
    used = time.process_time() - start_cpu
    frontier.close()
    for file in path.parent.iterdir():
        file.unlink()
    return FEW_HOSTS * NEXT_URLS / used

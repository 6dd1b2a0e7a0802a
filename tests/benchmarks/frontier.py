"""URLs added to a frontier that grows from 9 to 10 million, against the same store's bare insert."""

import argparse
import contextlib
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crawler.entries import Entry, Position, Visit
from crawler.frontier import CACHE_KIB, Frontier
from crawler.window import Manners, Window
from tests.benchmarks.measure import Pair, Result, in_turn, note

URLS = 10_000_000
LINKS, OWN = 60, 50
"""Links of a page, and how many of them lead to its own host. Half of each are known."""
HOST_URLS = 100
SERVED = 1_000
"""Hosts whose pages are being fetched, so that it is theirs that links are found on."""
FEW_HOSTS, MANY_HOSTS = 100, 100_000
NEXT_URLS = 30
"""URLs of a host when choosing the next is measured, and turns that each of FEW_HOSTS gets."""
NEXT_TARGET = 1 / 1.5
WORDS = (
    *("water", "wheel", "stone", "flour", "grain", "river", "village"),
    *("morning", "letter", "number", "window", "table", "bread"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--urls", type=int, default=URLS, help="how many URLs it grows to, from nine tenths")
    parser.add_argument("--hosts", type=int, default=MANY_HOSTS, help="pending hosts, against 100")


def run(given: argparse.Namespace) -> Result:
    """Two parts: the ratio is of adding; figures that begin with `next` are of choosing the next URL."""
    with tempfile.TemporaryDirectory(prefix="moinho-frontier-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        choices = [_next_cost(folder / f"few-{turn}", given.hosts) for turn in range(given.pairs)]
        chosen = statistics.median(pair.ratio for pair in choices)
        note(f"next URL: ratio {chosen:.3f}, target {NEXT_TARGET:.3f}")
        growing = stack.enter_context(contextlib.closing(_Growing(folder, given.urls, given.pairs)))
        note(f"filled; resident memory {_resident_mib()} MiB")
        pairs = in_turn(growing.ours, growing.bare, given.pairs)
        return Result(
            "frontier",
            "URLs per CPU-second",
            0.7,
            pairs,
            {
                "urls": given.urls,
                "file_bytes": growing.file_bytes(),
                "resident_mib": _resident_mib(),
                "wall_ratio": statistics.median(a / b for a, b in zip(*growing.walls, strict=True)),
                "next_ratio": chosen,
                "next_target": NEXT_TARGET,
                "next_microseconds": [1e6 / statistics.median(pair.ours for pair in choices)],
                "next_hosts": given.hosts,
            },
        )


def _resident_mib() -> int:
    """At most so far, of this process: with both stores' caches."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


# --- adding ---


def _name(host: int) -> str:
    return f"www.{WORDS[host % 13]}-{host * 2654435761 % 2**32:x}.example.org"


def _url(host: int, number: int) -> str:
    folder = f"{WORDS[number % 13]}/{WORDS[number // 13 % 13]}"
    return f"https://{_name(host)}/{folder}/{number * 2654435761 % 2**32:08x}.html"


@dataclass
class _Clock:
    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "_Clock":
        return cls(time.process_time(), time.perf_counter())


class _Growing:
    """Both stores, filled to nine tenths; each turn adds its share of the last one."""

    def __init__(self, folder: Path, urls: int, turns: int) -> None:
        self.path = folder / "frontier.sqlite"
        self.frontier = Frontier(self.path)
        self.db = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"cache_size = -{CACHE_KIB}"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.execute("CREATE TABLE urls (url TEXT PRIMARY KEY) WITHOUT ROWID")
        self.hosts = urls * 9 // 10 // HOST_URLS
        self.pages = urls // 10 // (LINKS // 2) // turns
        self.walls: tuple[list[float], list[float]] = ([], [])
        self._fill()
        served = {host.name for host in self.frontier.admit(SERVED, time.time())}
        self.frontier.commit(Position())
        self.served = [host for host in range(self.hosts) if _name(host) in served]
        self._chances = (random.Random(1), random.Random(1))

    def _fill(self) -> None:
        """Hosts in any order, as a crawl finds them."""
        order = list(range(self.hosts))
        random.Random(0).shuffle(order)
        for start in range(0, self.hosts, 200):
            urls = [_url(host, number) for host in order[start : start + 200] for number in range(HOST_URLS)]
            self.frontier.add([Entry(url, "", 3, 3) for url in urls])
            self.frontier.commit(Position())
            self.db.execute("BEGIN")
            self.db.executemany("INSERT OR IGNORE INTO urls VALUES (?)", ((url,) for url in urls))
            self.db.execute("COMMIT")

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
        cpu = wall = 0.0
        for page, links in self._pages(self._chances[0]):
            entries = [Entry(url, "", 4, 4, 0, page) for url in links]
            before = _Clock.now()
            self.frontier.add(entries)
            self.frontier.commit(Position())
            after = _Clock.now()
            cpu, wall = cpu + after.cpu - before.cpu, wall + after.wall - before.wall
        self.walls[0].append(self.pages * LINKS / wall)
        return self.pages * LINKS / cpu

    def bare(self) -> float:
        cpu = wall = 0.0
        for _, links in self._pages(self._chances[1]):
            rows = [(url,) for url in links]
            before = _Clock.now()
            self.db.execute("BEGIN")
            self.db.executemany("INSERT OR IGNORE INTO urls VALUES (?)", rows)
            self.db.execute("COMMIT")
            after = _Clock.now()
            cpu, wall = cpu + after.cpu - before.cpu, wall + after.wall - before.wall
        self.walls[1].append(self.pages * LINKS / wall)
        return self.pages * LINKS / cpu

    def file_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        self.frontier.close()
        self.db.close()


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

"""Frontiers with a bit of everything in them, made by the crawler's own hand."""

from collections.abc import Iterable
from pathlib import Path

from crawler.entries import Entry, Position, Visit
from crawler.frontier import Frontier
from crawler.urls import bucket_of, host_of

SEED = "http://a.example/"
ROBOTS = b"User-agent: *\nDisallow: /private\nAllow: /private/open\n"


def entry(url: str, depth: int = 0, referrer: str | None = None) -> Entry:
    return Entry(url, host_of(url), depth, depth, referrer=referrer)


def visit(outcome: str, second: int = 0, **fields: object) -> Visit:
    return Visit(outcome, fetched=f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z", **fields)  # type: ignore[arg-type]


def page(second: int, size: int = 1000, **fields: object) -> Visit:
    return visit("page", second, status=200, content_type="text/html", bytes=size, **fields)


def small_frontier(path: Path) -> Frontier:
    """Five pages, a redirect, a few refusals, and two URLs that wait. It is committed and stays open."""
    frontier = Frontier(path)
    frontier.add_seeds([entry(SEED)])
    found = [*(f"{SEED}{number}" for number in range(4)), f"{SEED}private/x", f"{SEED}moved", f"{SEED}slow"]
    frontier.add([entry(url, 1, SEED) for url in [*found, f"{SEED}waiting", f"{SEED}year/9999"]])
    frontier.add([entry("http://b.example/new", 2, f"{SEED}3")])
    frontier.hosts.allow(["a.example"])
    frontier.finish(SEED, page(0, opt_outs="header:noai meta:nofollow"))
    for number in range(4):
        frontier.finish(
            f"{SEED}{number}",
            page(10 + number, 1000 * number, warc="warc/x.warc.gz", offset=number, length=9),
        )
    frontier.finish(f"{SEED}private/x", visit("robots", 20, detail="robots.txt disallows it"))
    frontier.finish(f"{SEED}moved", visit("redirect", 21, status=301, bytes=0, detail="http://b.example/new"))
    frontier.finish(f"{SEED}slow", visit("timeout", 25, detail="30 s"))
    frontier.finish(f"{SEED}year/9999", visit("trap-calendar", 26, detail="the year 9999"))
    frontier.failed(f"{SEED}waiting", 1)
    frontier.keep_file(f"{SEED}robots.txt", ROBOTS)
    frontier.commit(Position(seconds=30.0))
    return frontier


def partitioned(folder: Path, urls: Iterable[str], partitions: int) -> list[Path]:
    """Frontiers of several partitions in which each of `urls` is a page, found on the one before."""
    paths = []
    for number in range(partitions):
        paths.append(folder / f"{number:02}.sqlite")
        frontier = Frontier(paths[-1], number, partitions)
        before = None
        for depth, url in enumerate(urls):
            frontier.add([entry(url, depth, before)])
            if bucket_of(host_of(url)) % partitions == number:
                frontier.finish(url, page(depth))
            before = url
        frontier.handed_over()
        frontier.commit(Position(seconds=10.0 + number))
        frontier.close()
    return paths

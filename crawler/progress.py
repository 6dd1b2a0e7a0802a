"""What the partitions of a crawl tell while they work, how it is added up, and how it is shown.

A child process tells a `Progress` about once a second; its partition's journal keeps it as a line of the
kind `partition`. telling.py passes the sum on.
"""

import dataclasses
import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crawler.outcomes import ERROR, REFUSED, TRAP, compared, of_kind, pages_in

PARTITION = "partition"
"""The kind of a journal's line that holds a `Progress`."""
TELL_SECONDS = 1.0
RATE_SECONDS = 10.0
"""Rates are those of so long a while."""
STALE_SECONDS = 5.0
"""A partition that has told nothing for so long is at rest: its counts stand, it does nothing now."""
SLOWEST_HOSTS = 5
LONGEST_HOSTS = 5
SHOWN_SECONDS = 0.05
"""A host that answers sooner is not shown as slow."""
TOLD_KINDS = 6


@dataclass(frozen=True)
class SlowHost:
    """One of the hosts that take longest to answer."""

    name: str
    seconds: float
    """To the headers of an answer: a moving average."""


@dataclass(frozen=True)
class LongHost:
    """One of the hosts that take longest to be asked for all that waits there."""

    name: str
    waiting: int
    """URLs that wait or are in flight."""
    delay_seconds: float
    """Between two requests, as it is in force now."""
    spared: int = 0
    """Of those that wait, so many as the crawl can reach its limit of pages without."""

    @property
    def seconds(self) -> float:
        """The crawl takes at least so long, whatever else it does meanwhile."""
        return (self.waiting - self.spared) * self.delay_seconds

    def __str__(self) -> str:
        needed = (
            f", of which {self.waiting - self.spared:,} are needed for crawl.max_pages" if self.spared else ""
        )
        return f"{self.name}: {self.waiting:,} waiting at {self.delay_seconds:.1f} s each{needed}"


@dataclass(frozen=True)
class Progress:
    """How far a partition is. Counts are of the whole crawl, interruptions included."""

    partition: int = 0
    partitions: int = 1
    round: int = 0
    is_over: bool = False
    """The round: nothing is begun in it any more."""
    seconds: float = 0.0
    """Of crawling, interruptions not counted."""
    waiting: int = 0
    """URLs that are known and have no outcome yet."""
    bytes: int = 0
    """Of all bodies that were received."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """URLs by what became of them."""
    pages_per_second: float = 0.0
    """Over the last `RATE_SECONDS`; see `Rate`."""
    bytes_per_second: float = 0.0
    in_flight: int = 0
    """Requests under way."""
    hosts_active: int = 0
    """Hosts that are being served."""
    hosts_waiting: int = 0
    """Hosts with waiting URLs that are not served now."""
    hosts_done: int = 0
    """Hosts that were asked, and of which nothing waits or that are asked no more."""
    slowest: tuple[SlowHost, ...] = ()
    """Of the hosts that are being served the slowest first, `SLOWEST_HOSTS` at most."""
    longest: tuple[LongHost, ...] = ()
    """Of the hosts that are being served those that hold up the crawl's end, the longest first,
    `LONGEST_HOSTS` at most."""

    @property
    def pages(self) -> int:
        return pages_in(self.outcomes)

    @property
    def tried(self) -> int:
        return sum(self.outcomes.values())

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> "Progress":
        """From a line of a journal."""
        known = {each.name for each in dataclasses.fields(cls)}
        given = {name: value for name, value in line.items() if name in known}
        slowest = tuple(SlowHost(**host) for host in given.get("slowest", ()))
        longest = tuple(LongHost(**host) for host in given.get("longest", ()))
        return cls(**given | {"slowest": slowest, "longest": longest})

    def at_rest(self) -> "Progress":
        """The same, doing nothing now: hosts that it served wait."""
        return dataclasses.replace(
            self,
            pages_per_second=0.0,
            bytes_per_second=0.0,
            in_flight=0,
            hosts_active=0,
            hosts_waiting=self.hosts_waiting + self.hosts_active,
            slowest=(),
        )


def added(parts: Iterable[Progress]) -> Progress:
    """Several partitions as one. Each host is one partition's, so hosts add up as URLs do; time is shared."""
    parts = list(parts)
    outcomes: Counter[str] = Counter()
    for part in parts:
        outcomes.update(part.outcomes)
    every = (host for part in parts for host in part.slowest)
    slowest = heapq.nsmallest(SLOWEST_HOSTS, every, key=lambda host: (-host.seconds, host.name))
    longest = _longest_first(host for part in parts for host in part.longest)
    return Progress(
        seconds=max((part.seconds for part in parts), default=0.0),
        waiting=sum(part.waiting for part in parts),
        bytes=sum(part.bytes for part in parts),
        outcomes=dict(outcomes),
        pages_per_second=math.fsum(part.pages_per_second for part in parts),
        bytes_per_second=math.fsum(part.bytes_per_second for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        hosts_active=sum(part.hosts_active for part in parts),
        hosts_waiting=sum(part.hosts_waiting for part in parts),
        hosts_done=sum(part.hosts_done for part in parts),
        slowest=tuple(slowest),
        longest=longest[:LONGEST_HOSTS],
    )


def _longest_first(hosts: Iterable[LongHost]) -> tuple[LongHost, ...]:
    return tuple(sorted(hosts, key=lambda host: (-host.seconds, host.name, host.waiting)))


def limited(told: Progress, max_pages: int) -> Progress:
    """The same, of a crawl that ends with `max_pages` at the latest: so many URLs as are not needed for that
    need not be had of a host, if they are pages."""
    beyond = max(0, told.pages + told.waiting - max_pages)
    needed = (dataclasses.replace(host, spared=beyond) for host in told.longest if host.waiting > beyond)
    return dataclasses.replace(told, longest=_longest_first(needed))


class Rate:
    """How fast something that is counted has grown lately."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, float]] = deque()

    def per_second(self, count: float, now: float) -> float:
        """The rate over the last `RATE_SECONDS`, with the count as of now (seconds of any steady clock)."""
        self._counts.append((now, count))
        while len(self._counts) > 2 and self._counts[1][0] <= now - RATE_SECONDS:
            self._counts.popleft()
        since, before = self._counts[0]
        return (count - before) / (now - since) if now > since else 0.0


class Total:
    """The latest word of each partition, added up."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[float, Progress]] = {}

    def take(self, told: Progress, at: float) -> None:
        """Take a partition's word of a time (seconds of any steady clock; -inf for one long ago). What was
        told by partitions of another division of the hosts no longer counts."""
        if any(other.partitions != told.partitions for _, other in self._told.values()):
            self._told.clear()
        self._told[told.partition] = (at, told)

    def parts(self) -> list[Progress]:
        """The latest word of each."""
        return [told for _, told in self._told.values()]

    def latest(self) -> Progress | None:
        """As it was told last, however long ago that is. None while nothing was told."""
        return added(self.parts()) if self._told else None

    def sum(self, now: float) -> Progress | None:
        """None while nothing was told."""
        if not self._told:
            return None
        return added(
            told if now - at <= STALE_SECONDS else told.at_rest() for at, told in self._told.values()
        )


def figures(told: Progress) -> dict[str, float]:
    """The numbers, each by its name as a metric."""
    errors = of_kind(told.outcomes, ERROR)
    again = compared(told.outcomes)
    return {
        "pages": told.pages,
        "tried": told.tried,
        "waiting": told.waiting,
        "errors": errors.total(),
        "pages_per_second": round(told.pages_per_second, 2),
        "megabytes_per_second": round(told.bytes_per_second / 1e6, 4),
        "requests_in_flight": told.in_flight,
        "hosts_active": told.hosts_active,
        "hosts_waiting": told.hosts_waiting,
        "hosts_done": told.hosts_done,
        "slowest_host_seconds": told.slowest[0].seconds if told.slowest else 0.0,
        **{f"recrawl.{name}": count for name, count in sorted(again.items())},
        **{f"errors.{name}": count for name, count in sorted(errors.items())},
        **{f"refused.{name}": count for name, count in sorted(of_kind(told.outcomes, REFUSED).items())},
        **{f"traps.{name}": count for name, count in sorted(of_kind(told.outcomes, TRAP).items())},
    }


def rows(told: Progress) -> list[tuple[str, str]]:
    """What is shown under the line of the stage: label and text. What there is not has no row."""
    hosts = (("active", told.hosts_active), ("waiting", told.hosts_waiting), ("done", told.hosts_done))
    speed = f"{told.pages_per_second:,.1f} pages/s, {told.bytes_per_second / 1e6:,.2f} MB/s"
    slowest = [host for host in told.slowest if host.seconds >= SHOWN_SECONDS]
    under_way = f", {told.in_flight:,} requests under way" if told.in_flight else ""
    found = [
        ("speed", speed + under_way),
        (
            "hosts",
            ", ".join(f"{count:,} {name}" for name, count in hosts) if any(n for _, n in hosts) else "",
        ),
        ("recrawl", counts_line(compared(told.outcomes))),
        ("errors", counts_line(of_kind(told.outcomes, ERROR))),
        ("refused", counts_line(of_kind(told.outcomes, REFUSED))),
        ("traps", counts_line(of_kind(told.outcomes, TRAP))),
        ("slowest", ", ".join(f"{host.name} {host.seconds:.1f} s" for host in slowest)),
        ("longest", str(told.longest[0]) if told.longest else ""),
    ]
    return [(label, text) for label, text in found if text]


def counts_line(counts: Counter[str]) -> str:
    """The most frequent first: `robots 40, host-limit 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common(TOLD_KINDS))

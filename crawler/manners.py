"""How hosts are asked: the time between two requests, and what counts as one when they are counted."""

from collections import deque
from dataclasses import dataclass, field

from crawler.entries import Entry
from crawler.hosts import Host

QUICK_SECONDS = 1.0
"""A host is quick whose answers begin so soon."""


@dataclass(frozen=True)
class Manners:
    """How hosts are asked."""

    delay_seconds: float = 0.0
    """Between two requests to a host, at least."""
    max_delay_seconds: float = 0.0
    """A slower host is given a delay as long as its answers take, up to this."""
    per_host: int = 1
    """Requests to a host at once."""
    per_ip: bool = False
    """Count hosts of one address as one."""
    pages_per_host: int | None = None
    bytes_per_host: int | None = None

    def delay_of(self, host: Host) -> float:
        slow = min(host.latency, self.max_delay_seconds) if self.delay_seconds else 0.0
        return max(self.delay_seconds, host.delay, slow)

    def reached(self, host: Host, in_flight: int) -> bool:
        """True if the host has given as much as is wanted of one."""
        return (self.pages_per_host is not None and host.pages + in_flight >= self.pages_per_host) or (
            self.bytes_per_host is not None and host.bytes >= self.bytes_per_host
        )


@dataclass(eq=False)
class Slot:
    """What politeness counts as one: a host, or all hosts of one address."""

    due: float = 0.0
    """Not to be asked before."""
    in_flight: int = 0
    away: int = 0
    """Of these, turns that ask another host at the moment, or wait to."""
    guests: int = 0
    """Requests in turns of other hosts, made or about to be: nothing else begins before."""
    asking: int = 0
    """Of these, requests that are being made."""
    parked: "list[Served]" = field(default_factory=list)
    """Hosts whose turn it is once a request of the slot has ended."""


@dataclass(eq=False)
class Served:
    """A host in the window."""

    host: Host
    slot: Slot
    due: float
    """As the slot's, for what concerns this host alone: it has put us off."""
    waiting: deque[Entry] = field(default_factory=deque)
    in_flight: int = 0
    given: int = 0
    """URLs that were taken from disk for it."""
    ready: bool = False
    """True while it stands among those that take turns, or is parked."""
    alone: bool = False
    """True while one request must end before others may begin, such as for robots.txt."""
    closed: str | None = None
    """Why it is asked no more."""


@dataclass(eq=False)
class Guest:
    """A request to a host in the turn of another one, such as for where its robots.txt leads to."""

    host: Host
    slot: Slot
    home: Slot
    """That of the host whose turn it is."""


def is_quick(host: Host) -> bool:
    """True if its answers came soon and were good."""
    return 0 < host.latency <= QUICK_SECONDS and not host.errors and not host.failures

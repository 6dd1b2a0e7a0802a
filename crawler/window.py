"""The bounded part of a frontier that is being served: its hosts take turns, each when it may be asked.

A host's URLs come level by level: a level begins when the one before has ended, so that which pages
a limit leaves out does not hang on which answer came first. All other hosts stay on disk, in a queue by
when they may be asked; a host that has had its share goes to the end of it.

Time is the monotonic clock's, so that no clock that is set holds up or hurries a host; only what is
written down, to be read after a restart, is the clock's on the wall.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from crawler.entries import Entry
from crawler.frontier import Frontier
from crawler.hosts import Host
from crawler.manners import Guest, Manners, Served, Slot, is_quick

HOSTS = 1_000
"""Hosts that are served at the same time."""
URLS = 256
"""URLs of one host that are held in memory, and its share before others that wait get theirs."""
ADMITTED = 64
"""Hosts that are brought in at a time."""
FAR_SECONDS = 60.0
"""A host that may not be asked for longer leaves its place to others."""
LOOK_SECONDS = 0.05
"""A host whose request must end first is looked at again so soon."""
SHARED_SLOTS = 10_000
"""Addresses that are remembered although no host of theirs is served."""


class Window:
    """Offers URLs of which each may be asked for at once, and takes them back.

    What is offered by `next` ends by exactly one of `ended`, `again` and `put_back`; every request that
    is made meanwhile is told by `asked`, its answer by `answered`.
    """

    def __init__(
        self,
        frontier: Frontier,
        manners: Manners,
        *,
        restarted: bool = False,
        hosts: int = HOSTS,
        urls: int = URLS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """If `restarted`, others may have asked the hosts just before: each waits for its delay once."""
        self._frontier, self.manners = frontier, manners
        self._room, self._urls, self._clock = hosts, urls, clock
        self._started = clock() if restarted else None
        self._epoch = time.time() - clock()
        """What makes a monotonic time one on the wall."""
        self.served: dict[str, Served] = {}
        self._slots: dict[str, Slot] = {}
        """By address, where hosts share them."""
        self._visited: dict[str, Slot] = {}
        """By host, where one that is not served was asked in another's turn."""
        self._turns: list[tuple[float, int, Served]] = []
        """A heap: when, and in which order."""
        self._order = count()
        self._looked = (-1, 0.0)
        """The state of the queue on disk in which nothing was found there, and until when that holds."""
        self._changed: set[Host] = set()
        self.in_flight = 0
        self.bytes = 0
        """Of all bodies that came."""

    # --- what may be asked for ---

    def next(self, *, only_quick: bool = False) -> Entry | None:
        """A URL to ask for now, or None until another has ended or `wait_seconds` are over. With `only_quick`
        hosts that may let us wait lose their turn, and get none in this round any more."""
        self._admit()
        now = self._clock()
        while self._turns and self._turns[0][0] <= now:
            _, _, served = heapq.heappop(self._turns)
            served.ready = False
            if self.served.get(served.host.name) is not served:
                continue  # it has left meanwhile
            if only_quick and not is_quick(served.host):
                continue
            if max(served.due, served.slot.due) > now:
                self._queue(served)
            elif served.alone or served.slot.in_flight + served.slot.guests >= self.manners.per_host:
                served.ready = True
                served.slot.parked.append(served)
            elif self._has_url(served):
                return self._offer(served)
            if not self._turns:
                self._admit()
        return None

    def wait_seconds(self) -> float | None:
        """Until a host may be asked; None if that hangs on an answer."""
        times = [self._turns[0][0]] if self._turns else []
        if len(self.served) < self._room and (due := self._frontier.hosts.first_due()) is not None:
            times.append(due - self._epoch - FAR_SECONDS)
        return max(0.0, min(times) - self._clock()) if times else None

    def is_empty(self) -> bool:
        """True if nothing is under way, and nothing waits that will ever be asked for."""
        return not self.in_flight and not self.served and self._frontier.hosts.first_due() is None

    def _offer(self, served: Served) -> Entry:
        entry = served.waiting.popleft()
        served.in_flight += 1
        served.slot.in_flight += 1
        self.in_flight += 1
        self._queue(served)
        return entry

    def _has_url(self, served: Served) -> bool:
        """Take URLs from disk if the last have ended; a host that has none leaves the window."""
        host = served.host
        if served.closed is None and self.manners.reached(host, served.in_flight):
            if served.in_flight:
                return False
            served.closed = "host-limit"
        if served.closed is None and served.waiting:
            return True
        if served.in_flight:
            return False  # it is queued when that has ended
        if served.closed is not None:
            self._remove(served)
            self._frontier.hosts.close(host, served.closed)
            return False
        if served.given >= self._urls and len(self.served) >= self._room:
            self._leave(served)
            return False
        served.waiting.extend(self._frontier.take(host, self._urls))
        served.given += len(served.waiting)
        if not served.waiting:
            self._remove(served)
            self._frontier.hosts.leave(host, waiting=False)
        return bool(served.waiting)

    # --- what is told of a request ---

    def reserve(self, entry: Entry) -> None:
        """It is about to be asked for: what the host is asked for beside it comes a delay later."""
        served = self.served[entry.host]
        due = self._clock() + self.manners.delay_of(served.host)
        served.slot.due = max(served.slot.due, due)

    def asked(self, entry: Entry) -> None:
        """A request is sent to the URL's host at this moment."""
        served = self.served[entry.host]
        served.host.requests += 1
        served.slot.due = self._clock() + self.manners.delay_of(served.host)
        self._changed.add(served.host)

    def answered(self, entry: Entry, asked_at: float, answered_at: float, *, good: bool = True) -> None:
        """The answer to a request began, or failed to come: the next request comes a delay after that. A bad
        answer may make a host's delay longer, not shorter."""
        served = self.served[entry.host]
        host, latency = served.host, answered_at - asked_at
        smoothed = max(latency, (host.latency + latency) / 2)  # as Scrapy's AutoThrottle has it
        if good or smoothed > host.latency:
            host.latency = smoothed
        served.slot.due = max(served.slot.due, answered_at + self.manners.delay_of(host))
        self._changed.add(host)

    def ended(self, entry: Entry) -> None:
        """The URL needs no connection any more."""
        served = self.served[entry.host]
        served.in_flight -= 1
        served.slot.in_flight -= 1
        self.in_flight -= 1
        served.alone = False
        self._wake(served.slot)
        if served.due - self._clock() > FAR_SECONDS and not served.in_flight and served.closed is None:
            self._leave(served)
        else:
            self._queue(served)

    def _wake(self, slot: Slot) -> None:
        parked, slot.parked = slot.parked, []
        for each in parked:
            each.ready = False
            self._queue(each)

    def again(self, entry: Entry) -> None:
        """Ask once more, after the host's others of the same level."""
        tried = replace(entry, tries=entry.tries + 1)
        self._frontier.failed(entry.url, tried.tries)
        self.served[entry.host].waiting.append(tried)
        self.ended(entry)

    def put_back(self, entry: Entry) -> None:
        """It was not asked for yet: it is the host's next."""
        self.served[entry.host].waiting.appendleft(entry)
        self.ended(entry)

    def alone(self, entry: Entry) -> None:
        """Let the host wait until this has ended."""
        self.served[entry.host].alone = True

    def came(self, entry: Entry, size: int) -> None:
        """A body of so many bytes came."""
        self.bytes += size
        self.host_of(entry).bytes += size

    def put_off(self, entry: Entry, seconds: float) -> None:
        """Do not ask the host for so long."""
        served = self.served[entry.host]
        served.due = max(served.due, self._clock() + seconds)
        self._changed.add(served.host)

    def close(self, entry: Entry, reason: str) -> None:
        """Ask the host no more in this crawl, whatever happens before its next turn."""
        served = self.served[entry.host]
        served.closed = reason
        self._frontier.hosts.close(served.host, reason)

    def slow_down(self, name: str, seconds: float) -> bool:
        """The host wants at least so many seconds between requests. True if that is news."""
        served = self.served.get(name)
        if served is None or served.host.delay >= seconds:
            return False
        before = self.manners.delay_of(served.host)
        served.host.delay = seconds
        served.slot.due += self.manners.delay_of(served.host) - before
        self._changed.add(served.host)
        return True

    def rest_seconds(self, entry: Entry) -> float:
        """Until the entry's host may be asked for something more, as far as is known."""
        slot = self.served[entry.host].slot
        return max(0.0, slot.due - self._clock(), LOOK_SECONDS if slot.asking else 0.0)

    def longest(self, limit: int) -> list[tuple[str, int, float]]:
        """Of the hosts that are served those that take longest to be asked for all that waits there, longest
        first: name, URLs that wait or are in flight, seconds between two requests. Costs the same however
        many hosts and URLs are on disk."""
        found = []
        for name, served in self.served.items():
            host = served.host
            waiting = self._frontier.hosts.waiting.get(host.id, 0)
            if self.manners.pages_per_host is not None:
                waiting = min(waiting, self.manners.pages_per_host - host.pages)
            found.append((name, waiting, self.manners.delay_of(host)))
        longest = heapq.nlargest(limit, found, key=lambda each: each[1] * each[2])
        return [each for each in longest if each[1] * each[2] > 0]

    # --- requests to other hosts ---

    def visit(self, entry: Entry, name: str) -> Guest:
        """Another host is to be asked in this entry's turn, as politely as in its own: from now on none of
        its own turns begins. Ended by `left`."""
        served, home = self.served.get(name), self.served[entry.host].slot
        host = served.host if served else self._frontier.hosts.find(name)
        slot = served.slot if served else self._visited.get(name)
        if slot is None:
            if len(self._visited) > SHARED_SLOTS:
                now = self._clock()
                used = [each for each in self._visited.items() if each[1].guests or each[1].due > now]
                self._visited = dict(used)
            slot = self._visited[name] = self._slot(host)
            slot.due = max(slot.due, self._first_due(host))
        slot.guests += 1
        home.away += 1
        return Guest(host, slot, home)

    def visit_seconds(self, guest: Guest) -> float:
        """Until the other host may be asked, as far as is known. Whoever waits for another host holds up
        none at home, so that two hosts can't wait for each other."""
        slot = guest.slot
        is_busy = slot.in_flight - slot.away + slot.asking >= self.manners.per_host
        return max(0.0, slot.due - self._clock(), LOOK_SECONDS if is_busy else 0.0)

    def visited(self, guest: Guest) -> None:
        """The request is sent at this moment."""
        guest.slot.asking += 1
        guest.slot.due = self._clock() + self.manners.delay_of(guest.host)

    def left(self, guest: Guest, answered_at: float | None) -> None:
        """Its answer began then; None: it was not sent."""
        slot, name = guest.slot, guest.host.name
        if answered_at is not None:
            slot.asking -= 1
            slot.due = max(slot.due, answered_at + self.manners.delay_of(guest.host))
            if (served := self.served.get(name)) is not None:
                self._changed.add(served.host)
            else:
                self._frontier.hosts.put_off(name, slot.due + self._epoch)
        slot.guests -= 1
        guest.home.away -= 1
        self._wake(slot)

    def host_of(self, entry: Entry) -> Host:
        """What is known of its host. A change is written down with the next `save`."""
        host = self.served[entry.host].host
        self._changed.add(host)
        return host

    def moved(self, entry: Entry, address: str) -> None:
        """The host's address is known now; with `per_ip` it shares the politeness of others there."""
        served = self.served[entry.host]
        served.host.address = address
        self._changed.add(served.host)
        if self.manners.per_ip:
            before, slot = served.slot, self._slot(served.host)
            if slot is not before:
                before.in_flight -= served.in_flight
                slot.in_flight += served.in_flight
                slot.due = max(slot.due, before.due)
                served.slot = slot
                self._wake(before)  # what its requests held up there they hold up here

    @property
    def is_saved(self) -> bool:
        """True if nothing has changed since, such as when a host may be asked again."""
        return not self._changed

    def save(self) -> None:
        """Write down what changed of hosts; before each commit."""
        for host in self._changed:
            served = self.served.get(host.name)
            if served is not None:
                host.due = max(served.due, served.slot.due) + self._epoch
        self._frontier.hosts.save(self._changed)
        self._changed.clear()

    # --- hosts come and go ---

    def _queue(self, served: Served) -> None:
        if not served.ready and self.served.get(served.host.name) is served:
            served.ready = True
            heapq.heappush(self._turns, (max(served.due, served.slot.due), next(self._order), served))

    def _admit(self) -> None:
        """Bring waiting hosts into the window while it has room."""
        room, now = self._room - len(self.served), self._clock()
        if room <= 0 or (self._looked[0] == self._frontier.hosts.changes and now < self._looked[1]):
            return
        found = self._frontier.admit(min(room, ADMITTED), now + FAR_SECONDS + self._epoch)
        for host in found:
            slot = self._visited.pop(host.name, None) or self._slot(host)
            served = self.served[host.name] = Served(host, slot, self._first_due(host))
            self._queue(served)
        if not found:
            self._looked = (self._frontier.hosts.changes, now + 1.0)

    def _first_due(self, host: Host) -> float:
        due = host.due - self._epoch
        return due if self._started is None else max(due, self._started + self.manners.delay_of(host))

    def _slot(self, host: Host) -> Slot:
        if not self.manners.per_ip or host.address is None:
            return Slot()
        if len(self._slots) > SHARED_SLOTS:
            now = self._clock()
            used = {id(served.slot) for served in self.served.values()}
            self._slots = {
                address: slot for address, slot in self._slots.items() if slot.due > now or id(slot) in used
            }
        return self._slots.setdefault(host.address, Slot())

    def _leave(self, served: Served) -> None:
        """Back to the end of the queue on disk."""
        served.due = max(served.due, self._clock())
        self._remove(served)
        self._frontier.hosts.leave(served.host, waiting=True)

    def _remove(self, served: Served) -> None:
        served.host.due = max(served.due, served.slot.due) + self._epoch
        del self.served[served.host.name]
        if served.slot.guests:
            self._visited[served.host.name] = served.slot
        self._changed.discard(served.host)
        if served in served.slot.parked:
            served.slot.parked.remove(served)

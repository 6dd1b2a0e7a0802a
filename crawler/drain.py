"""A round's end: what is in flight may end, and meanwhile hosts that answer quickly go on."""

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

T = TypeVar("T")

DRAIN_SECONDS = 10.0
"""So long what is in flight when a round is over may take to end; other partitions have nothing to do
meanwhile. A request that takes longer is left. It is longer than a busy machine takes to read an answer
that has come, for what is left is asked for again."""
FILL_SECONDS = 7.0
"""Of these, hosts that answer quickly go on for so many, as long as something is awaited that was in flight
before: a host that lets us wait would else hold up all others at each round's end."""


class Drain:
    """Not begun, until a round is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._awaited: frozenset[object] = frozenset()

    @property
    def is_on(self) -> bool:
        return self._since is not None

    def begin(self, in_flight: Collection[object]) -> None:
        """The round is over, with this in flight. Told again, it changes nothing."""
        if self._since is None:
            self._since, self._awaited = self._clock(), frozenset(in_flight)

    def end(self) -> None:
        """The round is over no longer."""
        self._since, self._awaited = None, frozenset()

    def rest_seconds(self, in_flight: Collection[object]) -> float:
        """The next of what is in flight to be left may still take so long. What was begun since the round
        was over has as much time as what was in flight then."""
        assert self._since is not None
        fill = 0.0 if any(each in in_flight for each in self._awaited) else FILL_SECONDS
        return self._since + fill + DRAIN_SECONDS - self._clock()

    def late(self, in_flight: Iterable[T]) -> list[T]:
        """What has had its time."""
        assert self._since is not None
        over = self._clock() - self._since - DRAIN_SECONDS
        return [each for each in in_flight if over >= (0.0 if each in self._awaited else FILL_SECONDS)]

    def may_fill(self, in_flight: Collection[object]) -> bool:
        """True while quick hosts may go on."""
        return (
            self._since is not None
            and self._clock() < self._since + FILL_SECONDS
            and any(each in in_flight for each in self._awaited)
        )

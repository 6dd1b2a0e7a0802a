"""What the driver tells of a whole crawl: the sum of what its partitions told, and which round it is in.

It reads the partitions' journals, wherever they run, and tells the sum in the stage's own journal: as
progress with a table for whoever is watching, and as metrics over time.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from crawler.progress import PARTITION, TELL_SECONDS, Progress, Total, figures, limited, rows
from pipeline.store import Attempt, Bound, Journal, JournalReader

log = logging.getLogger(__name__)

ROUND = "round"
"""The kind of a journal's line that holds a `Round`."""
EVEN_POINTS = 600
"""Metrics are told every second for twice as many seconds, then ever more rarely, as keeps the points of a
curve bounded: a crawl of a day has 3,800."""


@dataclass(frozen=True)
class Round:
    """A round that begins now."""

    number: int
    partitions: int
    taking_part: int
    """Partitions that have something to do in it."""
    seconds: float | None
    """At most, of crawling."""
    regroups: bool

    def tell(self, journal: Journal) -> None:
        journal.write(ROUND, round=asdict(self))

    def told(self, parts: Sequence[Progress]) -> tuple[str, bool]:
        """Where the round is, by the latest words of the partitions; True goes with it while none of them
        crawls."""
        name = f"{self.number + 1:,}"
        if self.regroups:
            return f"{name}: the hosts are divided anew, among {self.partitions} partitions", True
        at_most = "" if self.seconds is None else f", of at most {self.seconds:,.0f} s"
        begun = [each for each in parts if each.round == self.number]
        over = sum(each.is_over for each in begun)
        if not begun:
            return f"{name}{at_most}, begins", True
        if over < self.taking_part:
            others = f": {over} of {self.taking_part} partitions have ended it" if over else ""
            return f"{name}{at_most}{others}", False
        to_others = "links to other partitions are handed over" if self.partitions > 1 else "it is stored"
        under_way = "what is under way ends, " if any(each.in_flight for each in begun) else ""
        return f"{name} is over: {under_way}{to_others}, round {self.number + 2:,} begins if URLs wait", True


def told_in(attempt: Attempt) -> Total:
    """What the partitions told in all attempts so far, this one included, as of long ago."""
    total = Total()
    for each in attempt.storage.list(f"{attempt.base}/attempts"):
        for line in JournalReader(attempt.storage, f"{attempt.base}/attempts/{each}/journal").read():
            if line["kind"] == PARTITION:
                total.take(Progress.read(line), -math.inf)
    return total


@contextlib.contextmanager
def telling(attempt: Attempt, max_pages: int) -> Iterator[None]:
    """Meanwhile tell how far the whole crawl is, about once a second, and once more at the end."""
    teller = Teller(attempt, max_pages)
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(TELL_SECONDS):
            teller.tell()

    thread = threading.Thread(target=follow, daemon=True, name="crawl progress")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        teller.tell(last=True)


class Teller:
    """Reads what the partitions tell in this attempt, and tells the sum in a journal of its own."""

    def __init__(self, attempt: Attempt, max_pages: int) -> None:
        self._round: Round | None = None
        self._total, self._max_pages = told_in(attempt), max_pages
        self._reader = JournalReader(attempt.storage, f"{attempt.folder}/journal")
        self._journal: Journal = attempt.journal("whole-crawl")
        self._next_step = 0
        self._has_news = False
        """Something was told that is in no metric yet."""

    def tell(self, *, last: bool = False) -> None:
        """Once; `last` leaves out no metric. A store that cannot be written to holds up no crawl, which will
        hear of it soon enough."""
        try:
            self._tell(last)
        except OSError as error:
            log.warning("progress cannot be told: %s", error)

    def _tell(self, last: bool) -> None:
        now = time.monotonic()
        for line in self._reader.read():
            if line["kind"] == PARTITION:
                self._total.take(Progress.read(line), now)
                self._has_news = True
            elif line["kind"] == ROUND:
                self._round = Round(**line["round"])
        told = self._total.sum(now)
        if told is None:
            return
        told = limited(told, self._max_pages)
        numbers = figures(told)
        names = ("waiting", "errors", "pages_per_second", "hosts_active")
        shown: dict[str, float | str] = {name: numbers[name] for name in names}
        round_row = []
        if self._round is not None:
            text, is_pause = self._round.told(self._total.parts())
            round_row = [("round", text)]
            if is_pause:
                shown["round"] = text
        total = min(self._max_pages, told.pages + told.waiting)
        bound = Bound(told.longest[0].seconds, f"host {told.longest[0]}") if told.longest else None
        self._journal.progress(told.pages, total, "pages", bound=bound, **shown)
        self._journal.table([*round_row, *rows(told)])
        step = max(int(told.seconds), self._next_step if last else 0)
        if self._has_news and step >= self._next_step:
            # The artifact's counts have names such as `pages` too, and stand at step 0.
            self._journal.metrics(step, **{f"crawl.{name}": number for name, number in numbers.items()})
            self._next_step, self._has_news = step + max(1, step // EVEN_POINTS), False

"""URLs that were found and are not wanted: how many there are for each reason, and some of them.

Links to other hosts are found by the million, so they get no row in the frontier. Of each reason the KEPT
URLs with the smallest hashes are kept. As long as there are fewer that is all of them, and the count is
exact; from then on how close together these hashes lie tells how many URLs there are, with a standard error
of 3 % (the k minimum values; the unbiased estimate is that of Beyer et al. 2007, On Synopses for Distinct-
Value Estimation Under Multiset Operations, SIGMOD). How often, in which order and by which process a URL is
found changes nothing: a kill costs no count, what partitions have is merged, and what is kept is a fair
sample.
"""

import hashlib
import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

KEPT = 1_000
"""URLs of a reason: 100 kB."""
URL_CHARACTERS = 500
"""Of a URL, so many are kept."""
NUMBER_BITS = 63
"""SQLite's integers have a sign."""
OTHER_HOST = "of a host that is not wanted"
"""The reason of what no pattern decides."""

Row = tuple[str, int, str]
"""Reason, hash and URL."""


@dataclass
class _Smallest:
    """The hashes of the URLs that are kept for a reason."""

    numbers: set[int] = field(default_factory=set)
    negated: list[int] = field(default_factory=list)
    """The same as a heap, the largest on top."""

    def add(self, number: int) -> int | None:
        """The hash that has to go for it: itself, if it is too large or there already; None if none has."""
        if number in self.numbers or (len(self.numbers) == KEPT and number > -self.negated[0]):
            return number
        self.numbers.add(number)
        if len(self.numbers) <= KEPT:
            heapq.heappush(self.negated, -number)
            return None
        largest = -heapq.heappushpop(self.negated, -number)
        self.numbers.remove(largest)
        return largest


class OutOfScope:
    """The table in a frontier's file. Changes wait for the frontier's commit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._kept: dict[str, _Smallest] = {}
        for reason, number, _ in kept_in(db):
            self._kept.setdefault(reason, _Smallest()).add(number)

    def note(self, reason: str, url: str) -> None:
        """A URL that was found and is not wanted. A microsecond, unless it is among those kept."""
        self.take(reason, number_of(url), url)

    def take(self, reason: str, number: int, url: str) -> None:
        """The same, as another partition has it."""
        left = self._kept.setdefault(reason, _Smallest()).add(number)
        if left == number:
            return
        self._db.execute("INSERT INTO out_of_scope VALUES (?, ?, ?)", (reason, number, url[:URL_CHARACTERS]))
        if left is not None:
            self._db.execute("DELETE FROM out_of_scope WHERE reason = ? AND number = ?", (reason, left))


def kept_in(db: sqlite3.Connection) -> Iterator[Row]:
    """What a frontier keeps; nothing, if an earlier version made it."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'out_of_scope'").fetchone():
        yield from db.execute("SELECT reason, number, url FROM out_of_scope")


@dataclass(frozen=True)
class Unwanted:
    """What there is of a reason."""

    urls: int
    is_exact: bool
    """False: `urls` is an estimate."""
    examples: tuple[str, ...]

    @property
    def told(self) -> str:
        return f"{self.urls:,}" if self.is_exact else f"about {self.urls:,}"


def merged(rows: Iterable[Row], examples: int) -> dict[str, Unwanted]:
    """Reason → its URLs in all partitions, most of all first."""
    kept: dict[str, dict[int, str]] = {}
    for reason, number, url in rows:
        kept.setdefault(reason, {})[number] = url
    found = {reason: _unwanted(urls, examples) for reason, urls in kept.items()}
    return dict(sorted(found.items(), key=lambda each: (-each[1].urls, each[0])))


def _unwanted(urls: dict[int, str], examples: int) -> Unwanted:
    numbers = sorted(urls)[:KEPT]
    some = tuple(urls[number] for number in numbers[:examples])
    if len(numbers) < KEPT:
        return Unwanted(len(numbers), True, some)
    return Unwanted(round((KEPT - 1) * 2**NUMBER_BITS / (numbers[-1] + 1)), False, some)


def number_of(url: str) -> int:
    """The hash by which a URL is kept or not."""
    digest = hashlib.blake2b(url.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - NUMBER_BITS)

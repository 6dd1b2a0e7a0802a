"""A partition in its child process: frontier and archive, begun, committed and ended together.

What a round did counts when it is committed: first the archive is synced, then the frontier. A round
that was killed goes on at its last commit; one that had ended only tells again how it ended.
"""

import contextlib
import datetime
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, TypeVar

from crawler.entries import Entry, Position, Visit
from crawler.frontier import Frontier
from crawler.options import FRONTIER, OUTGOING, Ended, Options
from crawler.outcomes import pages_in
from crawler.places import owner_of
from crawler.repetition import Traps
from crawler.responses import now
from crawler.revisiting import EarlierCrawl
from crawler.scope import Scope
from crawler.urls import bucket_of, canonical, host_of
from crawler.warc import Archive
from pipeline.corpus.forgotten import Forgotten, forgotten_in
from pipeline.store import Storage

T = TypeVar("T")

COMMIT_PAGES = 16
"""A commit comes after so many, or some time: what a kill costs is at most this much, asked for again."""


BATCH = 1_000


class Partition:
    """One partition's round."""

    def __init__(self, options: Options) -> None:
        """Begin the round, or go on in it. Raises OSError if the archive is not what was committed."""
        self.options, self.folder = options, Path(options.folder)
        self.frontier = Frontier(self.folder / FRONTIER, options.partition, options.partitions)
        year = options.year or datetime.datetime.now(datetime.UTC).year
        self.earlier = EarlierCrawl.opened(options)
        """What a recrawl starts from; None if this is the first crawl."""
        self.forgotten = forgotten_in(Storage(options.store)) if options.store else Forgotten()
        self.traps = self.frontier.outside(lambda db: Traps(db, year))
        self._position = self.frontier.position()
        self.follows_unknown = options.restored or self._position.round < 0 or not self._position.ended
        """False only where the frontier says how the last process that served these hosts ended, and so when
        each was asked last. Of a round that was killed, or crawled on another machine, it does not."""
        is_first = self._position.round < 0
        if self._position.round < options.round:
            self._position = Position(0, 0, self._position.seconds, options.round, ended=False)
            self._begin(is_first)
        self.archive = Archive(
            self.folder / "warc",
            options.prefix,
            options.user_agent,
            self._position.number,
            self._position.offset,
        )
        self._started = time.monotonic()
        self._uncommitted = 0
        self._changes = self.frontier.db.total_changes
        """Of the frontier's file, as of the last commit."""

    def start(self) -> None:
        """From now on time counts: on a busy machine it may be long until the process can fetch."""
        self._started = time.monotonic()

    @property
    def has_ended(self) -> bool:
        return self._position.ended

    @property
    def pages(self) -> int:
        return pages_in(self.frontier.outcomes)

    @property
    def round_seconds(self) -> float:
        """Since this process began with it."""
        return time.monotonic() - self._started

    @property
    def seconds(self) -> float:
        """Of crawling, in all rounds."""
        return self._position.seconds + (0.0 if self.has_ended else self.round_seconds)

    def commit_soon(self) -> None:
        """What is known now should be durable before anything else is asked for."""
        self._uncommitted = COMMIT_PAGES

    def finish(self, entry: Entry, visit: Visit) -> None:
        """Note what became of a URL. It counts from the next commit on."""
        self.frontier.finish(entry.url, visit)
        self._uncommitted += 1

    @property
    def is_commit_due(self) -> bool:
        return self._uncommitted >= COMMIT_PAGES

    @property
    def is_committed(self) -> bool:
        """False also if all that is new are a host's robots.txt, or what traps were learnt."""
        return self.frontier.db.total_changes == self._changes

    def commit(self) -> None:
        """Make durable what was done since the last time."""
        self.archive.sync()
        place = replace(self._position, number=self.archive.number, offset=self.archive.offset)
        self.frontier.commit(replace(place, seconds=self.seconds))
        self._uncommitted = 0
        self._changes = self.frontier.db.total_changes

    def end(self) -> Ended:
        """The round has ended: write what is for others, and tell where the partition stands."""
        if not self.has_ended:
            self.archive.close()
            self.frontier.refuse_rest(now())
            self._position = replace(
                self._position,
                number=self.archive.number,
                offset=self.archive.offset,
                seconds=self.seconds,
                ended=True,
            )
            self.frontier.commit(self._position)
        handed = self._write_outgoing()
        ended = ended_of(self.frontier, self.seconds, *handed)
        self.frontier.close()
        return ended

    def _begin(self, is_first: bool) -> None:
        """Take in seeds, in the first round what an earlier crawl has, and what others found, all in one
        commit."""
        options, frontier = self.options, self.frontier
        frontier.handed_over()
        frontier.hosts.allow(options.allowed_hosts)
        found = [url for seed in options.seeds if (url := canonical(seed)) is not None]
        seeds = [Entry(url, host_of(url), level=0, depth=0) for url in found]
        frontier.add_seeds([each for each in seeds if self._takes_seed(each)])
        if is_first and self.earlier is not None:
            for batch in _batches(self.earlier.entries()):
                self._take_in_earlier([each for each in batch if frontier.places.serves(each.host)])
        for path in options.incoming:
            for handed in _batches(read_handed(Path(path))):
                entries = [entry for entry, visit in handed if visit is None]
                frontier.add_seeds([each for each in entries if each.depth == 0])
                frontier.add([each for each in entries if each.depth])
                for entry, visit in handed:
                    if visit is not None:
                        frontier.take_refused(entry, visit)
        if options.settled and not frontier.settled:
            frontier.settle()
        frontier.commit(self._position)

    def _takes_seed(self, seed: Entry) -> bool:
        """What `deny` says holds for seeds too; `allow` is about what they lead to."""
        if not self.frontier.places.serves(seed.host):
            return False
        refusal = Scope(deny=tuple(self.options.deny)).refusal(seed.url, seed.host)
        if refusal is not None:
            self.frontier.out_of_scope.note(refusal, seed.url)
        return refusal is None

    def _take_in_earlier(self, entries: list[Entry]) -> None:
        """Pages that an earlier crawl has, lest one to which no link leads any more be forgotten. Where it is
        not known yet whether a host is wanted, they are kept aside as links are."""
        frontier, scope = self.frontier, Scope(tuple(self.options.allow))
        wanted = {
            host: frontier.hosts.allows(host) or scope.names(host) for host in {e.host for e in entries}
        }
        frontier.add([each for each in entries if wanted[each.host]])
        frontier.add([each for each in entries if not wanted[each.host]], aside=True)

    def _write_outgoing(self) -> tuple[Counter[str], Counter[str]]:
        """A file for each partition that something was found for; how much of it is new to it, and how many
        are seeds or where seeds lead to."""
        folder = self.folder / OUTGOING
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        new, seeds = Counter[str](), Counter[str]()
        files: dict[str, TextIO] = {}
        with contextlib.ExitStack() as stack:

            def hand(owner: str, line: Mapping[str, Any]) -> str:
                target = f"{bucket_of(owner) % self.options.partitions:02d}"
                if target not in files:
                    files[target] = stack.enter_context((folder / f"{target}.jsonl").open("w"))
                files[target].write(json.dumps(line) + "\n")
                return target

            for entry, is_new in self.frontier.outgoing():
                target = hand(entry.host, asdict(entry))
                new[target] += is_new
                seeds[target] += entry.depth == 0
            for entry, visit in self.frontier.refused():
                new[hand(owner_of(entry.url), asdict(entry) | {"visit": asdict(visit)})] += 1
        return new, seeds


def ended_of(
    frontier: Frontier, seconds: float, handed: Mapping[str, int], seeds: Mapping[str, int]
) -> Ended:
    """Where a partition stands."""
    has_work = frontier.has_work()
    return Ended(
        pages=pages_in(frontier.outcomes),
        tried=frontier.tried,
        left=frontier.left,
        seconds=seconds,
        has_work=has_work,
        open_seeds=not frontier.settled and frontier.open_seeds() and has_work,
        allowed=[] if frontier.settled else frontier.hosts.allowed(),
        settled=frontier.settled,
        handed=dict(handed),
        seeds=dict(seeds),
        outcomes=dict(sorted(frontier.outcomes.items())),
    )


def _batches(items: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def read_handed(path: Path) -> Iterator[tuple[Entry, Visit | None]]:
    """The URLs in a file that was written for another partition, and why one is refused by name."""
    with path.open() as lines:
        for line in lines:
            fields = json.loads(line)
            visit = fields.pop("visit", None)
            yield Entry(**fields), visit and Visit(**visit)

"""From what a user types to a crawl: a finished one, one that is being made, or one that was interrupted."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.inquiry import Frontiers, NoFrontierError
from crawler.options import FRONTIER
from crawler.progress import PARTITION
from crawler.rounds import Published, published
from crawler.turns import round_of
from flows.references import UnknownArtifactError, find_artifact, find_base
from pipeline.corpus.pages import Pages
from pipeline.errors import InputError
from pipeline.store import Attempt, JournalReader, Storage, Store
from pipeline.store.artifacts import RECORD
from pipeline.store.store import is_claimed, scratch_of
from pipeline.tracking.tracker import RUNS

ALIVE_SECONDS = 10.0
"""A crawl that was heard of so lately is running."""


class NotACrawlError(InputError):
    """What was named is something else than a crawl, or there is none."""

    remedy = "Name a crawl, as `moinho ls` shows it (stage crawl), or make one with `moinho crawl CONFIG`."


@dataclass(frozen=True)
class Crawl:
    """A crawl of a store."""

    storage: Storage
    base: str
    config: Mapping[str, Any]
    """Its resolved configuration; empty if that cannot be told."""
    pages: Pages | None
    """The artifact, if it is finished."""
    before: str | None = None
    """The name of a finished crawl, if a run of the same name has made one."""

    @property
    def key(self) -> str:
        return self.base.partition("/")[2]

    def frontiers(self) -> Frontiers:
        """To be used as a context: of a crawl that is not finished those that it works on, or, where they are
        not on this machine or are older, those that were put into the store at the last round's end. Raises
        NoFrontierError if there are none yet."""
        if self.pages is not None:
            return Frontiers(self.pages.paths("frontier/"), finished=True)
        try:
            return self._unfinished()
        except NoFrontierError as error:
            if self.before is None:
                raise
            raise NoFrontierError(
                f"{error}; the crawl before it is finished: ask for {self.before}"
            ) from error

    def _unfinished(self) -> Frontiers:
        paths = frontiers_in(scratch_of(self.storage, self.base))
        attempts = self.attempts()
        found = published(Attempt(self.storage, Pages.stage, self.key, attempts[-1])) if attempts else None
        if found is not None and found.round > max(map(round_of, paths), default=-1):
            files = [
                self.storage.download(f"{self.base}/{each.path}", each.sha256)
                for _, each in sorted(found.frontiers.items())
            ]
            return Frontiers(files, finished=True, as_of=_told(found))
        if not paths and (failure := self.failure()) is not None:
            raise NoFrontierError(f"{self.base} failed, and there is no frontier of it: {failure.error}")
        if not paths:
            raise NoFrontierError(
                f"{self.base} has only just begun, or runs on another machine and has ended no round yet: "
                "its frontier is not here; ask a minute later, or where it runs"
            )
        return Frontiers(paths, finished=False)

    def attempts(self) -> list[str]:
        """Oldest first."""
        return self.storage.list(f"{self.base}/attempts")

    def heard_seconds_ago(self, *, of_partitions: bool = False) -> float | None:
        """When something was last told, if ever; or by a partition, which says nothing between rounds."""
        times = [
            line["time"]
            for attempt in self.attempts()[-1:]
            for line in JournalReader(self.storage, f"{self.base}/attempts/{attempt}/journal").read()
            if line["kind"] == PARTITION or not of_partitions
        ]
        return time.time() - max(times) if times else None

    def is_claimed(self) -> bool | None:
        """Whether someone makes it now; None if that cannot be seen from this machine."""
        return self.pages is None and is_claimed(self.storage, self.base)

    def is_running(self) -> bool:
        """By the claim of whoever makes it; where that cannot be seen, by when something was heard of it."""
        claimed = self.is_claimed()
        if claimed is not None:
            return claimed
        heard = self.heard_seconds_ago()
        return self.ending() is None and heard is not None and heard <= ALIVE_SECONDS

    def begun_seconds_ago(self) -> float | None:
        """When its latest attempt was begun, if a run tells of that."""
        events = (each for _, each in self._events() if each["kind"] == "started")
        return next((time.time() - each["time"] for each in events), None)

    def ending(self) -> "Ending | None":
        """How its latest attempt failed or was stopped, if it was and the crawl is not being made again."""
        if self.pages is not None or self.is_claimed():
            return None
        command, event = next(self._events(), (None, None))
        if event is None or event["kind"] != "failed":
            return None
        error = event["error"].partition("\n")[0] if event["status"] == "failed" else None
        return Ending(error, event["time"], command)

    def failure(self) -> "Ending | None":
        """The same, if it failed."""
        ending = self.ending()
        return ending if ending is not None and ending.error is not None else None

    def _events(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        for command, event in _events(self.storage):
            if (event.get("stage"), event.get("key")) == (Pages.stage, self.key):
                yield command, event


@dataclass(frozen=True)
class Ending:
    """How a crawl ended that is not finished."""

    error: str | None
    """Its first line; None if the crawl was stopped."""
    time: float
    """Seconds since 1970."""
    command: str | None
    """What was typed to begin the run, and goes on with it."""


def _told(found: Published) -> str:
    """Which moment the frontiers in a store tell of."""
    end = f"the end of round {found.round + 1}"
    if found.at is None:
        return end
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.at))}, {end}"


def frontiers_in(scratch: Path) -> list[Path]:
    """Those of the last layout (`<round>-<partitions>`) that a crawl has worked in, by partition."""
    layouts = sorted(path.parent.parent for path in scratch.glob(f"*/*/{FRONTIER}"))
    return sorted(layouts[-1].glob(f"*/{FRONTIER}")) if layouts else []


def find_crawl(store: Store, reference: str | None) -> Crawl:
    """The crawl that `reference` means: a run's name (its latest crawl, also an unfinished one), a name
    such as `quickstart/pages`, `crawl/key`, a key or its beginning, a folder; None is the latest of all.

    Raises UnknownArtifactError or NotACrawlError.
    """
    storage, base = _latest(store) if reference is None else _place(store, reference)
    stage, _, key = base.partition("/")
    if stage != Pages.stage:
        raise NotACrawlError(
            f"{reference} is what the stage {stage} made, not a crawl; there is {_there(store)}"
        )
    pages = Pages(storage, key)
    if pages.exists():
        return Crawl(storage, base, pages.record.config, pages)
    begun = ((name, event["config"]) for name, event in _begun(store) if event["key"] == key)
    flow, config = next(begun, ("", {}))
    named = f"{flow}/{Pages.role}"
    found = store.target_of(named) or ("", "")
    before = named if found[0] == stage and Pages(store.storage, found[1]).exists() else None
    return Crawl(storage, base, config, None, before)


def _place(store: Store, reference: str) -> tuple[Storage, str]:
    """The store and `stage/key` of what is meant, which need not be a crawl."""
    flow = reference.removesuffix(f"/{Pages.role}")
    begun = next((f"{Pages.stage}/{event['key']}" for name, event in _begun(store) if name == flow), None)
    if begun is not None and reference == flow and not store.storage.exists(f"{begun}/{RECORD}"):
        return store.storage, begun
    for name in (reference, f"{reference}/{Pages.role}"):
        if target := store.target_of(name):
            return store.storage, "/".join(target)
    if begun is not None:
        return store.storage, begun
    try:
        found = find_artifact(store, reference)
    except UnknownArtifactError:
        return store.storage, find_base(store, reference)
    return found.storage, found.base


def _events(storage: Storage) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Everything that runs tell, the latest first, each with the command of its run."""
    for run in reversed(storage.list(RUNS)):
        events = list(JournalReader(storage, f"{RUNS}/{run}").read())
        command = next((event.get("command") for event in events if event["kind"] == "flow"), None)
        for event in reversed(events):
            yield command, event


def _begun(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each start of a crawl that a run tells of, the latest run first: name of the run, and the event."""
    for run in reversed(store.storage.list(RUNS)):
        events = list(JournalReader(store.storage, f"{RUNS}/{run}").read())
        name = next((event["name"] for event in events if event["kind"] == "flow"), "")
        for event in reversed(events):
            if event["kind"] == "started" and event["stage"] == Pages.stage:
                yield name, event


def _latest(store: Store) -> tuple[Storage, str]:
    """The crawl that was begun last."""
    storage, stage = store.storage, Pages.stage
    begun = {key: storage.list(f"{stage}/{key}/attempts") for key in storage.list(stage)}
    last = {key: attempts[-1] for key, attempts in begun.items() if attempts}
    started = next((event for _, event in _begun(store)), None)
    if started is not None and is_claimed(storage, f"{stage}/{started['key']}"):
        last[started["key"]] = started["attempt"]  # nothing of it may be in the store yet
    if not last:
        raise NotACrawlError(
            f"there is no crawl in the store at {storage.root}: `moinho crawl CONFIG` makes one"
        )
    return storage, f"{stage}/{max(last, key=lambda key: last[key])}"


def _there(store: Store) -> str:
    names = sorted(name for name, (stage, _) in store.named().items() if stage == Pages.stage)
    return ", ".join(names) or "none in this store that has a name"

"""What is taken out of the store: a damaged artifact, or everything that nothing named needs.

A record goes first and its files after it, so that a kill in between leaves an artifact that is
not there, and never one that is torn. What someone is making at this moment is left alone.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import filelock

from pipeline.errors import InputError
from pipeline.store.artifacts import RECORD, read_record
from pipeline.store.records import Record
from pipeline.store.storage import Storage
from pipeline.store.store import Store
from pipeline.store.verify import artifact_folders

RUNS = "runs"
DELIVERED = "delivered.json"


class InUseError(InputError):
    """A run on this machine is making the artifact that was to be discarded."""

    remedy = "Wait for that run's end, or stop it with Ctrl-C."


@dataclass(frozen=True)
class Piece:
    """Something that can go: a file or a folder with all that is in it."""

    path: str
    """Relative to the store."""
    why: str
    bytes: int


@dataclass
class Leftovers:
    """What nothing named needs."""

    artifacts: list[Piece] = field(default_factory=list)
    """Finished, but no name leads to them."""
    attempts: list[Piece] = field(default_factory=list)
    """Of finished artifacts: files that their records do not point to."""
    unfinished: list[Piece] = field(default_factory=list)
    """Begun and not finished: a later run could go on there."""
    runs: list[Piece] = field(default_factory=list)
    """Journals of runs that MLflow has whole."""
    names: list[Piece] = field(default_factory=list)
    """Names of what is no longer there."""


def discard(store: Store, base: str) -> None:
    """Remove the artifact at `stage/key`, finished or not, and the names that point to it.

    Raises InUseError while a run on this machine makes it.
    """
    with _not_being_made(store, base):
        store.storage.remove(f"{base}/{RECORD}")
        for name, (stage, key) in store.named().items():
            if base == f"{stage}/{key}":
                store.storage.remove(f"names/{name}.json")
        store.storage.remove(base)


def leftovers(store: Store) -> Leftovers:
    """Look for all that nothing named needs. Nothing is removed; what is being made is left out."""
    storage, found = store.storage, Leftovers()
    records = _readable_records(storage)
    needed = _needed(records, {f"{stage}/{key}" for stage, key in store.named().values()})
    for base in artifact_folders(storage):
        try:
            with _not_being_made(store, base):
                if base not in records:
                    piece = _piece(storage, base, "begun and not finished")
                    if piece.bytes and not storage.exists(f"{base}/{RECORD}"):
                        found.unfinished.append(piece)
                elif base not in needed:
                    found.artifacts.append(_piece(storage, base, "no name leads to it"))
                else:
                    found.attempts += _unreferenced(storage, base, records[base])
        except InUseError:
            continue
    for run in storage.list(RUNS):
        if storage.exists(f"{RUNS}/{run}/{DELIVERED}"):
            found.runs.append(_piece(storage, f"{RUNS}/{run}", "MLflow has all of it"))
    for name, (stage, key) in store.named().items():
        if not storage.exists(f"{stage}/{key}/{RECORD}"):
            found.names.append(_piece(storage, f"names/{name}.json", f"{stage}/{key} is not there"))
    return found


def collect(store: Store, pieces: list[Piece]) -> Iterator[Piece]:
    """Remove what `leftovers` found; yields each piece when it is gone."""
    folders = set(artifact_folders(store.storage))
    for piece in pieces:
        if piece.path in folders:
            discard(store, piece.path)
        else:
            store.storage.remove(piece.path)
        yield piece


def _readable_records(storage: Storage) -> dict[str, Record]:
    """A record that cannot be read is `verify`'s to tell; its artifact is left as it is."""
    found = {}
    for base in artifact_folders(storage):
        with contextlib.suppress(InputError):
            record = read_record(storage, base)
            if record is not None:
                found[base] = record
    return found


def _needed(records: Mapping[str, Record], named: set[str]) -> set[str]:
    """The named artifacts and all that they were made from."""
    needed: set[str] = set()
    waiting = list(named)
    while waiting:
        base = waiting.pop()
        if base in records and base not in needed:
            needed.add(base)
            waiting += [f"{given.stage}/{given.key}" for given in records[base].inputs.values()]
    return needed


def _unreferenced(storage: Storage, base: str, record: Record) -> Iterator[Piece]:
    """Scratch, and attempts that no file of the record lies in. The winner's log and journal stay."""
    used = {file.path.split("/")[1] for file in record.files.values() if file.path.startswith("attempts/")}
    for attempt in storage.list(f"{base}/attempts"):
        if attempt not in used | {record.attempt}:
            yield _piece(storage, f"{base}/attempts/{attempt}", "an attempt that another overtook")
    for inside in ("ray-train", "checkpoints"):
        path = f"{base}/attempts/{record.attempt}/{inside}"
        if storage.exists(path):
            yield _piece(storage, path, "was only needed while it was made")
    if storage.exists(f"{base}/scratch"):
        yield _piece(storage, f"{base}/scratch", "was only needed while it was made")


def _piece(storage: Storage, path: str, why: str) -> Piece:
    return Piece(path, why, sum(storage.sizes(path).values()))


@contextlib.contextmanager
def _not_being_made(store: Store, base: str) -> Iterator[None]:
    """Hold the claim of the artifact meanwhile. Raises InUseError."""
    lock = store.claim_lock(base)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InUseError(
            f"{base} is being made by a run on this machine; wait for its end, or stop it with Ctrl-C"
        ) from error
    try:
        yield
    finally:
        lock.release()

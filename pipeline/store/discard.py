"""What is taken out of the store: a damaged artifact, or everything that nothing named needs.

A record goes first and its files after it, so that a kill in between leaves an artifact that is
not there, and never one that is torn. What someone is making at this moment is left alone.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import filelock

from pipeline.errors import InputError
from pipeline.store.artifacts import NO_STAGES, RECORD, read_record
from pipeline.store.records import Record
from pipeline.store.storage import Storage, side_by_side
from pipeline.store.store import Store, is_claimed, names_by_base
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


@dataclass(frozen=True)
class Leftovers:
    """What nothing named needs."""

    artifacts: list[Piece]
    """Finished, but no name leads to them."""
    attempts: list[Piece]
    """Of finished artifacts: files that their records do not point to."""
    unfinished: list[Piece]
    """Begun and not finished: a later run could go on there."""
    runs: list[Piece]
    """Journals of runs that MLflow has whole."""
    names: list[Piece]
    """Names of what is no longer there."""


def discard(store: Store, *bases: str) -> None:
    """Remove the artifacts at `stage/key`, one after the other, finished or not, and the names that point to
    them.

    Raises InUseError while a run on this machine makes one of them.
    """
    names = names_by_base(store.named())
    for base in bases:
        _discard(store, base, names.get(base, ()))


def _discard(store: Store, base: str, names: Iterable[str]) -> None:
    with _not_being_made(store, base):
        store.storage.remove(f"{base}/{RECORD}")
        for name in names:
            store.storage.remove(f"names/{name}.json")
        store.storage.remove(base)


def leftovers(store: Store) -> Leftovers:
    """Look for all that nothing named needs. Nothing is removed; what is being made is left out."""
    storage = store.storage
    bases = list(artifact_folders(storage))
    recorded = dict(_recorded(storage, bases))
    # A maker names what it made before it ends its claim: names that are read after the claims tell of all
    # that was made before.
    free = [base for base in bases if not is_claimed(storage, base)]
    named = {name: f"{stage}/{key}" for name, (stage, key) in store.named().items()}
    needed = _needed(recorded, named.values())

    def unfinished(base: str) -> Piece | None:
        piece = _piece(storage, base, "begun and not finished")
        return piece if piece.bytes and not storage.exists(f"{base}/{RECORD}") else None

    def unneeded(base: str) -> Piece:
        return _piece(storage, base, "no name leads to it")

    def overtaken(base: str) -> list[Piece]:
        return list(_unreferenced(storage, base, recorded[base]))

    begun = side_by_side(storage, unfinished, [base for base in free if base not in recorded])
    unnamed = [base for base in free if base in recorded and base not in needed]
    kept = side_by_side(storage, overtaken, [base for base in free if base in needed])
    gone = {base for base in {*named.values()} - recorded.keys() if not storage.exists(f"{base}/{RECORD}")}
    dangling = {name: base for name, base in named.items() if base in gone}
    return Leftovers(
        artifacts=list(side_by_side(storage, unneeded, unnamed)),
        attempts=[piece for pieces in kept for piece in pieces],
        unfinished=[piece for piece in begun if piece is not None],
        runs=list(_delivered(storage)),
        names=[
            _piece(storage, f"names/{name}.json", f"{base} is not there") for name, base in dangling.items()
        ],
    )


def collect(store: Store, pieces: list[Piece]) -> Iterator[Piece]:
    """Remove what `leftovers` found; yields each piece when it is gone."""
    names = names_by_base(store.named())

    def remove(piece: Piece) -> Piece:
        if piece.path.partition("/")[0] not in NO_STAGES and piece.path.count("/") == 1:
            _discard(store, piece.path, names.get(piece.path, ()))
        else:
            store.storage.remove(piece.path)
        return piece

    return side_by_side(store.storage, remove, pieces)


@dataclass(frozen=True)
class _Recorded:
    """What of an artifact's record decides what can go. The records of a large store, with all their files,
    would take gigabytes."""

    inputs: tuple[str, ...]
    """`stage/key` of what it was made from."""
    attempt: str
    """The one that made it."""
    used: frozenset[str]
    """Attempts that its files lie in."""


def _recorded(storage: Storage, bases: list[str]) -> Iterator[tuple[str, _Recorded]]:
    """By `stage/key`. A record that cannot be read is `verify`'s to tell; its artifact is left as it is."""

    def read(base: str) -> Record | None:
        with contextlib.suppress(InputError):
            return read_record(storage, base)
        return None

    for base, record in zip(bases, side_by_side(storage, read, bases), strict=True):
        if record is not None:
            inputs = tuple(f"{given.stage}/{given.key}" for given in record.inputs.values())
            paths = (file.path.split("/", 2) for file in record.files.values())
            used = frozenset(path[1] for path in paths if path[0] == "attempts")
            yield base, _Recorded(inputs, record.attempt, used)


def _needed(recorded: Mapping[str, _Recorded], named: Iterable[str]) -> set[str]:
    """The named artifacts and all that they were made from."""
    needed: set[str] = set()
    waiting = list(named)
    while waiting:
        base = waiting.pop()
        if base in recorded and base not in needed:
            needed.add(base)
            waiting += recorded[base].inputs
    return needed


def _unreferenced(storage: Storage, base: str, record: _Recorded) -> Iterator[Piece]:
    """Scratch, and attempts that no file of the record lies in. The winner's log and journal stay."""
    for attempt in storage.list(f"{base}/attempts"):
        if attempt not in record.used | {record.attempt}:
            yield _piece(storage, f"{base}/attempts/{attempt}", "an attempt that another overtook")
    winner = f"{base}/attempts/{record.attempt}"
    inside = storage.list(winner)
    paths = [f"{winner}/{name}" for name in ("ray-train", "checkpoints") if name in inside]
    for path in [*paths, *([f"{base}/scratch"] if storage.exists(f"{base}/scratch") else ())]:
        yield _piece(storage, path, "was only needed while it was made")


def _delivered(storage: Storage) -> Iterator[Piece]:
    """Journals of runs that MLflow has whole."""
    runs = [f"{RUNS}/{run}" for run in storage.list(RUNS)]

    def look(run: str) -> Piece | None:
        there = storage.exists(f"{run}/{DELIVERED}")
        return _piece(storage, run, "MLflow has all of it") if there else None

    return (piece for piece in side_by_side(storage, look, runs) if piece is not None)


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

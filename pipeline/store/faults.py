"""What a machine can do to a run: a full disk, a folder that refuses. Told once, in a message of one's own.

Libraries meet the same full disk in their own ways: an errno, a sentence, or a file that merely broke
off. All are recognized here, so that none of them is taken for a fault of the work.
"""

import contextlib
import errno
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, MoinhoError, StageError

FULL = {errno.ENOSPC, errno.EDQUOT}
FULL_IN_WORDS = (
    "no space left on device",
    "disk is full",
    "disk quota exceeded",
    "no usable temporary directory",
)
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL_BYTES = 1 << 20
"""With less than this left, whatever broke off is taken to have broken off for want of room."""


class NoRoomError(StageError):
    """A disk that the run writes to is full, or the user's quota on it is used up."""

    remedy = "Make room where the message says, or move the store to a larger disk; then run again."


class NotWritableError(InputError):
    """The store's folder or bucket refuses to be written to."""

    remedy = "Choose another store with --store or compute.store, or correct its permissions."


def fault_of_machine(error: BaseException, store: Path | None) -> MoinhoError | None:
    """The error to tell if the machine is to blame for `error`, which becomes its cause; else None.

    `store` is the store's folder on this machine, if it has one.
    """
    if isinstance(error, NoRoomError | NotWritableError) or not isinstance(error, Exception):
        return None
    causes = list(_causes(error))
    if full := [cause for cause in causes if _says_full(cause)]:
        told: MoinhoError = _no_room(_full_disk(full[-1], store), _first_line(full[-1]), store)
    elif isinstance(error, MoinhoError):
        return None
    elif refused := [cause for cause in causes if _is_refusal(cause, store)]:
        told = not_writable(store, refused[0])
    elif (disk := _full_disk(error, store)).is_full:
        told = _no_room(disk, _first_line(error), store)
    else:
        return None
    told.__cause__ = error
    return told


def lacks_room(error: Exception) -> bool:
    """Whether the error says itself that a disk is full."""
    return any(_says_full(cause) for cause in _causes(error))


def require_room() -> None:
    """Raises NoRoomError if temporary files have no room: Ray would wait half a minute to say less."""
    for place in _places(None):
        if (disk := _disk(place)).is_full:
            raise _no_room(disk, "temporary files need more", None)


@contextlib.contextmanager
def faults_told(store: Path | None) -> Iterator[None]:
    """Raise the machine's fault in place of what it led to."""
    try:
        yield
    except Exception as error:
        fault = fault_of_machine(error, store)
        if fault is None:
            raise
        raise fault from error


def not_writable(store: Path | str | None, error: BaseException) -> MoinhoError:
    return NotWritableError(
        f"the store {store} cannot be written ({_first_line(error)}); "
        "choose another with --store or compute.store, or correct its permissions"
    )


@dataclass(frozen=True)
class _Disk:
    """How much room is left where `place` lies."""

    place: Path
    free: int
    total: int
    """Bytes."""
    files_left: bool

    @property
    def is_full(self) -> bool:
        # Some file systems, such as those of object stores, do not know and say 0 of 0.
        return self.total > 0 and (self.free < FULL_BYTES or not self.files_left)


def _disk(place: Path) -> _Disk:
    while not place.is_dir() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    # What a file system keeps back for root is room for root alone.
    is_root = os.geteuid() == 0
    blocks, files = (found.f_bfree, found.f_ffree) if is_root else (found.f_bavail, found.f_favail)
    return _Disk(
        place,
        free=blocks * found.f_frsize,
        total=found.f_blocks * found.f_frsize,
        files_left=files > 0 or found.f_files == 0,  # some file systems do not count files
    )


def _no_room(disk: _Disk, reason: str, store: Path | None) -> NoRoomError:
    counts = f"{disk.free / 1e6:,.1f} MB free of {disk.total / 1e6:,.1f} MB"
    counts += "" if disk.files_left else ", and no more files can be added"
    other = "move the store to a larger disk"
    if disk.place != store:
        other = "let $TMPDIR and $RAY_TMPDIR name a folder on a larger disk (a short path)"
    return NoRoomError(
        f"no room left on the disk of {disk.place} ({counts}; host {platform.node()}): {reason}. "
        f"Make room there, or {other}, then run again"
    )


def _full_disk(error: BaseException, store: Path | None) -> _Disk:
    """Of the file that could not be written; where it is not named, of the place with the least room."""
    places = _places(store)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        path = Path(error.filename).absolute()
        return _disk(next((place for place in places if path.is_relative_to(place)), path))
    named = [place for place in places if str(place) in str(error)]
    return min(map(_disk, named or places), key=lambda disk: (disk.files_left, disk.free))


def _places(store: Path | None) -> list[Path]:
    """Where a run writes on this machine. (tempfile.gettempdir passes over a disk that is full.)"""
    temporary = [os.environ.get(name, "/tmp") for name in ("TMPDIR", "RAY_TMPDIR")]
    return [*([store] if store is not None else []), *map(Path, dict.fromkeys(temporary))]


def _says_full(cause: BaseException) -> bool:
    number = cause.errno if isinstance(cause, OSError) else None
    text = str(cause).lower()
    return number in FULL or any(words in text for words in FULL_IN_WORDS)


def _is_refusal(cause: BaseException, store: Path | None) -> bool:
    if not isinstance(cause, OSError) or cause.errno not in REFUSED or store is None:
        return False
    return isinstance(cause.filename, str) and Path(cause.filename).absolute().is_relative_to(store)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it; Ray names the first in `cause`."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop(0)
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [getattr(found, "cause", None), found.__cause__, found.__context__]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__

"""The notice to a training process that it is to go: by SIGTERM, as at a preemption, or by its driver.

Python's handlers run on the main thread, where Ray Train does its own work; the training runs on another.
So the main thread takes the notice, and the training asks for it between two steps. While no training
listens, and at the second notice, SIGTERM does what it did before.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_given = threading.Event()
_listening = threading.Event()
_unsaved: Callable[[], bool] | None = None
_saved: int | None = None


def take_notices() -> None:
    """On the main thread of a training worker: from now on SIGTERM is told to who listens."""
    before = signal.getsignal(signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        if _listening.is_set() and not _given.is_set():
            _given.set()
        elif callable(before):
            before(number, frame)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def listening(unsaved: Callable[[], bool]) -> Iterator[None]:
    """The block asks `was_given` again and again, and goes when it was. `unsaved` says, from any thread,
    whether it then has anything to save first."""
    global _unsaved, _saved
    _given.clear()
    _unsaved, _saved = unsaved, None
    _listening.set()
    try:
        yield
    finally:
        _listening.clear()
        _unsaved = None


def give() -> bool:
    """Give notice, from any thread. Whether who listens has anything to save before it goes."""
    if not _listening.is_set() or _unsaved is None:
        return False
    found = _unsaved()
    _given.set()
    return found


def was_given() -> bool:
    """Whether notice came since the block began."""
    return _given.is_set()


def tell_saved(step: int) -> None:
    """Who listens has saved this step, and goes now."""
    global _saved
    _saved = step


def saved_step() -> int | None:
    """The step that was saved because notice was given."""
    return _saved

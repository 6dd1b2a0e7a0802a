"""SIGTERM to a training process: the notice that its machine is about to go, such as at a preemption.

Python's handlers run on the main thread, where Ray Train does its own work; the training runs on another.
So the main thread takes the notice, and the training asks for it between two steps. While no training
listens, and at the second notice, SIGTERM does what it did before.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_given = threading.Event()
_listening = threading.Event()


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
def listening() -> Iterator[None]:
    """The block asks `was_given` again and again, and goes when it was."""
    _given.clear()
    _listening.set()
    try:
        yield
    finally:
        _listening.clear()


def was_given() -> bool:
    """Whether SIGTERM came since the block began."""
    return _given.is_set()

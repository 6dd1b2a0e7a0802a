"""Trainings that take turns: each is a process that does some steps when it is told to, and waits."""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

AfterStep = Callable[[], None]
Training = Callable[[Any, AfterStep], None]
"""Trains on what it is given; calls the other after every step."""


class Over(BaseException):
    """Ends a training in the middle, as nothing else is meant to do."""


def _train(training: Training, given: Any, steps: int, line: Connection) -> None:
    """In the process: settle for a turn, then one turn for each word from the other side."""
    left, start = steps, time.perf_counter()

    def after_step() -> None:
        nonlocal left, start
        left -= 1
        if left:
            return
        line.send(time.perf_counter() - start)
        if not line.recv():
            raise Over
        left, start = steps, time.perf_counter()

    with contextlib.suppress(Over):
        training(given, after_step)


class Turns:
    """A training in a process of its own. Its first steps, in which it compiles, are no turn."""

    def __init__(self, training: Training, given: Any, steps: int) -> None:
        """`steps` of each turn."""
        context = multiprocessing.get_context("spawn")
        self.steps = steps
        self.line, other = context.Pipe()
        self.process = context.Process(target=_train, args=(training, given, steps, other))
        self.process.start()
        other.close()

    def settle(self) -> None:
        """Return when its first steps are over. Others may be started before, so that all compile at once."""
        self.line.recv()

    def steps_per_second(self) -> float:
        """Of one more turn."""
        self.line.send(True)
        return self.steps / float(self.line.recv())

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.line.send(False)
        self.process.join()


@contextlib.contextmanager
def turns(training: Training, given: Any, steps: int) -> Iterator[Turns]:
    found = Turns(training, given, steps)
    try:
        yield found
    finally:
        found.end()

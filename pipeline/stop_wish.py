"""A stop that the user asked for: the driver tells the training, and waits until a checkpoint is saved.

They tell each other by files of the attempt, since a worker may run on another machine: the driver's wish,
rank 0's answer whether there is anything to save, and which step was saved at last.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from pipeline import stop_notice
from pipeline.store import Attempt

WISH, ANSWER, SAVED = "stop-wish", "stop-answer.json", "stop-saved.json"
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 3.0
"""After which a training that does not answer is not waited for: it has not begun, or hangs."""
SAVE_SECONDS = 60.0
"""That a step and its checkpoint are given; a second Ctrl-C ends the waiting."""


def await_checkpoint(attempt: Attempt) -> None:
    """On the driver: let a training that goes on save the step it is at, and say so if that fails."""
    attempt.storage.create(f"{attempt.folder}/{WISH}", b"")
    answer = _await(attempt, ANSWER, ANSWER_SECONDS)
    if answer is None or not answer["unsaved"]:
        return
    journal = attempt.journal("driver")
    journal.beginning("saving a checkpoint before the stop (Ctrl-C again: without it)")
    saved = _await(attempt, SAVED, SAVE_SECONDS)
    if saved is None or saved["step"] is None:
        journal.write("warning", message="no checkpoint could be saved before the stop; the last one counts")


def was_wished(attempt: Attempt) -> bool:
    """Whether the driver is leaving: workers that Ray starts again need not begin."""
    return attempt.storage.exists(f"{attempt.folder}/{WISH}")


@contextlib.contextmanager
def heard(attempt: Attempt) -> Iterator[None]:
    """On rank 0: while the block trains, the driver's wish is passed on as a notice to leave, and answered.

    When the block ends after that, the driver is told what was saved.
    """
    ended, passed_on = threading.Event(), threading.Event()

    def listen() -> None:
        while not ended.wait(LOOK_SECONDS):
            if was_wished(attempt):
                _tell(attempt, ANSWER, {"unsaved": stop_notice.give()})
                passed_on.set()
                return

    thread = threading.Thread(target=listen, daemon=True, name="stop-wish")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if passed_on.is_set():
            _tell(attempt, SAVED, {"step": stop_notice.saved_step()})


def _tell(attempt: Attempt, name: str, told: dict[str, Any]) -> None:
    with contextlib.suppress(OSError, FileExistsError):  # a driver that is not told stops all the same
        attempt.storage.create(f"{attempt.folder}/{name}", json.dumps(told).encode())


def _await(attempt: Attempt, name: str, seconds: float) -> dict[str, Any] | None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            found: dict[str, Any] = json.loads(attempt.storage.read(f"{attempt.folder}/{name}"))
            return found
        except FileNotFoundError:
            time.sleep(LOOK_SECONDS / 5)
    return None

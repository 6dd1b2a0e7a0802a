"""Where a training's time goes, over all restarts: a stopwatch with parts, every second in exactly one.

Goodput is the share of the time in which steps were done that counted (what a kill threw away and what
was done again counts once). The parts so far stand in each checkpoint; a training that goes on from there
adds what the interruption cost.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pipeline.store import JournalReader
from pipeline.training.checkpoint_reading import Checkpoint

Part = Literal[
    "start", "restore", "compile", "step", "loader_wait", "evaluate", "save_wait", "other", "lost", "restart"
]
"""start: from the wish to train until the first step, without what has a part of its own. restore: finding,
checking and reading a checkpoint. step: batch, gradients, update. save_wait: copying for a checkpoint and
waiting for the one before. other: what the loop does besides, above all telling. lost: from a checkpoint
until the death after it. restart: from a death until workers were there again, within one attempt; that
nobody ran it is no part of a training's time."""


class Stopwatch:
    """Which part the time goes to now; seconds by part so far."""

    def __init__(self, part: Part = "start") -> None:
        self._seconds: dict[Part, float] = {}
        self._part: Part = part
        self._since = time.monotonic()

    @contextlib.contextmanager
    def during(self, part: Part) -> Iterator[None]:
        """The block's time goes to `part`, and not to the part around it."""
        outer = self._part
        self._turn(part)
        try:
            yield
        finally:
            self._turn(outer)

    def add(self, part: Part, seconds: float) -> None:
        """Time that went by where no stopwatch ran."""
        self._seconds[part] = self._seconds.get(part, 0.0) + max(0.0, seconds)

    def seconds(self) -> dict[Part, float]:
        """By part, up to this moment."""
        self._turn(self._part)
        return dict(self._seconds)

    def goodput(self) -> float:
        """The share of `step` in all."""
        seconds = self.seconds()
        return seconds.get("step", 0.0) / max(1e-9, sum(seconds.values()))

    def _turn(self, part: Part) -> None:
        now = time.monotonic()
        self.add(self._part, now - self._since)
        self._part, self._since = part, now


def figures(watch: Stopwatch) -> dict[str, float]:
    """For the journal and the record: goodput, and seconds by part."""
    seconds = {f"seconds_{part}": seconds for part, seconds in watch.seconds().items()}
    return {"goodput": watch.goodput(), **seconds}


def go_on(watch: Stopwatch, checkpoint: Checkpoint | None, began: float | None, attempt: str) -> None:
    """Add what was before this process: the checkpoint's parts, what was lost behind it, the restart.

    `began`: when this attempt's driver asked for the training, as seconds since 1970.
    """
    now = time.time()
    if checkpoint is None:
        watch.add("start", now - began if began else 0.0)
        return
    kept: Mapping[str, Any] = checkpoint.manifest.loop
    for part, seconds in kept["seconds"].items():
        watch.add(part, seconds)
    death = max(kept["saved_at"], _last_sign_of_life(checkpoint, now))
    watch.add("lost", death - kept["saved_at"])
    if checkpoint.folder.split("/attempts/")[1].startswith(f"{attempt}/"):
        watch.add("restart", now - death)
    else:
        watch.add("start", now - began if began else 0.0)


def _last_sign_of_life(checkpoint: Checkpoint, before: float) -> float:
    """When the attempt that wrote the checkpoint last told how far it was; 0 if it never did."""
    folder = f"{checkpoint.folder.rsplit('/checkpoints/', 1)[0]}/journal"
    lines = JournalReader(checkpoint.attempt.storage, folder).read()
    times = (line["time"] for line in lines if line["kind"] in ("progress", "metrics"))
    return max((each for each in times if each <= before), default=0.0)

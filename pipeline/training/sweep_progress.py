"""How far a sweep is, told while its trials run: by compute, since trials are of different sizes."""

import logging
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from pipeline.store import Attempt, JournalReader
from pipeline.training.trial import TRIAL, TRIAL_ENDED

log = logging.getLogger(__name__)

TURN_SECONDS = 2.0
TERA = 1e12


class SweepProgress:
    """Reads what the trials' processes tell, and tells the whole of it: FLOP done, trials finished, the best
    until now; a line for each that is running. A thread does it while the block runs."""

    def __init__(
        self, attempt: Attempt, flops: Mapping[str, float], finished: Mapping[str, float | None]
    ) -> None:
        """`flops`: of every trial, by its identity; `finished`: bits per byte of those that were finished
        before, None where the loss became infinite."""
        self.attempt, self.flops = attempt, flops
        self.finished = dict(finished)
        self._names: dict[str, str] = {}
        self._shares: dict[str, float] = {}
        """Of the trials that run, what is done."""
        self._told: dict[str, str] = {}
        self._reader = JournalReader(attempt.storage, f"{attempt.folder}/journal")
        self._trials: dict[str, list[JournalReader]] = {}
        self._journal = attempt.journal("progress")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sweep-progress")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(TURN_SECONDS):
            try:
                self.tell()
            except Exception as error:  # what is told is never worth the sweep
                log.warning("progress of the sweep: %s: %s", type(error).__name__, error)

    def tell(self) -> None:
        """Read what is new, and write one line of progress and one of the table."""
        for line in self._reader.read():
            self._take(line)
        for identity, readers in self._trials.items():
            for reader in readers:
                for line in reader.read():
                    if line["kind"] == "progress" and line["total"]:
                        self._shares[identity] = line["done"] / line["total"]
                        loss = line["figures"].get("loss")
                        self._told[identity] = f"{line['done']}/{line['total']} steps, loss {loss}"
        running = [identity for identity in self._trials if identity not in self.finished]
        done = sum(self.flops[identity] for identity in self.finished)
        done += sum(self.flops[identity] * self._shares.get(identity, 0.0) for identity in running)
        reached = [bits for bits in self.finished.values() if bits is not None]
        figures: dict[str, Any] = {"trials": f"{len(self.finished)} of {len(self.flops)}"}
        if reached:
            figures["best"] = round(min(reached), 4)
        self._journal.progress(done / TERA, sum(self.flops.values()) / TERA, "TFLOP", None, **figures)
        self._journal.table(
            [(self._names[identity], self._told.get(identity, "starting")) for identity in running]
        )

    def _take(self, line: Mapping[str, Any]) -> None:
        if line["kind"] == TRIAL:
            identity = line["identity"]
            self._names[identity] = line["name"]
            self._trials[identity] = [
                JournalReader(self.attempt.storage, folder) for folder in line["journals"]
            ]
        elif line["kind"] == TRIAL_ENDED:
            self.finished[line["identity"]] = line["found"]["bits_per_byte"]

"""One trial of a sweep as a run below that of the sweep, so that MLflow can compare them."""

from collections.abc import Mapping
from typing import Any

from pipeline.store import JournalReader, Storage
from pipeline.tracking.curves import Curves
from pipeline.tracking.runs import Runs


class TrialRun:
    """Follows the journals that a trial's tries write, and ends with what it came to."""

    def __init__(self, runs: Runs, storage: Storage, attempt: str, parent: str) -> None:
        """`attempt`: that of the sweep; `parent`: its run."""
        self.runs, self.storage, self.attempt, self.parent = runs, storage, attempt, parent
        self.run = ""
        self.ended = False
        self._curves = Curves(runs)
        self._readers: dict[str, JournalReader] = {}

    def begin(self, line: Mapping[str, Any]) -> None:
        """A try began: its name, settings and the folders of its journals."""
        if not self.run:
            tags = {"mlflow.parentRunId": self.parent, "moinho.trial": line["name"]}
            identity = f"{self.attempt}/{line['identity']}"
            self.run = self.runs.open(line["name"], "moinho.trial-of", identity, tags, line["time"])
            self.runs.attempt("settings", self.runs.params, self.run, line["settings"])
        for folder in line["journals"]:
            self._readers.setdefault(folder, JournalReader(self.storage, folder))

    def follow(self) -> None:
        for reader in self._readers.values():
            for line in reader.read():
                if line["kind"] == "metrics":
                    self._curves.take(self.run, line)
        self._curves.send(self.run)

    def end(self, line: Mapping[str, Any]) -> None:
        """The trial is over: its figures, and why if its loss became infinite."""
        self.follow()
        numbers = {name: value for name, value in line["found"].items() if isinstance(value, int | float)}
        values = {(f"final.{name}", 0): (float(value), line["time"]) for name, value in numbers.items()}
        self.runs.attempt("figures", self.runs.points, self.run, values)
        fault = line["found"].get("fault")
        if fault:
            self.runs.tag(self.run, moinho__error=fault)
        self.runs.end(self.run, "FAILED" if fault else "FINISHED", line["time"])
        self.ended = True

    def leave(self, time: float) -> None:
        """The sweep is over, and this trial was not."""
        self.follow()
        if not self.ended:
            self.runs.end(self.run, "KILLED", time)

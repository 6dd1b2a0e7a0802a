"""Metrics over time of one run in MLflow: each (name, step) is sent once."""

from collections.abc import Mapping
from typing import Any

from pipeline.tracking.runs import Point, Runs


class Curves:
    """What journals told of metrics, on its way to a run."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._unsent: dict[Point, tuple[float, float]] = {}
        self._sent: dict[str, set[int]] = {}

    def take(self, run: str, line: Mapping[str, Any]) -> None:
        """A journal's line of the kind `metrics`. What MLflow has already is asked of it."""
        for name, value in line["values"].items():
            if name not in self._sent:
                self._sent[name] = self.runs.steps_of(run, name)
            if line["step"] not in self._sent[name]:
                self._unsent[name, line["step"]] = (value, line["time"])

    @property
    def names(self) -> set[str]:
        """Of all metrics that were told."""
        return set(self._sent)

    def send(self, run: str) -> None:
        if self._unsent:
            self.runs.attempt("metrics", self.runs.points, run, self._unsent)
            for name, step in self._unsent:
                self._sent[name].add(step)
            self._unsent = {}

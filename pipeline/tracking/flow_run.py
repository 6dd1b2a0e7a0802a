"""One flow as a run with its stages below it, told by the run's journal in the store."""

import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from pipeline.store import JournalReader, Record, Storage, read_record
from pipeline.tracking.models import is_model, promote, register
from pipeline.tracking.runs import Runs
from pipeline.tracking.stage_run import KILLED, STATUS, StageRun, log_corpus
from pipeline.tracking.tracker import RUNS

log = logging.getLogger(__name__)

DELIVERED = "delivered.json"
ROUND_STAGE = "round"
SEVERAL = {"assess": "assessment"}
"""Stages that a flow runs for several models → how their roles begin."""


class FlowRun:
    """Replays the events of one run. An event that could not be sent is tried again first thing next time."""

    def __init__(self, runs: Runs, storage: Storage, run_id: str) -> None:
        self.runs, self.storage, self.id = runs, storage, run_id
        self.run = ""
        self.name = ""
        self.delivered = False
        self._reader = JournalReader(storage, f"{RUNS}/{run_id}")
        self._events: deque[Mapping[str, Any]] = deque()
        self._stages: dict[str, StageRun] = {}
        self._open: list[str] = []
        """Attempts that go on, in the order of their start."""
        self._names: dict[str, str] = {}
        """Attempt → what its stage is called here."""
        self._lines: dict[str, str] = {}
        """The same name → its line in the description."""
        self._last_time = 0.0

    def send(self) -> None:
        """Send all that is new. Raises what `passes` knows; calling again goes on where it stopped.

        The clock may have been set back between two events; here none comes before the one before it.
        """
        self._events.extend(self._reader.read())
        while self._events:
            event = self._events[0]
            self._replay({**event, "time": max(self._last_time, event["time"])})
            self._last_time = max(self._last_time, event["time"])
            self._events.popleft()
        for attempt in self._open:
            self._stages[attempt].follow()

    @property
    def makes_something(self) -> bool:
        return bool(self._stages)

    def close_orphan(self) -> None:
        """End what a dead driver left open, stages first; the stages' own records tell which were done."""
        last = self._last_time
        for attempt in list(self._open):
            status, time, error = self._stages[attempt].orphaned()
            last = max(last, time)
            self._end_stage(attempt, status, time, error)
        if not self.delivered:
            self._end("cancelled", last, KILLED)

    def _replay(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        if kind == "flow":
            self._begin(event)
        elif kind == "started":
            self._begin_stage(event)
        elif kind == "reused":
            self._reuse(event)
        elif kind == "finished" and event["attempt"] in self._open:
            self._end_stage(event["attempt"], "finished", event["time"], None)
        elif kind == "failed" and event["attempt"] in self._open:
            self._end_stage(event["attempt"], event["status"], event["time"], event.get("error"))
        elif kind == "ended":
            self._end(event["status"], event["time"], event.get("error"))

    def _begin(self, event: Mapping[str, Any]) -> None:
        self.name = event["name"]
        tags = {
            "moinho.store": event["store"],
            "moinho.config": event["config_path"] or "",
            "mlflow.source.name": event["config_path"] or event["command"] or "moinho",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": event["commit"] or "",
        }
        tags = {name: value for name, value in tags.items() if value}
        self.run = self.runs.open(self.name, "moinho.run", self.id, tags, event["time"])
        self.runs.attempt("settings", self.runs.params, self.run, event["config"])

    def _begin_stage(self, event: Mapping[str, Any]) -> None:
        stage = self._stages.get(event["attempt"])
        if stage is None:
            stage = self._stages[event["attempt"]] = StageRun(
                self.runs, self.storage, self.name, self.run, event
            )
        stage.begin()
        if event["attempt"] not in self._open:
            self._open.append(event["attempt"])
        self._names[event["attempt"]] = name_of(event)
        self._describe(name_of(event), f"running, {self._link(stage.run)}")

    def _end_stage(self, attempt: str, status: str, time: float, error: str | None) -> None:
        stage = self._stages[attempt]
        self._last_time = max(self._last_time, stage.finish(status, time, error))
        if status == "finished":
            self._figures(stage.attempt.base, self._names[attempt], time)
        self._open.remove(attempt)
        self._describe(self._names[attempt], f"{status}, {self._link(stage.run)}")

    def _reuse(self, event: Mapping[str, Any]) -> None:
        """No run of its own: a line that points to the run that made it, and its figures for comparison."""
        base = f"{event['stage']}/{event['key']}"
        record = read_record(self.storage, base)
        made = None if record is None else self.runs.find("moinho.attempt", record.attempt)
        if record is not None and made is not None and is_model(record):
            name = f"{self.name}-{event['role']}"
            self.runs.attempt(f"model {name}", register, self.runs, name, made.info.run_id, record)
        self._figures(base, name_of(event), event["time"])
        origin = "a run that is not recorded here" if made is None else self._link(made.info.run_id)
        self._describe(name_of(event), f"reused ({event['key']}), made by {origin}")

    def _figures(self, base: str, named: str, time: float) -> None:
        """The stage's counts, figures and corpus on the flow's own run, so that flows can be compared."""
        record: Record | None = read_record(self.storage, base)
        if record is not None:
            values = {
                (f"{named}.{name}", 0): (float(value), time)
                for name, value in {**record.counts, **record.figures}.items()
            }
            self.runs.attempt("figures", self.runs.points, self.run, values)
            self.runs.attempt("corpus", log_corpus, self.runs, self.storage, self.run, record)
            if record.stage == ROUND_STAGE:
                self.runs.attempt("champion", promote, self.runs, self.storage, self.name, record)

    def _end(self, status: str, time: float, error: str | None) -> None:
        if error is not None:
            self.runs.tag(self.run, moinho__error=error)
            self._lines = {f"{status}": error} | self._lines
        self._describe_all()
        self.runs.end(self.run, STATUS[status], time)
        told = {attempt: stage.run for attempt, stage in self._stages.items()}
        done = {"run": self.run, "stages": told, "skipped": self.runs.skipped}
        self.storage.replace(f"{RUNS}/{self.id}/{DELIVERED}", json.dumps(done, indent=2).encode())
        self.delivered = True

    def _link(self, run: str) -> str:
        return f"[its run](#/experiments/{self.runs.experiment}/runs/{run})"

    def _describe(self, stage: str, line: str) -> None:
        self._lines[stage] = line
        self._describe_all()

    def _describe_all(self) -> None:
        text = "\n".join(f"- **{stage}**: {line}" for stage, line in self._lines.items())
        self.runs.attempt("description", self.runs.describe, self.run, text)


def name_of(event: Mapping[str, Any]) -> str:
    """The stage; of one that a flow runs for several models, with whose it is: `assess.chat`."""
    stage, role = event["stage"], event["role"]
    several = role.removeprefix(f"{SEVERAL[stage]}-") if stage in SEVERAL else None
    return stage if several is None else f"{stage}.{several}"

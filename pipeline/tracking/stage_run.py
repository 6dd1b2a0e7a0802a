"""One attempt at one stage as a nested run: its settings, figures over time, counts, files and model."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.store import Attempt, JournalReader, Record, Storage, read_record
from pipeline.tracking.curves import Curves
from pipeline.tracking.lineage import lineage
from pipeline.tracking.models import is_model, log_model, register
from pipeline.tracking.runs import Point, Runs
from pipeline.tracking.trial_run import TrialRun

STATUS = {"finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
KILLED = "its program ended without a word (killed, or the machine stopped); closed by a later run"
CORPUS_STAGE = "hold-out"
EVALUATION_STAGES = ("evaluate", "assess", "compare")
ASSESSMENT_STAGE = "assess"
"""Of which a flow has one for each model: their runs are called by what they make."""
DROPPED = "dropped."
SHOWN_SUFFIXES = (".png", ".md", ".json")
SHOWN_NAMES = ("report.html", "card.html", "comparison.html")
"""Of HTML only these: a rendered site is HTML too."""
SHOWN_BYTES = 2_000_000
SHOWN_FILES = 20
LOG_BYTES = 5_000_000


class StageRun:
    """Follows the journals of an attempt and writes what it finds into its run."""

    def __init__(
        self, runs: Runs, storage: Storage, flow: str, parent: str, event: Mapping[str, Any]
    ) -> None:
        self.runs, self.storage, self.flow, self.parent = runs, storage, flow, parent
        self.role, self.begun = event["role"], event["time"]
        self._continues: list[str] = event.get("continues", [])
        """Attempts at the same artifact that came to nothing: this one goes on from where they stopped."""
        self.config: Mapping[str, Any] = event["config"]
        self.attempt = Attempt(storage, event["stage"], event["key"], event["attempt"])
        self.run = ""
        self.last_time: float = event["time"]
        """When the attempt last gave a sign of life."""
        self._readers = [
            JournalReader(storage, f"{self.attempt.base}/attempts/{attempt}/journal")
            for attempt in [*self._continues, self.attempt.id]
        ]
        self._curves = Curves(runs)
        self._trials: dict[str, TrialRun] = {}
        self._texts: dict[Point, str] = {}
        self._texts_changed = False

    def begin(self) -> None:
        tags = {
            "mlflow.parentRunId": self.parent,
            "moinho.stage": self.attempt.stage,
            "moinho.key": self.attempt.key,
            "moinho.artifact": self.attempt.base,
        }
        if self._continues:
            tags["moinho.continues"] = ", ".join(self._continues)
        name = self.role if self.attempt.stage == ASSESSMENT_STAGE else self.attempt.stage
        self.run = self.runs.open(name, "moinho.attempt", self.attempt.id, tags, self.begun)
        self.runs.attempt("settings", self.runs.params, self.run, self.config)

    def follow(self) -> None:
        """Send what was added to the journals since the last call."""
        for reader in self._readers:
            for line in reader.read():
                self._take(line)
        self._curves.send(self.run)
        for trial in self._trials.values():
            if not trial.ended:
                trial.follow()
        if self._texts_changed:
            self.runs.attempt("samples", self.runs.client.log_text, self.run, self._samples(), "samples.md")
            self._texts_changed = False

    def _take(self, line: Mapping[str, Any]) -> None:
        self.last_time = max(self.last_time, line["time"])
        if line["kind"] == "metrics":
            self._curves.take(self.run, line)
        elif line["kind"] == "text":
            self._texts[line["name"], line["step"]] = line["text"]
            self._texts_changed = True
        elif line["kind"] == "trial":
            trial = TrialRun(self.runs, self.storage, self.attempt.id, self.run)
            self._trials.setdefault(line["identity"], trial).begin(line)
        elif line["kind"] == "trial-ended":
            self._trials[line["identity"]].end(line)

    def _samples(self) -> str:
        """Every text over time, by name, as Markdown."""
        parts = []
        for name in sorted({name for name, _ in self._texts}):
            parts.append(f"## {name}\n")
            steps = sorted(step for other, step in self._texts if other == name)
            parts += [f"**step {step}**\n\n```text\n{self._texts[name, step]}\n```\n" for step in steps]
        return "\n".join(parts)

    def finish(self, status: str, time: float, error: str | None) -> float:
        """Close the run; a finished one gets all that the record tells first. Returns when it ended."""
        self.follow()
        for trial in self._trials.values():
            trial.leave(time)
        self.runs.attempt("log", self._log_file)
        record = read_record(self.storage, self.attempt.base)
        if status == "finished" and record is not None and record.attempt == self.attempt.id:
            time = self.begun + record.seconds  # measured by a clock that nobody sets
            self._record(record, time)
        if error is not None:
            self.runs.tag(self.run, moinho__error=error)
            self.runs.describe(self.run, f"**{status}**: {error}")
        self.runs.end(self.run, STATUS[status], time)
        return time

    def orphaned(self) -> tuple[str, float, str | None]:
        """How it ended, when, and why, if its driver can no longer tell."""
        self.follow()
        record = read_record(self.storage, self.attempt.base)
        if record is not None and record.attempt == self.attempt.id:
            return "finished", self.begun + record.seconds, None
        return "cancelled", self.last_time, KILLED

    def _log_file(self) -> None:
        path = self.storage.local(self.attempt.log)
        if path is not None and path.is_file() and 0 < path.stat().st_size <= LOG_BYTES:
            self.runs.client.log_artifact(self.run, str(path))

    def _record(self, record: Record, time: float) -> None:
        base = self.attempt.base
        client = self.runs.client
        self.runs.attempt(
            "record", client.log_text, self.run, record.model_dump_json(indent=2), "artifact.json"
        )
        self.runs.attempt("compute", self.runs.params, self.run, {"compute": record.compute})
        figures = {
            (f"final.{name}" if name in self._curves.names else name): value
            for name, value in record.figures.items()
        }
        values = {(name, 0): (float(value), time) for name, value in {**record.counts, **figures}.items()}
        self.runs.attempt("counts", self.runs.points, self.run, values)
        self.runs.attempt("chart of drops", self._chart, record)
        self.runs.attempt("files", self._files, record)
        self.runs.attempt("corpus", log_corpus, self.runs, self.storage, self.run, record)
        if is_model(record):
            self.runs.attempt(
                f"model {base}", log_model, self.runs, self.storage, self.run, record, self.role
            )
            name = f"{self.flow}-{self.role}"
            self.runs.attempt(f"model {name}", register, self.runs, name, self.run, record)

    def _chart(self, record: Record) -> None:
        dropped = {
            name.removeprefix(DROPPED): count
            for name, count in record.counts.items()
            if name.startswith(DROPPED)
        }
        if dropped:
            from pipeline.tracking.charts import bars

            picture = bars(dropped, f"{record.stage}: documents dropped, by reason")
            self.runs.client.log_figure(self.run, picture, "dropped.png")

    def _files(self, record: Record) -> None:
        """Pictures and small texts that the stage made, under their own names."""
        shown = [
            (name, file)
            for name, file in sorted(record.files.items())
            if (name.endswith(SHOWN_SUFFIXES) or name in SHOWN_NAMES)
            and file.bytes <= SHOWN_BYTES
            and not name.startswith(("model/", "tokenizer/"))
        ]
        for name, file in shown[:SHOWN_FILES]:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / Path(name).name
                copy.write_bytes(self.storage.read(f"{record.stage}/{record.key}/{file.path}"))
                home = Path(name).parent.as_posix()
                self.runs.client.log_artifact(self.run, str(copy), None if home == "." else home)


def log_corpus(runs: Runs, storage: Storage, run: str, record: Record) -> None:
    """The corpus that `record` was made from, as a dataset input; only digest and size are read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    for base, corpus in lineage(storage, record).items():
        given = runs.client.get_run(run).inputs
        known = {entry.dataset.digest for entry in given.dataset_inputs} if given else set()
        if corpus.stage != CORPUS_STAGE or corpus.digest[:16] in known:
            continue
        columns = ("id", "page_id", "source", "url", "title", "text", "language", "cluster")
        dataset = Dataset(
            name=base,
            digest=corpus.digest[:16],
            source_type="moinho",
            source=json.dumps({"artifact": base}),
            schema=json.dumps({"mlflow_colspec": [{"type": "string", "name": name} for name in columns]}),
            profile=json.dumps({"num_rows": corpus.counts.get("train"), **corpus.counts}),
        )
        context = "evaluation" if record.stage in EVALUATION_STAGES else "training"
        mark = InputTag("mlflow.data.context", context)
        runs.client.log_inputs(run, datasets=[DatasetInput(dataset, [mark])])

"""Journals: what processes have to tell while they work, as lines of JSON in the store.

A process appends and never waits for anyone; whoever shows progress or sends metrics to MLflow
reads behind it. A line is `{"time": …, "kind": …, …}`.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from pipeline.store.storage import Storage


class Journal:
    """Appends the lines of one process to `<folder>/<name>.jsonl`. Not shared between processes."""

    def __init__(self, storage: Storage, folder: str, name: str) -> None:
        self.storage, self.folder = storage, folder
        self.path = f"{folder}/{name}-{os.getpid()}-{time.time_ns():x}.jsonl"

    def write(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"time": time.time(), "kind": kind, **fields}, ensure_ascii=False)
        self.storage.append(self.path, line.encode() + b"\n")

    def metrics(self, step: int, **values: float) -> None:
        """Numbers over time; (name, step) is sent once, the latest value wins."""
        self.write("metrics", step=step, values=values)

    def progress(self, done: float, total: float | None, unit: str, **figures: float | str) -> None:
        """How far the stage is, for whoever is watching; `figures` are shown beside the bar."""
        self.write("progress", done=done, total=total, unit=unit, figures=figures)

    def text(self, name: str, step: int, text: str) -> None:
        """A text to read over time, such as the completion of a fixed prompt."""
        self.write("text", name=name, step=step, text=text)


class JournalReader:
    """Reads the complete lines that were added to a folder of journals since the last call."""

    def __init__(self, storage: Storage, folder: str, offsets: dict[str, int] | None = None) -> None:
        self.storage, self.folder = storage, folder
        self.offsets = dict(offsets or {})
        """Journal name → bytes read so far; kept by whoever must not read a line twice."""

    def read(self) -> Iterator[dict[str, Any]]:
        for name in self.storage.list(self.folder):
            if not name.endswith(".jsonl"):
                continue
            path, start = f"{self.folder}/{name}", self.offsets.get(name, 0)
            if self.storage.size(path) <= start:
                continue
            data = self.storage.read(path, start=start)
            complete = data[: data.rfind(b"\n") + 1]
            self.offsets[name] = start + len(complete)
            for line in complete.splitlines():
                yield json.loads(line)

"""Journals: what processes have to tell while they work, as lines of JSON in the store.

A process appends and never waits for anyone; whoever shows progress or sends metrics to MLflow
reads behind it. A line is `{"time": …, "kind": …, …}`.
"""

import atexit
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakSet

from pipeline.store.storage import Storage

log = logging.getLogger(__name__)

PIECE_SECONDS = 2.0
"""Lines of so long become one object where a journal cannot be appended to."""


@dataclass(frozen=True)
class Bound:
    """What a stage cannot end before, and why."""

    seconds: float
    """From now."""
    by: str
    """What holds it up, such as `host example.org: 200 waiting at 1.0 s each`."""


class Journal:
    """Appends the lines of one process to `<folder>/<name>-….jsonl`. Not shared between processes.

    Journals of one name sort by when they began, so that a reader meets a restart's after the first's.
    """

    def __init__(self, storage: Storage, folder: str, name: str) -> None:
        self.storage, self.folder = storage, folder
        self.path = f"{folder}/{name}-{time.time_ns():x}-{os.getpid()}.jsonl"
        self._pieces = None if storage.is_local else _Pieces(storage, self.path)

    def write(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"time": time.time(), "kind": kind, **fields}, ensure_ascii=False)
        data = line.encode() + b"\n"
        if self._pieces is None:
            self.storage.append(self.path, data)
        else:
            self._pieces.add(data)

    def metrics(self, step: int, **values: float) -> None:
        """Numbers over time; (name, step) is sent once, the latest value wins."""
        self.write("metrics", step=step, values=values)

    def progress(
        self, done: float, total: float | None, unit: str, bound: Bound | None = None, **figures: float | str
    ) -> None:
        """How far the stage is, for whoever is watching; `figures` are shown beside the bar. `bound`: the
        rest takes at least so long, however fast it went until now."""
        told = bound and asdict(bound)
        self.write("progress", done=done, total=total, unit=unit, figures=figures, bound=told)

    def beginning(self, told: str) -> None:
        """What is done before there is progress to tell of, such as `compiling`."""
        self.write("beginning", told=told)

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Labels and texts that whoever is watching sees under the stage's line, until the next."""
        self.write("table", rows=rows)

    def text(self, name: str, step: int, text: str) -> None:
        """A text to read over time, such as the completion of a fixed prompt."""
        self.write("text", name=name, step=step, text=text)


class _Pieces:
    """A journal on an object store, where nothing can be appended: an object for the lines of each while.

    A thread writes them, so that a slow store holds up nobody. A process that is killed loses the lines of
    `PIECE_SECONDS`. What cannot be written stays one piece and is tried again as it was: an answer may have
    been lost, and who has read a piece does not ask for it again.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self.storage, self.stem = storage, path.removesuffix(".jsonl")
        self._lines: list[bytes] = []
        self._piece = b""
        self._count = 0
        self._adding, self._sending = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, line: bytes) -> None:
        with self._adding:
            self._lines.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="journal")
                self._thread.start()
                _unsent.add(self)

    def send(self) -> None:
        with self._sending:
            while piece := self._next_piece():
                try:
                    self.storage.replace(f"{self.stem}.{self._count:06}.jsonl", piece)
                except Exception as error:
                    log.warning("a journal cannot be written now: %s", error)
                    return
                self._piece = b""
                self._count += 1

    def _next_piece(self) -> bytes:
        """The one that could not be written, else the lines since the last; empty if there are none."""
        with self._adding:
            if not self._piece:
                self._piece, self._lines = b"".join(self._lines), []
            return self._piece

    def _run(self) -> None:
        while True:
            time.sleep(PIECE_SECONDS)
            self.send()


_unsent: WeakSet[_Pieces] = WeakSet()
"""Of all journals of this process; nothing is ever in it where the store is a folder."""


@atexit.register
def flush_journals() -> None:
    """Return when every line that this process wrote is in the store, or could not be brought there now."""
    for pieces in list(_unsent):
        pieces.send()


class JournalReader:
    """Reads the complete lines that were added to a folder of journals since the last call.

    A line counts as read when the next one is asked for: one at which the reader of lines failed comes again.
    """

    def __init__(self, storage: Storage, folder: str, offsets: dict[str, int] | None = None) -> None:
        self.storage, self.folder = storage, folder
        self.offsets = dict(offsets or {})
        """Journal name → bytes read so far; kept by whoever must not read a line twice."""
        self._over: set[str] = set()
        """Pieces on an object store that were read to their end: nothing is ever added to one."""

    def read(self) -> Iterator[dict[str, Any]]:
        for name in self.storage.list(self.folder):
            if not name.endswith(".jsonl") or name in self._over:
                continue
            path, start = f"{self.folder}/{name}", self.offsets.get(name, 0)
            if self.storage.size(path) > start:
                data = self.storage.read(path, start=start)
                for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
                    yield json.loads(line)
                    self.offsets[name] = self.offsets.get(name, 0) + len(line)
            if not self.storage.is_local:
                self._over.add(name)

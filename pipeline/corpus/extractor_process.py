"""The readers in a process of their own, so that a document that hangs or kills them costs only itself.

`ExtractorProcess` is the task's side; `serve` the child's. A request is a line of JSON and the
page's bytes on the child's standard input, the answer a line of JSON on its standard output.
The kernel itself ends a child that works too long on a page (CPU time first, then wall time),
so the limits hold even if the parent is gone; between pages it ends when its input closes.
"""

import contextlib
import json
import os
import resource
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, Self

from pipeline.corpus.readers.read import Extracted, Reading
from pipeline.credentials import without_secrets
from pipeline.errors import StageError

WALL_PER_CPU = 10
"""Wall seconds allowed per second of CPU time: only a page that sleeps or waits meets this limit."""
ORPHAN_SECONDS = 1.0
RECURSION_LIMIT = 20_000
NO_EXTRACTOR = "none"
"""In an extractor's place: a child for all formats but HTML, which starts in half the time."""
WARM_UP = {
    False: (b"<html><body><p>The extractor loads what it needs.</p></body></html>", Reading("html")),
    True: (b"The reader loads what it needs.", Reading("text")),
}
READY = b"ready\n"


@dataclass(frozen=True)
class Limits:
    cpu_seconds: float
    """CPU time per page."""
    memory_bytes: int
    """Memory that the child may take beyond what it holds when it is ready for its first page."""


@dataclass(frozen=True)
class Failure:
    """Why nothing was read from a page."""

    reason: str
    detail: str
    threshold: float | None = None
    """The limit that was exceeded, where it is one of the configuration."""


class ExtractorNotStartedError(StageError):
    """The extractor's process ended before it was ready for a page."""

    remedy = (
        "Run the command that the message gives and read what it says; most often a package is "
        "missing: install moinho again."
    )


class ExtractorProcess:
    """A child that reads page after page; a new one takes its place whenever it dies.

    A child says that it is ready before it is given a page: one that cannot even start is a fault
    of the installation (ExtractorNotStartedError) and not of the page.
    """

    def __init__(self, extractor: str, limits: Limits, command: Sequence[str] | None = None) -> None:
        self.limits = limits
        self.command = [
            *(command or [sys.executable, "-m", "pipeline.corpus.extractor_process"]),
            extractor,
            str(limits.cpu_seconds),
            str(limits.memory_bytes),
        ]
        self.child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None

    def extract(self, data: bytes, reading: Reading) -> Extracted | Failure:
        """The document, or the reason why there is none: extractor-timeout, -crash, -memory or -error,
        or why its reader refuses it (too-deep, too-large, unreadable)."""
        if self.child is None:
            self.child = self._start()
        answer = self._ask(self.child, data, reading)
        if answer is None:
            self.child.wait()
            status = self.child.returncode
            self.close()
            return _death(status, self.limits)
        if "reason" in answer:
            if answer["reason"] == "extractor-memory":
                self.close()
            return Failure(**answer)
        return Extracted(**answer)

    def _start(self) -> subprocess.Popen[bytes]:
        """A child that is ready. Raises ExtractorNotStartedError with the last line that it wrote."""
        path = os.pathsep.join(path for path in sys.path if path)
        environment = without_secrets(os.environ) | {"PYTHONPATH": path}
        with tempfile.TemporaryFile() as complaints:
            child = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environment,
            )
            assert child.stdout is not None
            if child.stdout.readline() == READY:
                return child
            child.communicate()
            complaints.seek(0)
            told = complaints.read().decode(errors="replace").strip().splitlines()
        raise ExtractorNotStartedError(
            f"the extractor ended with {_status(child.returncode)} before its first page"
            f"{': ' + told[-1] if told else ''}; is the installation whole? "
            f"Try: {shlex.join(self.command)} </dev/null"
        )

    def _ask(self, child: "subprocess.Popen[bytes]", data: bytes, reading: Reading) -> dict[str, Any] | None:
        """The child's answer, or None if it died."""
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps({"bytes": len(data), "reading": asdict(reading)}).encode() + b"\n")
            child.stdin.write(data)
            child.stdin.flush()
        except BrokenPipeError:
            return None
        line = child.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None


def _death(status: int, limits: Limits) -> Failure:
    if status == -signal.SIGPROF:
        return Failure("extractor-timeout", f"over {limits.cpu_seconds:g} s of CPU time")
    if status == -signal.SIGALRM:
        return Failure("extractor-timeout", f"over {limits.cpu_seconds * WALL_PER_CPU:g} s")
    return Failure("extractor-crash", f"the extractor died: {_status(status)}")


def _status(returncode: int) -> str:
    return signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"


def serve() -> None:
    """The child's whole life: `python -m pipeline.corpus.extractor_process EXTRACTOR CPU_SECONDS BYTES`."""
    from pipeline.corpus.readers.read import read

    extractor, limits = sys.argv[1], Limits(float(sys.argv[2]), int(sys.argv[3]))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not be taken for an answer.
    os.dup2(2, 1)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setrecursionlimit(RECURSION_LIMIT)
    read(*WARM_UP[extractor == NO_EXTRACTOR], extractor)
    _limit_memory(limits.memory_bytes)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    answers.write(READY)
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["bytes"])
        with _time_limit(limits.cpu_seconds):
            answer = _answer(data, Reading(**request["reading"]), extractor)
        _send(answers, answer)


def _answer(data: bytes, reading: Reading, extractor: str) -> dict[str, Any]:
    from pipeline.corpus.readers.read import UnreadableError, read

    try:
        return asdict(read(data, reading, extractor))
    except UnreadableError as error:
        return {"reason": error.reason, "detail": str(error)[:500]}
    except MemoryError:
        return {"reason": "extractor-memory", "detail": "over the limit of memory"}
    except Exception as error:
        return {"reason": "extractor-error", "detail": f"{type(error).__name__}: {error}"[:500]}


def _send(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


@contextlib.contextmanager
def _time_limit(cpu_seconds: float) -> Any:
    """Let the kernel end this process if what is inside takes too long."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, cpu_seconds * WALL_PER_CPU)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(memory_bytes: int) -> None:
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + memory_bytes, hard))


def _end_with_parent(parent: int) -> None:
    """End when the parent is gone: its end of our input has closed, or another has adopted us."""
    watch = select.poll()
    watch.register(0, 0)
    while os.getppid() == parent and not watch.poll(0):
        time.sleep(ORPHAN_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    serve()

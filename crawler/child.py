"""Running the child process of a partition, from the task that waits for it."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from crawler.options import Ended, Options
from crawler.progress import PARTITION
from pipeline.credentials import without_secrets
from pipeline.errors import StageError
from pipeline.store import Journal, lacks_room
from pipeline.store.storage import is_object_store


class UnwritableCrawlError(StageError):
    """The archive or the frontier could not be written, though there was room."""

    remedy = "Make room, then run again: the crawl goes on where it was."


class SpiderDiedError(RuntimeError):
    """The child process ended before the crawl did. It is started again, and continues."""


def run_spider(options: Options, journal: Journal, log_path: Path) -> Ended:
    """Start the child process, pass on what it tells, and return how its round has ended.

    The child ends when this process does. Raises SpiderDiedError, UnwritableCrawlError, or OSError if a
    disk is full.
    """
    said = log_path.stat().st_size if log_path.exists() else 0
    ended: Ended | None = None
    with log_path.open("ab") as errors, _child(options, errors) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(dataclasses.asdict(options)).encode() + b"\n")
        child.stdin.flush()
        for line in child.stdout:
            told = json.loads(line)
            if told["kind"] == "progress":
                journal.write(PARTITION, **told["progress"])
            elif told["kind"] == "fault":
                fault = OSError(f"{options.folder} cannot be written: {told['message']}")
                if lacks_room(fault):
                    raise fault  # told in full by those who know the store
                raise UnwritableCrawlError(f"{fault}. Correct that and run again: the crawl continues")
            elif told.pop("kind") == "finished":
                ended = Ended(**told)
        status = child.wait()
    if ended is None or status:
        raise SpiderDiedError(
            f"the crawler's process ended with {_ending(status)}{_last_words(log_path, said)}"
        )
    return ended


@contextlib.contextmanager
def _child(options: Options, errors: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """The spider's process, which is gone when this ends. It reads what strangers wrote, so it gets secrets
    only where it needs them: to look into an object store."""
    environment = os.environ if is_object_store(options.store) else without_secrets(os.environ)
    source = str(Path(__file__).parents[1])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, "-m", "crawler.spider"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**environment, "PYTHONPATH": path},
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _last_words(log_path: Path, said: int) -> str:
    """What the child wrote last, beyond what stood in its log before."""
    lines = log_path.read_bytes()[said:].decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""

"""How fast this machine is: tried once for every machine and set of versions, and kept in the cache folder.

What is tried is a little of the real work: Ray and a training worker are started, small models take
a few steps in it (pipeline.training.measure), and a text is parsed on one CPU.
"""

import contextlib
import datetime
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.errors import MoinhoError
from pipeline.store import Attempt, Storage
from pipeline.store.records import versions
from pipeline.store.storage import cache_folder

BUSY, TOO_BUSY = 0.3, 1.0
"""Processes for each CPU, from which on rates are said to be too slow, and are not kept."""
TOO_SPREAD = 1.5
"""How many times as long the same work on text may mostly take before rates are not kept."""
NOTICED_SPREAD = 1.05
"""Below that, it is not worth a word."""
MEASURE_SECONDS = 90.0
"""After which measuring is given up: an idle machine takes a third of it."""
LOOKS = 20
"""At what runs, in a second."""
MEASURED = "measured.json"
TEXT_REPEATS, TEXT_LIMIT_SECONDS = 3, 8.0
WORD = re.compile(r"\w+")


class Calibration(BaseModel):
    """What was measured, in seconds and bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: dict[str, Any]
    """What it holds for: processor, CPUs, memory, GPUs, versions."""
    made: str
    """UTC, ISO 8601."""
    load: float
    """Processes for each CPU that ran or waited before it began."""
    spread: float = 1.0
    """How many times as long the same work on text mostly took as it did at best."""
    text_seconds: float
    """Of the fixed work on text (`text_work`) on one CPU."""
    device: str
    """What trainings compute on: cpu or cuda."""
    seconds: dict[str, float]
    """Of each quantity of pipeline.models.cost."""
    starts: dict[str, float]
    """Of Ray, of a training worker, and of what pretraining and fine-tuning import."""
    memory_bytes: dict[str, int]
    """Of a training worker before it has a model."""

    @property
    def busy(self) -> bool:
        """True if the machine had other work meanwhile."""
        return self.load > BUSY or self.spread > TOO_SPREAD

    @property
    def kept(self) -> bool:
        """Whether it is good enough for later plans."""
        return self.load <= TOO_BUSY and self.spread <= TOO_SPREAD

    def found(self) -> str:
        """What other work there was, in words."""
        longer = f", the same work mostly took {self.spread:.1f} times as long"
        slower = longer if self.spread > NOTICED_SPREAD else ""
        return f"{self.load:.1f} processes for each CPU{slower}"


def calibration(here: dict[str, Any], tell: Callable[[str], None], again: bool = False) -> Calibration | None:
    """The calibration of this machine (`here`): the one that was kept, or a new one that is kept from now on.

    One that was kept although the machine had some other work is made anew where it has none now.
    `tell` is told in words, as it goes on, of one that has to be made. One that other work on the
    machine spoilt is neither kept nor, if an earlier version kept it, used. None if it could not be made
    in MEASURE_SECONDS, failed, or was stopped by Ctrl-C.
    """
    path = kept_at(here)
    if not again and (kept := kept_calibration(here)) is not None and not (kept.busy and _is_idle(here)):
        return kept
    tell(
        "measuring how fast this machine is (half a minute if it is idle, "
        f"{MEASURE_SECONDS:.0f} s at most; once, kept for later plans; Ctrl-C goes on without)"
    )
    try:
        found = _calibrate(here, tell)
    except NotMeasuredError as error:
        tell(f"{error}; nothing was kept, and the plan has no times")
        return None
    except KeyboardInterrupt:
        tell("stopped; nothing was kept, and the plan has no times")
        return None
    if not found.kept:
        tell(
            f"the machine has other work ({found.found()}): "
            "what was measured serves this plan, and is not kept"
        )
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(found.model_dump_json(indent=2) + "\n")
    os.replace(part, path)
    return found


def kept_calibration(here: dict[str, Any]) -> Calibration | None:
    """The one that was kept, if other work did not spoil it."""
    try:
        found = Calibration.model_validate_json(kept_at(here).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return found if found.kept else None


def machine() -> dict[str, Any]:
    """What the speed hangs on."""
    return {
        **_processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
        "versions": versions(),
    }


def kept_at(here: dict[str, Any]) -> Path:
    """The file of the calibration that holds for this machine and these versions."""
    key = hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "calibration" / f"{key}.json"


def _processor() -> dict[str, str]:
    """Its name, and a hash of what it can do, which decides about the code that runs on it."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {"processor": platform.processor(), "features": ""}
    names = re.findall(r"^model name\s*:\s*(.*)$", told, re.M)
    features = sorted(
        {word for line in re.findall(r"^(?:flags|Features)\s*:(.*)$", told, re.M) for word in line.split()}
    )
    return {
        "processor": names[0] if names else platform.machine(),
        "features": hashlib.sha256(" ".join(features).encode()).hexdigest()[:16],
    }


def _gpus() -> list[str]:
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return told.stdout.split("\n")[:-1] if told.returncode == 0 else []


class NotMeasuredError(MoinhoError):
    """This machine's speed could not be measured for a plan, which then has no times."""

    remedy = "Plan again with --recalibrate when the machine has less to do."


def _calibrate(here: dict[str, Any], tell: Callable[[str], None]) -> Calibration:
    """Raises NotMeasuredError."""
    start = time.monotonic()
    load = _load(here)
    tell("  1 of 2: text on one CPU")
    text = _seconds_of_texts()
    tell("  2 of 2: starting Ray, and small models in a training worker")
    left = MEASURE_SECONDS - (time.monotonic() - start)
    found = _measured_apart([sys.executable, "-m", "flows.calibration"], left)
    text += _seconds_of_texts()
    spread = statistics.median(text) / min(text)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Calibration(machine=here, made=now, load=load, spread=spread, text_seconds=min(text), **found)


def _is_idle(here: dict[str, Any]) -> bool:
    return _load(here) <= BUSY


def _load(here: dict[str, Any]) -> float:
    """Processes and threads for each CPU that run or wait besides this one, on average over a second. The
    system's own load average still tells of work that ended a minute ago."""
    try:
        others = statistics.mean(_running() - 1 for _ in range(LOOKS))
    except (OSError, LookupError):  # not Linux
        others = os.getloadavg()[0]
    return others / float(here["cpus"])


def _running() -> int:
    """At this moment (procs_running of proc(5)), a twentieth of a second later."""
    time.sleep(1 / LOOKS)
    told = dict(line.split(maxsplit=1) for line in Path("/proc/stat").read_text().splitlines())
    return int(told["procs_running"])


def _measured_apart(command: list[str], seconds: float) -> dict[str, Any]:
    """What `command` leaves in the folder that it is given, within `seconds`.

    It is a process of its own, for nothing else can end Ray while it starts. Raises NotMeasuredError.
    """
    with tempfile.TemporaryDirectory(prefix="moinho-calibration-") as folder:
        process = subprocess.Popen(
            [*command, folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours alone
        )
        try:
            _, told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise NotMeasuredError(
                f"measuring was given up after {MEASURE_SECONDS:.0f} s: this machine has too much other work"
            ) from None
        finally:
            _end(process)
        if process.returncode != 0:
            last = next(iter(told.strip().splitlines()[-1:]), f"exit code {process.returncode}")
            raise NotMeasuredError(f"this machine's speed could not be measured: {last}")
        found: dict[str, Any] = json.loads((Path(folder) / MEASURED).read_bytes())
    return found


def _end(process: "subprocess.Popen[str]") -> None:
    """End it with Ray and all of Ray's workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid)
        for each in [*family.children(recursive=True), family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def _measure_into(folder: Path) -> None:
    """In the process of its own."""
    from pipeline.training.measure import measure

    compute = Compute(ComputeConfig(training_workers=1, training_restarts=0))
    try:
        found = measure(compute, Attempt(Storage(str(folder)), "calibration", "machine", "only"))
    except MoinhoError as error:
        sys.exit(str(error).partition("\n")[0])
    finally:
        compute.stop()
    (folder / MEASURED).write_text(json.dumps(found))


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def handle_data(self, data: str) -> None:
        self.counts.update(WORD.findall(data))


def _seconds_of_texts() -> list[float]:
    """Of the same work a few times, or once where the machine is too busy for more."""
    start, found = time.monotonic(), list[float]()
    while len(found) < TEXT_REPEATS and time.monotonic() - start < TEXT_LIMIT_SECONDS:
        found.append(_seconds_of_text())
    return found


def _seconds_of_text() -> float:
    """Of parsing, matching, counting and packing a page on one CPU, as the corpus's stages do."""
    items = (
        f"<li class='x{n % 7}'><a href='/{n}'>word{n % 997}</a> and some more text, {n}</li>"
        for n in range(20_000)
    )
    page = f"<html><body><ul>{''.join(items)}</ul></body></html>"
    start = time.perf_counter()
    parser = _Words()
    parser.feed(page)
    zlib.compress(page.encode(), 6)
    sorted(parser.counts.items(), key=lambda item: (-item[1], item[0]))
    return time.perf_counter() - start


if __name__ == "__main__":
    _measure_into(Path(sys.argv[1]))

"""Kills at random moments: run the small road, kill something, run again, and compare what came out.

A trial takes a copy of a store that an undisturbed run filled, discards one stage in it, runs the
flow (the road, or what makes an assistant of its chat model), kills one of its processes (or all) at a
random moment, and runs it to its end. Stage, moment, victim and signal follow from the seed and the
trial's number, so that a trial can be repeated.

    python -m tests.kills --kills 100 --seed 0
    python -m tests.kills --kills 20 --seed 0 --flow assistant
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from pipeline.store import Store
from pipeline.store.discard import discard
from pipeline.store.verify import made_from, verify
from tests.road import CONFIG, Run, command_of

ROAD_STAGES = (
    "site",
    "crawl",
    "extract",
    "clean",
    "hold-out",
    "vocabulary",
    "tokens",
    "card",
    "pretrain",
    "conversations",
    "finetune",
    "evaluate",
)
ALIGNING = ("answers", "preferences", "reward", "dpo", "grpo", "rloo", "ppo")
OTHER_BYTES = ("crawl", "evaluate", "assess", "compare")
"""Stages whose files are not promised to be equal: a crawl's archive carries dates, evaluations tell how
long answers took. What is made from these is discarded with them."""
EAGER = "compute.compile=false"
START_SECONDS = 4.0
"""From a run's start to its first stage at work: moments before that are tried too."""
END_SECONDS = 600.0


@dataclass(frozen=True)
class Flow:
    """What is run, and what it makes."""

    config: Path
    stages: tuple[str, ...]
    tried: tuple[str, ...]
    """Stages in which it is killed."""


ROAD = Flow(CONFIG, ROAD_STAGES, ROAD_STAGES)
ASSISTANT = Flow(
    CONFIG.with_name("assistant.toml"),
    (*ROAD_STAGES, *ALIGNING, "assess", "compare"),
    ("finetune", *ALIGNING, "assess", "compare"),
)
FLOWS = {"road": ROAD, "assistant": ASSISTANT}

Victim = Literal["driver", "worker", "spider", "sender", "tree"]
MARKS: dict[str, str] = {
    "worker": "ray::",
    "spider": "crawler.spider",
    "sender": "pipeline.tracking.sender",
}
"""What stands in the command line of a victim's process."""


@dataclass(frozen=True)
class Kill:
    """What is done to a run."""

    stage: str
    """Discarded beforehand, so that it is what the run makes."""
    victim: Victim
    signal: signal.Signals
    after_seconds: float


@dataclass(frozen=True)
class Outcome:
    kill: Kill
    hit: str
    """What was killed in the end: the driver, where no process of the victim's kind was there."""
    first_exit: int
    seconds: float
    faults: list[str]


def kill_of(seed: int, trial: int, seconds: dict[str, float], stages: tuple[str, ...] = ROAD.tried) -> Kill:
    """The trial's kill; `seconds` says how long each stage takes undisturbed."""
    chance = random.Random(f"{seed}-{trial}")
    stage = chance.choice(stages)
    victims: list[Victim] = ["driver", "worker", "sender", "tree"]
    if stage == "crawl":
        victims.append("spider")
    return Kill(
        stage,
        chance.choice(victims),
        chance.choice([signal.SIGKILL, signal.SIGTERM]),
        chance.uniform(0, START_SECONDS + seconds[stage]),
    )


def fill(store: Path, flow: Flow = ROAD) -> None:
    """The store that all others are compared with."""
    run = Run.start(store, EAGER, config=flow.config)
    assert run.wait(END_SECONDS) == 0, run.text()
    run.wait_for_family()


def stage_seconds(store: Path) -> dict[str, float]:
    return {record["stage"]: record["seconds"] for record in _records(store)}


def digests(store: Path) -> dict[str, str]:
    """Stage → the digest of what it made."""
    return {record["stage"]: record["digest"] for record in _records(store)}


def try_kill(undisturbed: Path, folder: Path, kill: Kill, flow: Flow = ROAD) -> Outcome:
    """Run, kill, run again; what is not as it should be comes back as faults, one line each."""
    start, store = time.monotonic(), folder / "store"
    shutil.copytree(undisturbed, store, symlinks=True)
    _discard(store, kill.stage)
    run = Run.start(store, EAGER, config=flow.config)
    time.sleep(kill.after_seconds)
    hit = _kill(run, kill)
    faults: list[str] = []
    first_exit = run.wait(END_SECONDS)
    if "Traceback (most recent call last)" in run.text():
        faults.append(f"the killed run shows a traceback: {run.text()[-500:]}")
    with contextlib.suppress(AssertionError):
        run.wait_for_family()
    faults += [f"left behind: {command_of(process)[:100]}" for process in run.family()]
    again = Run.start(store, EAGER, config=flow.config)
    if (code := again.wait(END_SECONDS)) != 0:
        faults.append(f"the run after the kill ended with {code}: {again.text()[-500:]}")
    else:
        faults += differences(undisturbed, store, flow)
    return Outcome(kill, hit, first_exit, time.monotonic() - start, faults)


def differences(undisturbed: Path, store: Path, flow: Flow = ROAD) -> Iterator[str]:
    """All in which a store differs from an undisturbed one that should not."""
    expected, found = digests(undisturbed), digests(store)
    for stage in flow.stages:
        if stage not in found:
            yield f"{stage}: not in the store"
        elif stage not in OTHER_BYTES and found[stage] != expected[stage]:
            yield f"{stage}: other bytes"
    made, wanted = (Counter(record["stage"] for record in _records(each)) for each in (store, undisturbed))
    if made != wanted:
        yield f"artifacts {dict(made)}, not {dict(wanted)}"
    pages = requested(store)
    if pages != requested(undisturbed):
        yield f"other pages: {len(pages)}, {[url for url, count in pages.items() if count > 1][:3]} twice"
    for fault in verify(Store(str(store))).faults:
        yield f"{fault.base}: {fault.what}"
    for status, count in mlflow_statuses(store).items():
        if status in ("RUNNING", "SCHEDULED"):
            yield f"MLflow: {count} runs are {status}"


def requested(store: Path) -> Counter[str]:
    """URLs of the pages in the crawl's archive, each as often as it stands there."""
    from warcio.archiveiterator import ArchiveIterator

    urls: Counter[str] = Counter()
    for path in store.glob("crawl/*/artifact.json"):
        record: dict[str, Any] = json.loads(path.read_text())
        for name, file in record["files"].items():
            if name.startswith("warc/"):
                with (path.parent / file["path"]).open("rb") as stream:
                    urls.update(
                        entry.rec_headers.get_header("WARC-Target-URI")
                        for entry in ArchiveIterator(stream)
                        if entry.rec_type == "response"
                    )
    return urls


def mlflow_statuses(store: Path) -> Counter[str]:
    """How many runs have which status, read from the database itself."""
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database:
        return Counter(status for (status,) in database.execute("select status from runs"))


def _discard(root: Path, stage: str) -> None:
    store = Store(str(root))
    records = {f"{record.stage}/{record.key}": record for record in store.records()}
    bases = [base for base, record in records.items() if record.stage == stage]
    assert bases, f"no {stage} in {root}"
    hanging = made_from(records, set(bases)) if stage in OTHER_BYTES else []
    for each in [*reversed(hanging), *bases]:
        discard(store, each)


def _kill(run: Run, kill: Kill) -> str:
    """Do it, to the driver where there is no process of the kind; what was hit, in words."""
    if run.process.poll() is not None:
        return "nothing: the run had ended"
    if kill.victim == "tree":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, kill.signal)
        return "tree"
    victims = [process for process in run.family() if MARKS.get(kill.victim, "\0") in command_of(process)]
    if not victims:
        run.process.send_signal(kill.signal)
        return "driver"
    victim = random.Random(kill.after_seconds).choice(sorted(victims, key=lambda process: process.pid))
    told = command_of(victim)
    with contextlib.suppress(psutil.NoSuchProcess):
        victim.send_signal(kill.signal)
    return f"{kill.victim} ({told[:40]})"


def _records(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in store.glob("*/*/artifact.json")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the small road at random moments.")
    parser.add_argument("--flow", choices=FLOWS, default="road", help="what is run")
    parser.add_argument("--kills", type=int, default=100, help="how many trials")
    parser.add_argument("--seed", type=int, default=0, help="what the trials follow from")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to repeat one")
    arguments = parser.parse_args()
    flow = FLOWS[arguments.flow]
    bad, hits = 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        undisturbed = Path(folder) / "undisturbed"
        fill(undisturbed, flow)
        seconds = stage_seconds(undisturbed)
        for trial in range(arguments.first, arguments.first + arguments.kills):
            kill = kill_of(arguments.seed, trial, seconds, flow.tried)
            here = Path(folder) / f"trial-{trial}"
            outcome = try_kill(undisturbed, here, kill, flow)
            bad += bool(outcome.faults)
            hits[f"{kill.stage}"] += 1
            print(
                f"{trial:4} {kill.stage:13} {kill.signal.name} after {kill.after_seconds:5.1f} s "
                f"hit {outcome.hit:45} exit {outcome.first_exit:4} {outcome.seconds:5.0f} s "
                f"{'; '.join(outcome.faults) or 'equal'}",
                flush=True,
            )
            if not outcome.faults:
                shutil.rmtree(here)
        print(f"{arguments.kills} kills, {bad} with faults; stages {dict(hits)}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

"""Seconds of a run whose every stage is in the store, against the limit of 8 s; and where they go."""

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import Pair, Result, cpu_seconds, note, wall_seconds
from tests.road import CONFIG, Run, moinho

LIMIT_SECONDS = 8.0
GIVEN_UP_SECONDS = 1800
"""A machine that is busy with other things is waited for."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, help="a finished store; without one a small one is made first")
    parser.add_argument("--config", type=Path, default=CONFIG, help="the configuration that filled it")


def run(given: argparse.Namespace) -> Result:
    """Whole runs by the clock, in turn with runs that note the time at their turning points. A ratio is
    8 s by the seconds of a whole run."""
    with _finished_store(given.store, given.config) as store:
        pairs, parts, cpu = [], [], []
        for _ in range(given.pairs):
            with wall_seconds() as took, cpu_seconds() as used:
                run = Run.start(store, config=given.config)
                if run.wait(GIVEN_UP_SECONDS) != 0:
                    raise RuntimeError(f"the run failed:\n{run.text()}")
            pairs.append(Pair(60 / took[0], 60 / LIMIT_SECONDS))
            cpu += used
            parts.append(_parts(store, given.config))
            note(f"{took[0]:.2f} s, of which {used[0]:.2f} s of CPU time")
    medians = {name: statistics.median(each[name] for each in parts) for name in parts[0]}
    _tell(medians)
    figures = {"seconds": [60 / pair.ours for pair in pairs], "cpu_seconds": cpu, "parts": medians}
    return Result("reuse", "reused runs per minute", 1.0, pairs, figures)


@contextlib.contextmanager
def _finished_store(given: Path | None, config: Path) -> Iterator[Path]:
    """The store that was given, or one that a first run fills. Raises RuntimeError if not all is there."""
    with tempfile.TemporaryDirectory(prefix="moinho-reuse-") as folder:
        store = given or Path(folder) / "store"
        if given is None:
            note(f"filling a store by {config}, which takes a minute or two")
            first = Run.start(store, config=config)
            if first.wait(GIVEN_UP_SECONDS) != 0:
                raise RuntimeError(f"the first run failed:\n{first.text()}")
        planned = json.loads(moinho("plan", str(config), "--json", store=store).stdout)["stages"]
        if missing := [stage["stage"] for stage in planned if not stage["in_store"]]:
            raise RuntimeError(f"{store} lacks what {config} asks for: {', '.join(missing)}")
        yield store


def _parts(store: Path, config: Path) -> dict[str, float]:
    """Seconds by part of one run, from the moment its process is asked for to the one when it has ended."""
    with tempfile.NamedTemporaryFile(suffix=".json") as told:
        command = [sys.executable, "-m", "tests.benchmarks.timed_run", told.name]
        start = time.time()
        subprocess.run(
            [*command, "run", str(config), "--store", str(store)], check=True, stdout=subprocess.DEVNULL
        )
        marks = {"asked": start, **json.load(told), "ended": time.time()}
    times = list(marks.items())
    return {name: at - before for (_, before), (name, at) in itertools.pairwise(times)}


def _tell(parts: dict[str, float]) -> None:
    table = Table("part", "seconds", title="where the time goes (medians)", title_justify="left")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds:.2f}")
    table.add_row("together", f"{sum(parts.values()):.2f}")
    Console().print(table)

"""Seconds of looking through a store of many artifacts (plan, ls, show, gc), against reading its records."""

import argparse
import contextlib
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.table import Table

from pipeline.store.discard import leftovers
from tests.benchmarks.filled_store import FillingStore, Shards, fill, settings_of
from tests.benchmarks.measure import Pair, Result, note, wall_seconds
from tests.calibration import keep_calibration
from tests.object_store import BUCKET, s3_server
from tests.road import CONFIG, MOINHO

ARTIFACTS, SHARDS = 10_000, 100
S3_ARTIFACTS, S3_SHARDS = 1_000, 10
"""Fewer on an object store: each of them has to be sent to it."""
FEWER = 10
"""A second store has so many times fewer artifacts, so that growth can be told; a third those of one run."""
SETTINGS = [word for setting in settings_of(0) for word in ("--set", setting)]
COMMANDS = {
    "plan": ["plan", str(CONFIG), *SETTINGS],
    "plan --snapshot": ["plan", str(CONFIG), *SETTINGS, "--snapshot", "2026-02-01"],
    "ls": ["ls"],
    "ls NAME": ["ls", "run-00000"],
    "show NAME": ["show", "run-00000/chat"],
    "gc --dry-run": ["gc", "--dry-run"],
}
GC = "gc"
"""Measured last and once, since it leaves nothing for a second time."""
BARE = "bare"
LEAST_GROWTH_SECONDS = 0.1
"""Of less than that nothing is told: it is lost in what starting takes now more and now less."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--artifacts", type=int, help=f"default: {ARTIFACTS:,}; with --s3 {S3_ARTIFACTS:,}")
    parser.add_argument(
        "--shards", type=int, help=f"of each artifact; default: {SHARDS}; with --s3 {S3_SHARDS}"
    )
    parser.add_argument("--s3", action="store_true", help="on an object store, which is started here")
    parser.add_argument("--folder", help="where the stores lie, 5 GB of them (default: temporary)")
    parser.add_argument(
        "--command", action="append", choices=[*COMMANDS, GC], help="measured beside ls (default: all)"
    )


def run(given: argparse.Namespace) -> Result:
    """Whole commands by the clock, on three stores in turn. A ratio is of artifacts per second: `moinho ls`
    against a process that lists the folders and reads all records as JSON, on the largest store."""
    artifacts = given.artifacts or (S3_ARTIFACTS if given.s3 else ARTIFACTS)
    sizes = (1, artifacts // FEWER, artifacts)
    with tempfile.TemporaryDirectory(prefix="moinho-store-", dir=given.folder) as name:
        folder = Path(name)
        shards = Shards(given.shards or (S3_SHARDS if given.s3 else SHARDS), folder / "pool")
        with _surroundings(folder, given.s3) as home:
            stores = [fill(f"{home}/store-{number}", size, shards) for number, size in enumerate(sizes)]
            chosen = ["ls", *(given.command or [*COMMANDS, GC])]
            seconds, pairs = _turns(stores, [name for name in COMMANDS if name in chosen], given.pairs)
            if GC in chosen:
                seconds[GC] = [[_collected(store)] for store in stores]
        counts = [store.artifacts for store in stores]
        medians = {name: [statistics.median(each) for each in taken] for name, taken in seconds.items()}
        exponents = {name: exponent_of(counts, each) for name, each in medians.items()}
        _tell(counts, medians, exponents)
        note("removing the stores, which may take as long as all that was measured")
    figures = {
        "artifacts": counts,
        "shards": [store.artifacts * shards.count for store in stores],
        "seconds": medians,
        "exponents": exponents,
    }
    return Result("store", "artifacts per second", 0.25, pairs, figures)


@contextlib.contextmanager
def _surroundings(folder: Path, on_s3: bool) -> Iterator[str]:
    """What stores lie below: a folder, or an S3 server's bucket that commands find. No plan has to measure
    this machine first."""
    (folder / "s3").mkdir()
    with contextlib.ExitStack() as stack:
        environment = {"MOINHO_CACHE": str(folder / "cache"), "COLUMNS": "120"}
        if on_s3:
            environment |= stack.enter_context(s3_server(folder / "s3"))
        stack.enter_context(mock.patch.dict(os.environ, environment))
        keep_calibration()
        yield f"s3://{BUCKET}" if on_s3 else str(folder)


def _turns(
    stores: Sequence[FillingStore], names: Sequence[str], turns: int
) -> tuple[dict[str, list[list[float]]], list[Pair]]:
    """Seconds of each command by store and turn; and what listing the largest store took, beside the bare."""
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in stores] for name in [*names, BARE]}
    pairs = []
    for turn in range(turns):
        for number, store in enumerate(stores):
            for name, taken in seconds.items():
                taken[number].append(_bare(store) if name == BARE else _moinho(COMMANDS[name], store))
        count = stores[-1].artifacts
        pairs.append(Pair(count / seconds["ls"][-1][-1], count / seconds[BARE][-1][-1]))
        note(
            f"{turn + 1}/{turns}: "
            + ", ".join(f"{name} {each[-1][-1]:.1f} s" for name, each in seconds.items())
        )
    return seconds, pairs


def _moinho(words: Sequence[str], store: FillingStore) -> float:
    """Seconds of the command."""
    with wall_seconds() as took:
        command = [str(MOINHO), *words, "--store", store.storage.root]
        subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return took[0]


def _bare(store: FillingStore) -> float:
    """Raises RuntimeError if it found other artifacts than there are."""
    with wall_seconds() as took:
        command = [sys.executable, "-m", "tests.benchmarks.bare_store", store.storage.root]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    if int(told) != store.artifacts:
        raise RuntimeError(f"{told.strip()} records were read of {store.artifacts}")
    return took[0]


def _collected(store: FillingStore) -> float:
    """Raises RuntimeError if something is left to collect. SeaweedFS shows a folder for a while after the
    last file in it is gone."""
    seconds = _moinho(["gc", "--yes"], store)
    left = leftovers(store)
    pieces = [piece for piece in (*left.artifacts, *left.attempts, *left.runs, *left.names) if piece.bytes]
    if pieces:
        raise RuntimeError(f"gc has left {len(pieces)} pieces, the first of them {pieces[0]}")
    return seconds


def exponent_of(counts: Sequence[int], seconds: Sequence[float]) -> float | None:
    """How the seconds that come on top of those of a single run's store grow with the artifacts: 1 is in
    proportion, 2 as their square. None if there are too few to tell."""
    (one, fewer, many), (start, less, more) = counts, seconds
    if fewer == one or less - start < LEAST_GROWTH_SECONDS or more <= less:
        return None
    return math.log((more - start) / (less - start)) / math.log((many - one) / (fewer - one))


def _tell(counts: Sequence[int], seconds: dict[str, list[float]], exponents: dict[str, float | None]) -> None:
    table = Table("command", title="seconds (medians), by artifacts", title_justify="left")
    for count in counts:
        table.add_column(f"{count:,}", justify="right")
    table.add_column("ms an artifact", justify="right")
    table.add_column("exponent", justify="right")
    for name, (start, *rest) in seconds.items():
        each = (rest[-1] - start) / (counts[-1] - counts[0]) * 1e3
        exponent = exponents[name]
        told = "-" if exponent is None else f"{exponent:.2f}"
        table.add_row(name, *(f"{taken:.2f}" for taken in (start, *rest)), f"{each:.3f}", told)
    Console().print(table)

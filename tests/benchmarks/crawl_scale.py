"""Pages per second of a crawl by two processes, against the same crawl by one, and what bounds both."""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.measure import Result, in_turn
from tests.benchmarks.served_hosts import front_of, name_of
from tests.crawler.kills import SPIDER
from tests.crawler.testweb.server import Web
from tests.crawler.testweb.stage import stage_for
from tests.road import Run

HOSTS, PAGES, LINKS = 100, 80, 60
DELAY_SECONDS = 0.01
"""So many hosts with so short a delay allow more pages a second than a processor reads."""
PROCESSES = 2
SAMPLE_SECONDS = 0.2
BUSY = 0.9
"""From this share of a processor's time on it is what bounds."""
LIMIT_SECONDS = 900.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--pages", type=int, default=PAGES, help="of each host")
    parser.add_argument("--links", type=int, default=LINKS, help="of each page")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="against one")


def run(given: argparse.Namespace) -> Result:
    """Wall time from the first page that the server is asked for to the last, rounds' borders included."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder, served(given) as server:
        crawls = Crawls(Path(folder), server, given.hosts, given.pages)
        pairs = in_turn(lambda: crawls.by(given.processes), lambda: crawls.by(1), given.pairs)
        names = ("hosts", "pages", "links", "processes")
        figures = {**{name: getattr(given, name) for name in names}, "cpus": os.cpu_count()}
        return Result("crawl-scale", "pages per second", 1.2, pairs, {**figures, "by": crawls.figures})


@contextlib.contextmanager
def served(given: argparse.Namespace) -> Iterator["subprocess.Popen[str]"]:
    """The server's process."""
    counts = [str(given.hosts), str(given.pages), str(given.links)]
    command = [sys.executable, "-m", "tests.benchmarks.served_hosts", *counts]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server


@dataclass
class Crawls:
    """Crawls of the same hosts by different numbers of processes."""

    folder: Path
    server: "subprocess.Popen[str]"
    hosts: int
    pages: int
    figures: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Number of processes → what each of its crawls used, and what bounded it."""

    def __post_init__(self) -> None:
        assert self.server.stdout is not None
        place = f"127.0.0.1:{self.server.stdout.readline().strip()}"
        self.web = Web({}, places={name_of(host): place for host in range(self.hosts)})

    def by(self, processes: int) -> float:
        """Pages per second."""
        seeds = [front_of(host) for host in range(self.hosts)]
        limits = {"seeds": seeds, "delay_seconds": DELAY_SECONDS, "max_pages": 10 * self.hosts * self.pages}
        before = psutil.Process(self.server.pid).cpu_times()
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            stage_for(self.web, Path(folder), {"crawl_processes": processes}, **limits) as stage,
        ):
            run = stage.start()
            with spiders_cpu(run) as used:
                if run.wait(LIMIT_SECONDS):
                    raise RuntimeError(run.text()[-2000:])
            stored = len({each.url for each in stage.crawled().stored})
        told = self._told()
        if not stored == told["pages"] == self.hosts * self.pages:
            whole = self.hosts * self.pages
            raise RuntimeError(f"{stored} pages were stored and {told['pages']} asked for, of {whole}")
        after = psutil.Process(self.server.pid).cpu_times()
        served = sum(after[:2]) - sum(before[:2])
        self._note(processes, told["seconds"], sum(used.values()), served)
        return stored / float(told["seconds"])

    def _told(self) -> dict[str, Any]:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        told: dict[str, Any] = json.loads(self.server.stdout.readline())
        return told

    def _note(self, processes: int, seconds: float, spiders: float, server: float) -> None:
        cpus = os.cpu_count() or 1
        if spiders >= BUSY * processes * seconds:
            bound = "the crawler's processes, each of which has a processor's whole time"
        elif spiders + server >= BUSY * cpus * seconds:
            bound = "the machine's processors, which crawler and server share"
        else:
            bound = "waiting: beginnings and ends of rounds, other users of the machine"
        self.figures.setdefault(processes, []).append(
            {
                "pages_per_cpu_second": self.hosts * self.pages / spiders,
                "crawler_cpus": spiders / seconds,
                "server_cpus": server / seconds,
                "bound_by": bound,
            }
        )


@contextlib.contextmanager
def spiders_cpu(run: Run) -> Iterator[dict[int, float]]:
    """Process id → CPU seconds of the crawler's child processes, which end before they could be asked."""
    used: dict[int, float] = {}
    ending = threading.Event()

    def sample() -> None:
        while not ending.wait(SAMPLE_SECONDS):
            for process in run.family():
                with contextlib.suppress(psutil.Error):
                    if SPIDER in process.cmdline():
                        used[process.pid] = sum(process.cpu_times()[:2])

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield used
    finally:
        ending.set()
        thread.join()

"""Pages per second of honest hosts that are crawled together with hostile ones, against without them."""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.crawl_scale import spiders_cpu
from tests.benchmarks.measure import Result, in_turn
from tests.crawler.testweb.good import Size
from tests.crawler.testweb.judge import pages_per_second
from tests.crawler.testweb.server import Web, serve
from tests.crawler.testweb.stage import stage_for
from tests.crawler.testweb.world import good_web, whole_web
from tests.crawler.whole import CRAWL, LIMIT_SECONDS, SEED

DOMAINS = 100
"""Of honest hosts, two each; of hostile and ruled ones there are half as many."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--domains", type=int, default=DOMAINS, help="of honest hosts, two hosts each")
    parser.add_argument("--processes", type=int, default=1)


@dataclass(frozen=True)
class Speed:
    """How one crawl went."""

    pages_per_second: float
    """Of honest hosts, as the server saw it: from the first request to one to the last page of one."""
    requests_per_cpu_second: float
    """To all hosts, by the CPU time of the crawler's child processes, their starts included."""
    rounds: int


def run(given: argparse.Namespace) -> Result:
    """Wall time is what honest hosts feel; CPU time says what the crawler did, whatever else went on."""
    size = Size(domains=given.domains)
    found: dict[str, list[Speed]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:

        def speed(which: str, web: Callable[[Path], Web]) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                crawled = _crawl(web(Path(name) / "certificates"), Path(name), given.processes)
            found[which].append(crawled)
            return crawled.pages_per_second

        pairs = in_turn(
            lambda: speed("with", lambda certificates: whole_web(SEED, size, certificates)),
            lambda: speed("without", lambda certificates: good_web(SEED, size)),
            given.pairs,
        )
    cpu = [
        ours.requests_per_cpu_second / reference.requests_per_cpu_second
        for ours, reference in zip(found["with"], found["without"], strict=True)
    ]
    figures = {
        "domains": given.domains,
        "processes": given.processes,
        "cpu_ratio": statistics.median(cpu),
        **{f"{which}_hostile": [asdict(each) for each in crawls] for which, crawls in found.items()},
    }
    return Result("hostile", "honest hosts' pages per second", 0.8, pairs, figures)


def _crawl(web: Web, folder: Path, processes: int) -> Speed:
    with serve(web), stage_for(web, folder, {"crawl_processes": processes}, **CRAWL) as stage:
        run = stage.start()
        with spiders_cpu(run) as used:
            if run.wait(LIMIT_SECONDS):
                raise RuntimeError(run.text()[-2000:])
    seconds = sum(used.values())
    return Speed(pages_per_second(web.hosts, web.log), len(web.log) / seconds, len(used) // processes)

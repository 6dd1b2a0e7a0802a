"""Pages per second of honest hosts that are crawled together with hostile ones, against without them."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

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


def run(given: argparse.Namespace) -> Result:
    """As the server saw it: from the first request to an honest host to the last page of one."""
    size = Size(domains=given.domains)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:

        def speed(web: Callable[[Path], Web]) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                return _pages_per_second(web(Path(name) / "certificates"), Path(name), given.processes)

        pairs = in_turn(
            lambda: speed(lambda certificates: whole_web(SEED, size, certificates)),
            lambda: speed(lambda certificates: good_web(SEED, size)),
            given.pairs,
        )
    figures = {"domains": given.domains, "processes": given.processes}
    return Result("hostile", "honest hosts' pages per second", 0.8, pairs, figures)


def _pages_per_second(web: Web, folder: Path, processes: int) -> float:
    with serve(web), stage_for(web, folder, {"crawl_processes": processes}, **CRAWL) as stage:
        stage.finish(LIMIT_SECONDS)
    return pages_per_second(web.hosts, web.log)

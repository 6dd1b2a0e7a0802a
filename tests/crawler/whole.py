"""The broad crawl over the whole test web, to its end, held against the web's log and its truth.

python -m tests.crawler.whole --processes 2 --domains 150
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.crawler.testweb.broken import SLOW, SLOW_SECONDS
from tests.crawler.testweb.exchange import Request
from tests.crawler.testweb.good import Size
from tests.crawler.testweb.hosts import Host
from tests.crawler.testweb.judge import judge, pages_per_second, too_close
from tests.crawler.testweb.server import serve
from tests.crawler.testweb.stage import stage_for
from tests.crawler.testweb.world import whole_web

SEED = 1
DOMAINS = 150
"""With two hosts each."""
DELAY_SECONDS = 0.2
THROTTLED_SECONDS = 1.8 * SLOW_SECONDS
"""Between two requests to the slow host, at least: its answer, then a delay that is nearly as long."""
CRAWL = {"delay_seconds": DELAY_SECONDS, "timeout_seconds": 10.0}
"""On a busy machine the web itself may take more than 5 seconds to take a request in."""
LIMIT_SECONDS = 1_500.0


@dataclass(frozen=True)
class Whole:
    """How a crawl of the whole web went."""

    faults: list[str]
    """A line each; none if all was as it should be."""
    pages: frozenset[str]
    """URLs that the crawl log calls pages."""
    outcomes: Mapping[str, Counter[str]]
    """Kind of host → outcomes in the log."""
    seconds: float
    good_pages_per_second: float
    requests: int


def crawl_whole(folder: Path, compute: Mapping[str, Any], domains: int = DOMAINS, **crawl: Any) -> Whole:
    """Every host of the web a seed of its own; `compute` and `crawl` are fields of their configurations."""
    web = whole_web(SEED, Size(domains=domains), folder / "certificates")
    start = time.monotonic()
    with serve(web), stage_for(web, folder / "crawl", compute, **{**CRAWL, **crawl}) as stage:
        crawled = stage.finish(LIMIT_SECONDS)
        seconds = time.monotonic() - start
    kinds = {name: host.kind for name, host in web.hosts.items()}
    counted: dict[str, Counter[str]] = {}
    for line in crawled.logged:
        kind = kinds.get(line.url.partition("://")[2].partition("/")[0], "no host of this web")
        counted.setdefault(kind, Counter())[line.outcome] += 1
    return Whole(
        [*judge(web.hosts, web.log, crawled, delay_seconds=DELAY_SECONDS), *hurried(web.hosts, web.log)],
        frozenset(line.url for line in crawled.logged if line.outcome == "page"),
        counted,
        seconds,
        pages_per_second(web.hosts, web.log),
        len(web.log),
    )


def hurried(hosts: Mapping[str, Host], requests: list[Request]) -> list[str]:
    """Requests to the slow host that its slowness should have held back."""
    name = f"{SLOW}.example"
    slow = {name: replace(hosts[name], delay_seconds=THROTTLED_SECONDS)}
    return list(too_close(slow, [each for each in requests if each.host == name], 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Crawl the whole test web and judge the crawl.")
    parser.add_argument("--processes", type=int, nargs="+", help="partitions (compute.crawl_processes)")
    parser.add_argument("--domains", type=int, default=DOMAINS, help="of good hosts, two hosts each")
    parser.add_argument("--faults", type=int, default=60, help="how many are told")
    given = parser.parse_args()
    found = []
    for count in given.processes or [None]:
        compute = {} if count is None else {"crawl_processes": count}
        with tempfile.TemporaryDirectory(prefix="whole") as folder:
            found.append(crawl_whole(Path(folder), compute, given.domains))
        _tell(count, found[-1], given.faults)
    for count, whole in zip(given.processes or [], found, strict=False):
        for url in sorted(whole.pages ^ found[0].pages)[: given.faults]:
            print(f"{url}: a page with {count if url in whole.pages else given.processes[0]} processes alone")
    sys.exit(1 if any(whole.faults or whole.pages != found[0].pages for whole in found) else 0)


def _tell(count: int | None, whole: Whole, faults: int) -> None:
    print(
        f"{count or 'default'} processes: {whole.seconds:.0f} s, {whole.requests} requests, "
        f"{len(whole.pages)} pages, good hosts' {whole.good_pages_per_second:.1f} a second, "
        f"{len(whole.faults)} faults"
    )
    for kind, counted in sorted(whole.outcomes.items()):
        print(f"    {kind:24} {', '.join(f'{name} {many}' for name, many in counted.most_common())}")
    for fault in whole.faults[:faults]:
        print(f"  {fault[:300]}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

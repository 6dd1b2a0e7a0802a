"""The crawl that could stand in place of archives: as many pages, fetched politely."""

from dataclasses import dataclass

from crawler.crawl import WEB_PAGE_BYTES
from crawler.window import HOSTS
from flows.rates import TEXT
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.pages import PACKED
from tests.benchmarks.paper.assumed import Given

PROCESSES = (16, 64, 256)
"""compute.crawl_processes; 256 is the most that it takes."""
DELAY_SECONDS, PAGES_PER_HOST, REQUESTS = 5.0, 2_000, 256
"""Settings of configs/pt-1b-8gpu.toml."""


@dataclass(frozen=True)
class Crawl:
    """So many pages by so many processes."""

    pages: float
    processes: int
    given: Given

    @property
    def hosts(self) -> float:
        """That it takes at least, none giving more than PAGES_PER_HOST."""
        return self.pages / PAGES_PER_HOST

    @property
    def bounds(self) -> dict[str, float]:
        """What it cannot be quicker than, and why, in seconds."""
        window = self.processes * min(HOSTS, self.hosts / self.processes)
        return {
            "processors": self.pages * TEXT["crawl"].each["pages"] / self.processes,
            "politeness": self.pages * DELAY_SECONDS / window,
            "answers": self.pages * self.given.guessed.answer_seconds / (self.processes * REQUESTS),
        }

    @property
    def seconds(self) -> float:
        """As if all hosts had equally many pages; the last ones of a real crawl take longer."""
        return max(self.bounds.values())

    @property
    def bound_by(self) -> str:
        return max(self.bounds, key=self.bounds.__getitem__)

    @property
    def dollars(self) -> float:
        return self.seconds / 3600 * self.processes * self.given.prices.core_hour

    @property
    def network_bytes(self) -> float:
        """As servers pack them."""
        return self.pages * WEB_PAGE_BYTES / PACKED

    @property
    def frontier_bytes(self) -> float:
        """Of each process' SQLite file at the end."""
        urls = self.pages * self.given.guessed.new_urls_of_page
        return urls * self.given.measured.frontier_url_bytes / self.processes

    @property
    def published_share(self) -> float:
        """Of a round, what hashing and publishing the frontier adds at the end (crawler/turns.py)."""
        store, hashed = (
            self.given.guessed.store_node_bytes_per_second,
            self.given.measured.sha256_bytes_per_second,
        )
        return self.frontier_bytes * (2 / store + 1 / hashed) / ComputeConfig().crawl_round_seconds

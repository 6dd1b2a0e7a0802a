"""What a partition's task tells the child process, and what that tells when its round has ended."""

from dataclasses import dataclass, field

FRONTIER = "frontier.sqlite"
"""The frontier's file in the partition's folder."""
OUTGOING = "outgoing"
"""Folder of the files with URLs for other partitions: `<target>.jsonl`."""


@dataclass(frozen=True)
class Options:
    """All that the child process needs to know for a round."""

    folder: str
    """Scratch folder of this partition: the frontier, and `warc/` with the archive."""
    seeds: list[str]
    allowed_hosts: list[str]
    """Hosts whose pages are wanted, as far as that is known."""
    user_agent: str
    max_pages: int
    """Pages of this partition, those of earlier rounds included."""
    max_depth: int | None
    max_seconds: float | None
    """Seconds of crawling in all rounds."""
    delay_seconds: float
    requests_per_host: int
    requests: int
    timeout_seconds: float
    max_bytes: int
    content_types: list[str]
    hosts: dict[str, str]
    private_hosts: list[str]
    partition: int = 0
    partitions: int = 1
    round: int = 0
    round_seconds: float | None = None
    restored: bool = False
    """The frontier came from the store: others may have crawled since it was put there."""
    settled: bool = False
    """`allowed_hosts` is all there will be: it is configured, or all seeds have led somewhere."""
    incoming: list[str] = field(default_factory=list)
    """Files with URLs that other partitions found in the round before."""
    max_delay_seconds: float = 0.0
    """Up to this a slow host is given as much time between requests as its answers take."""
    per_ip: bool = False
    pages_per_host: int | None = None
    bytes_per_host: int | None = None
    allow: list[str] = field(default_factory=list)
    deny: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    sitemaps: bool = True
    """Read those that robots.txt names."""
    opt_outs: dict[str, bool] = field(default_factory=dict)
    """Which are honoured, where that is not the default."""
    store: str = ""
    """Where the earlier crawl is, if there is one, and what is to be left out; empty: neither."""
    earlier: str | None = None
    """Key of the crawl that this one starts from, as of an earlier date."""
    snapshot: str | None = None
    """The date that this crawl stands for (YYYY-MM-DD): by it is told which pages are due."""
    year: int | None = None
    """The crawl's own; dates far beyond it are traps. Default: this one."""

    crawl: str = "moinho"
    """How the names of this crawl's WARC files begin."""

    @property
    def prefix(self) -> str:
        """How the names of this round's WARC files begin."""
        return f"{self.crawl}-{self.partition:02d}-{self.round:05d}"


@dataclass(frozen=True)
class Ended:
    """Where a partition stands at a round's end."""

    pages: int
    tried: int
    left: int
    seconds: float
    """Of crawling, in all rounds."""
    has_work: bool
    """Something waits here that may be fetched in a later round."""
    open_seeds: bool
    """A seed has led nowhere yet."""
    allowed: list[str]
    """Hosts whose pages are wanted, as far as this partition knows; empty once all partitions know."""
    settled: bool
    """It is known whose pages are wanted."""
    handed: dict[str, int]
    """Partition → URLs that are handed to it and were not before."""
    seeds: dict[str, int]
    """The same of all that are seeds, or where seeds lead to."""
    outcomes: dict[str, int]

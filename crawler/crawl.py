"""The crawl: URLs → WARC files and a crawl log. Partitions, their child processes, their rounds."""

import contextlib
import dataclasses
import importlib.metadata
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pydantic import Field

from crawler.history import History, Limits
from crawler.no_pages import no_page_error
from crawler.options import Options
from crawler.recrawl import earlier_crawl
from crawler.rounds import crawl_in_rounds, forget_rounds
from crawler.scope import Patterns
from crawler.seed_places import check_addresses, check_contact
from crawler.seeds import Seeds, digest_of, read_seeds
from crawler.settings import (
    Contact,
    ContentTypes,
    Hosts,
    Languages,
    ReadsSitemaps,
    Snapshot,
    UserAgent,
)
from crawler.telling import telling
from crawler.turns import Logged, log_of, write_log
from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.opt_outs import Honoured
from pipeline.corpus.pages import EARLIER, Pages
from pipeline.errors import InputError
from pipeline.shards import any_lost, files_of
from pipeline.store import Attempt, File, Made, Record, Store, Work

if TYPE_CHECKING:
    from crawler.site import Site

OWN_SITE_REQUESTS = 8
"""Requests at once to the site that moinho serves to itself, which needs no politeness."""
KEY_CHARACTERS = 8
"""Of a crawl's key, so many are in the names of its WARC files."""
WEB_PAGE_BYTES = 60_000
"""HTML of a page, as a plan reckons; four sites of documentation had between 51,000 and 103,000."""


class CrawlConfig(Config):
    """Which pages are fetched, and how politely. Every field is part of the key."""

    not_settings = MappingProxyType(
        {"robots": "robots.txt is always obeyed, and no setting changes that; leave it out"}
    )

    seeds: Seeds = ()
    """URLs to begin with; one of a sitemap stands for the pages that it lists. Default: those of the site
    that moinho renders itself."""
    seeds_file: str | None = None
    """A text file with more of them, one a line, comments begin with `#`; also packed (.gz). What is in it is
    part of the key, not where it lies."""
    snapshot: Snapshot = None
    """The web changes: a later date makes a new crawl of the same seeds, which starts from the earlier one
    (YYYY-MM-DD)."""
    allowed_hosts: Hosts = ()
    """Hosts whose pages are fetched. Default: those of the seeds, and where the seeds redirect to."""
    allow: Patterns = ()
    """Patterns (`host/path`, with `*`; see crawler/scope.py) of which a URL must match one. Default: all."""
    deny: Patterns = ()
    """Patterns of URLs that are not fetched, whatever `allow` says."""
    languages: Languages = ()
    """Languages wanted, such as `pt`: links on pages in them come first. Default: all alike."""
    sitemaps: ReadsSitemaps = True
    """Read the sitemaps that a host's robots.txt names."""
    opt_outs: Honoured = Honoured()
    """Which of a page's own statements against its use are obeyed."""
    max_pages: int = Field(default=10_000, ge=1)
    """Pages stored at most."""
    max_depth: int | None = Field(default=None, ge=0)
    """Links followed from a seed at most. Default: no limit."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Seconds of crawling at most, interruptions not counted. Default: no limit."""
    user_agent: UserAgent | None = None
    """Default: moinho and its version."""
    contact: Contact = ""
    """URL or e-mail address appended to the user agent, for those whose pages are fetched."""
    delay_seconds: float = Field(default=1.0, ge=0)
    """Between two requests to a host, at least; robots.txt may ask for more. Moinho's own site: none."""
    max_delay_seconds: float = Field(default=60.0, ge=0)
    """A slow host is given as much time between two requests as its answers take, up to this."""
    per_ip: bool = False
    """Count hosts of one address as one, from their first requests on: for delays and for requests at once.
    That holds within a process: with compute.crawl_processes = 1 for the whole crawl."""
    pages_per_host: int | None = Field(default=None, ge=1)
    """Pages stored of a host at most. Default: no limit."""
    bytes_per_host: int | None = Field(default=None, ge=1)
    """Bytes read of a host at most, after decompression. Default: no limit."""
    requests_per_host: int = Field(default=1, ge=1)
    """Requests to a host at once. Moinho's own site: 8."""
    requests: int = Field(default=32, ge=1)
    """Requests at once, over all hosts."""
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For one page, from connecting to its last byte."""
    max_bytes: int = Field(default=16 << 20, ge=1)
    """Of one page, after decompression."""
    content_types: ContentTypes = ("text/html", "application/xhtml+xml")
    """What is stored as a page; everything else is counted."""
    private_hosts: Hosts = ()
    """Host names or addresses that may be private or loopback addresses. All others must be public."""

    def derived(self) -> Mapping[str, Any]:
        return {"user_agent": f"moinho/{importlib.metadata.version('moinho')}"}

    def identity(self) -> dict[str, Any]:
        """Without where the file of seeds lies: its content is identity enough."""
        return {name: value for name, value in super().identity().items() if name != "seeds_file"}

    @property
    def names_seeds(self) -> bool:
        return bool(self.seeds) or self.seeds_file is not None

    def all_seeds(self) -> list[str]:
        """Those that are named here, then those of the file, each once. Raises SeedsFileError."""
        more = read_seeds(self.seeds_file) if self.seeds_file is not None else ()
        return list(dict.fromkeys([*self.seeds, *more]))

    def full_user_agent(self) -> str:
        agent: str = self.resolved()["user_agent"]
        return f"{agent} (+{self.contact})" if self.contact else agent


class NoSeedsError(InputError):
    """The configuration names no page to begin with, and there is no site of moinho's own."""

    remedy = "Set crawl.seeds or crawl.seeds_file to the pages to begin with."


class Ahead(Protocol):
    """Works on what a crawl has archived while it goes on."""

    def offer(
        self, crawl: Attempt, warcs: Mapping[str, File], log_lines: Iterable[Mapping[str, Any]]
    ) -> None:
        """Comes after each round with all WARC files until then and the log of all URLs; the next round waits
        until it comes back."""

    def close(self) -> None:
        """Comes after the last round, which waits likewise."""


def crawl(
    store: Store,
    site: "Site | None",
    config: CrawlConfig,
    compute: Compute,
    ahead: Callable[[Pages], Ahead] | None = None,
) -> Pages:
    """Fetch the seeds and all that they lead to within the limits. Pages obey robots.txt.

    `site`, if given, is served on the loopback address meanwhile, under its own host name.
    With a snapshot date it starts from the latest earlier crawl of the same configuration: what is due is
    asked for under conditions, what did not change is taken over.
    Interrupted, it continues where the last page was stored. `ahead`, given what is made, says who works on
    it meanwhile. Raises NoSeedsError, SeedsFileError,
    PrivateSeedError, NoContactError, UnreachableError, ForbiddenError or NoPagesError.
    """
    if not config.names_seeds and site is None:
        raise NoSeedsError(
            'crawl.seeds is empty; name a page to begin with, such as ["https://example.org/"]'
        )
    seeds = config.all_seeds()
    check_addresses(seeds, {*config.private_hosts, *compute.config.hosts})
    check_contact(config.full_user_agent(), seeds, config.private_hosts, compute.config.hosts)
    content = {"seeds": digest_of(seeds)} if config.seeds_file is not None else {}
    earlier = _earlier(store, site, config, content)
    return store.make(
        Pages,
        config,
        {"site": site, EARLIER: earlier},
        partial(_build, site=site, earlier=earlier, seeds=seeds, config=config, compute=compute, ahead=ahead),
        content=content,
        work=lambda: _work(site, config, seeds),
    )


def _earlier(
    store: Store, site: "Site | None", config: CrawlConfig, content: Mapping[str, str]
) -> Pages | None:
    """The crawl that this one starts from, if it is a recrawl."""
    if config.snapshot is None:
        return None
    records = store.records(Pages.stage)
    usable = [each for each in records if each.revision == Pages.revision and _has_frontier(each)]
    inputs = {"site": site.key} if site is not None else {}
    key = earlier_crawl(usable, Pages.stage, config.identity(), inputs, content)
    return Pages(store.storage, key) if key is not None else None


def _has_frontier(record: Record) -> bool:
    return any(name.startswith("frontier/") for name in record.files)


def _work(site: "Site | None", config: CrawlConfig, seeds: Sequence[str]) -> Work:
    """An own site's pages and the list of them; of the web as many pages as the limits allow. Where `allow`
    names hosts by a pattern, as many are found as `pages_per_host` makes necessary."""
    if site is not None and not config.names_seeds:
        whole, size = site.counts()["pages"] + 1, site.page_bytes()
        pages = min(config.max_pages, whole)
        return {"pages": pages, "bytes": size * pages / whole}
    pages, hosts = config.max_pages, len(config.allowed_hosts or {urlsplit(seed).hostname for seed in seeds})
    if config.pages_per_host is not None:
        if any("*" in pattern.partition("/")[0] for pattern in config.allow):
            hosts = max(hosts, -(-pages // config.pages_per_host))
        else:
            pages = min(pages, hosts * config.pages_per_host)
    return {
        "pages": pages,
        "hosts": hosts,
        "bytes": pages * WEB_PAGE_BYTES,
        "delay_seconds": pages * config.delay_seconds / hosts,
    }


def _build(
    attempt: Attempt,
    site: "Site | None",
    earlier: Pages | None,
    seeds: list[str],
    config: CrawlConfig,
    compute: Compute,
    ahead: Callable[[Pages], Ahead] | None,
) -> Made:
    beside = ahead(Pages(attempt.storage, attempt.key)) if ahead is not None else None

    def offer(history: History) -> None:
        if beside is not None:
            lines = (line for file in history.frontiers().values() for line in log_of(attempt, file))
            beside.offer(attempt, history.files("warc/"), lines)

    own_site = site is not None and not config.names_seeds
    with contextlib.ExitStack() as stack:
        hosts = dict(compute.config.hosts)
        if site is not None:
            from crawler.site import serve

            hosts[site.host] = stack.enter_context(serve(site))
        stack.enter_context(telling(attempt, config.max_pages))
        history = crawl_in_rounds(
            attempt,
            dataclasses.replace(
                _options(site, seeds, config, hosts),
                crawl=f"moinho-{attempt.key[:KEY_CHARACTERS]}",
                store=attempt.storage.address,
                earlier=earlier.key if earlier is not None else None,
            ),
            Limits(
                config.max_pages, config.max_seconds, config.max_depth, compute.config.crawl_round_seconds
            ),
            compute,
            1 if own_site else compute.config.crawl_processes,
            beside_driver=site is not None,
            starts=_known_hosts(earlier, config),
            after_round=offer,
        )
    if beside is not None:
        beside.close()
    return _gather(attempt, history, config, compute, seeds)


def _known_hosts(earlier: Pages | None, config: CrawlConfig) -> list[str]:
    """A URL of each host of which an earlier crawl has a page: there is something to do there."""
    if earlier is None or config.snapshot is None:
        return []
    from crawler.places import url_of
    from crawler.revisiting import EarlierCrawl

    with EarlierCrawl(earlier, config.snapshot) as crawled:
        return [url_of(host, "http/") for host in crawled.hosts()]


def _gather(
    attempt: Attempt, history: History, config: CrawlConfig, compute: Compute, seeds: Sequence[str]
) -> Made:
    """The artifact: archive, frontiers, crawl log, index. Raises an error if there is not one page; then
    nothing is kept, so that the next attempt begins anew."""
    frontiers = history.frontiers()
    if not history.total("pages"):
        lines = [line for file in frontiers.values() for line in log_of(attempt, file)]
        forget_rounds(attempt)
        raise no_page_error(lines, config.full_user_agent(), config.content_types)
    from crawler.cdxj import index_archive
    from crawler.report import ToReport, write_report

    archive = history.files("warc/")
    shards = {name: Logged(attempt, name, file) for name, file in frontiers.items()}
    logs = compute.map_shards(attempt, "log", shards, write_log)
    index = index_archive(compute, attempt, archive)
    shown = ToReport(attempt, tuple(frontiers.values()), archive, config.resolved())
    report = compute.map_shards(attempt, "report", {"report": shown}, write_report)
    # What the rounds made has links of its own in the store.
    shutil.rmtree(attempt.scratch(), ignore_errors=True)
    counts = {
        name: history.total(name)
        for name in sorted({name for _, record in history.last.values() for name in record.counts})
        if name in ("pages", "tried", "left") or name.startswith("outcome.")
    }
    counts |= {"seeds": len(seeds)} if config.seeds_file is not None else {}
    counts |= {name: count for record in report for name, count in record.counts.items()}
    frontier_files = {f"frontier/{name}.sqlite": file for name, file in frontiers.items()}
    return Made(
        files=archive | frontier_files | files_of(logs) | index | files_of(report),
        counts=counts,
        compute={"crawl_processes": len(frontiers)},
        incomplete=history.any_lost() or any_lost([*logs, *report]),
    )


def hosts_of(seeds: Sequence[str]) -> list[str]:
    """The hosts of the seeds, each once."""
    from crawler.urls import canonical, host_of

    return list(dict.fromkeys(host_of(url) for seed in seeds if (url := canonical(seed)) is not None))


def _options(site: "Site | None", given: list[str], config: CrawlConfig, hosts: dict[str, str]) -> Options:
    own_site = site is not None and not config.names_seeds
    seeds = given or list(site.seeds() if site is not None else ())
    return Options(
        folder="",
        seeds=seeds,
        allowed_hosts=list(config.allowed_hosts) or hosts_of(seeds),
        user_agent=config.full_user_agent(),
        max_pages=config.max_pages,
        max_depth=config.max_depth,
        max_seconds=config.max_seconds,
        delay_seconds=0.0 if own_site else config.delay_seconds,
        requests_per_host=OWN_SITE_REQUESTS if own_site else config.requests_per_host,
        requests=config.requests,
        timeout_seconds=config.timeout_seconds,
        max_bytes=config.max_bytes,
        content_types=list(config.content_types),
        hosts=hosts,
        private_hosts=list(config.private_hosts),
        settled=bool(config.allowed_hosts),
        max_delay_seconds=0.0 if own_site else config.max_delay_seconds,
        per_ip=config.per_ip,
        pages_per_host=config.pages_per_host,
        bytes_per_host=config.bytes_per_host,
        allow=list(config.allow),
        deny=list(config.deny),
        languages=list(config.languages),
        sitemaps=config.sitemaps,
        opt_outs=config.opt_outs.identity(),
        snapshot=config.snapshot.isoformat() if config.snapshot else None,
        year=config.snapshot.year if config.snapshot else None,
    )

"""The crawl: URLs → WARC files and a crawl log. Partitions, their child processes, their rounds."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from crawler.options import FRONTIER, Options
from crawler.progress import PARTITION, telling
from pipeline.compute import Compute, ShardOutput, any_lost, counts_of, files_of
from pipeline.config import Config
from pipeline.corpus.pages import Pages
from pipeline.errors import InputError, StageError
from pipeline.store import Attempt, Journal, Made, Store, Work, lacks_room

if TYPE_CHECKING:
    from crawler.frontier import Frontier
    from crawler.site import Site

log = logging.getLogger(__name__)

OWN_SITE_REQUESTS = 8
"""Requests at once to the site that moinho serves to itself, which needs no politeness."""
WEB_PAGE_BYTES = 60_000
"""HTML of a page, as a plan reckons; four sites of documentation had between 51,000 and 103,000."""
TOLD_SEEDS = 10
"""Seeds that an error message names."""


class CrawlConfig(Config):
    """Which pages are fetched, and how politely. Every field is part of the key."""

    seeds: tuple[str, ...] = ()
    """URLs to begin with. Default: those of the site that moinho renders itself."""
    snapshot: datetime.date | None = None
    """The web changes: a later date makes a new crawl of the same seeds (YYYY-MM-DD)."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts whose pages are fetched. Default: those of the seeds, and where the seeds redirect to."""
    max_pages: int = Field(default=10_000, ge=1)
    """Pages stored at most."""
    max_depth: int | None = Field(default=None, ge=0)
    """Links followed from a seed at most. Default: no limit."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Seconds of crawling at most, interruptions not counted. Default: no limit."""
    user_agent: str | None = None
    """Default: moinho and its version."""
    contact: str = ""
    """URL or e-mail address appended to the user agent, for those whose pages are fetched."""
    delay_seconds: float = Field(default=1.0, ge=0)
    """Between two requests to a host, at least; robots.txt may ask for more. Moinho's own site: none."""
    requests_per_host: int = Field(default=1, ge=1)
    """Requests to a host at once. Moinho's own site: 8."""
    requests: int = Field(default=32, ge=1)
    """Requests at once, over all hosts."""
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For one page, from connecting to its last byte."""
    max_bytes: int = Field(default=16 << 20, ge=1)
    """Of one page, after decompression."""
    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml")
    """What is stored as a page; everything else is counted."""
    private_hosts: tuple[str, ...] = ()
    """Host names or addresses that may be private or loopback addresses. All others must be public."""

    @field_validator("seeds")
    @classmethod
    def seeds_are_web_pages(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        for seed in seeds:
            check_seed(seed)
        return seeds

    @field_validator("allowed_hosts", "private_hosts")
    @classmethod
    def hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if "/" in host or not host.strip():
                raise ValueError(f"{host!r} is not a host name; write it without scheme, port and path")
        return tuple(host.lower().strip("[]") for host in hosts)

    @field_validator("contact", "user_agent")
    @classmethod
    def headers_are_one_line(cls, value: str | None) -> str | None:
        if value and not (value.isascii() and value.isprintable()):
            raise ValueError(f"{value!r} cannot stand in a header; use printable ASCII characters")
        return value

    def derived(self) -> Mapping[str, Any]:
        return {"user_agent": f"moinho/{importlib.metadata.version('moinho')}"}

    def full_user_agent(self) -> str:
        agent: str = self.resolved()["user_agent"]
        return f"{agent} (+{self.contact})" if self.contact else agent


class NoSeedsError(InputError):
    """The configuration names no page to begin with, and there is no site of moinho's own."""

    remedy = "Set crawl.seeds to the pages to begin with."


class UnreachableError(StageError):
    """None of the seeds could be reached."""

    remedy = "Check addresses and network; name a private host in crawl.private_hosts if it is meant."


class ForbiddenError(StageError):
    """robots.txt forbids all seeds."""

    remedy = "Choose pages that the site lets crawlers fetch."


class NoPagesError(StageError):
    """Seeds answered, but not one page could be stored."""

    remedy = "Choose other seeds, or widen crawl.content_types."


class UnwritableCrawlError(StageError):
    """The archive or the frontier could not be written, though there was room."""

    remedy = "Make room, then run again: the crawl goes on where it was."


class SpiderDiedError(RuntimeError):
    """The child process ended before the crawl did. It is started again, and continues."""


def check_seed(seed: str) -> None:
    """Raises ValueError, which says what would be right."""
    try:
        parts = urlsplit(seed)
        host = parts.hostname
    except ValueError as error:
        raise ValueError(f"seed {seed!r} is not a URL ({error})") from error
    if "://" not in seed:
        raise ValueError(f"seed {seed!r} has no scheme; write https://{seed.lstrip('/')}")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"seed {seed!r}: {parts.scheme} is not crawled; write an http or https URL")
    if not host:
        raise ValueError(f"seed {seed!r} has no host name; write https://host/path")
    if parts.username is not None:
        raise ValueError(f"seed {seed!r} holds a user name; pages behind a login are not crawled")


def crawl(store: Store, site: "Site | None", config: CrawlConfig, compute: Compute) -> Pages:
    """Fetch the seeds and all that they lead to within the limits. Pages obey robots.txt.

    `site`, if given, is served on the loopback address meanwhile, under its own host name.
    Interrupted, it continues where the last page was stored. Raises NoSeedsError,
    UnreachableError, ForbiddenError or NoPagesError.
    """
    if not config.seeds and site is None:
        raise NoSeedsError(
            'crawl.seeds is empty; name a page to begin with, such as ["https://example.org/"]'
        )
    return store.make(
        Pages,
        config,
        {"site": site},
        partial(_build, site=site, config=config, compute=compute),
        work=lambda: _work(site, config),
    )


def _work(site: "Site | None", config: CrawlConfig) -> Work:
    """An own site's pages and the list of them; of the web as many pages as the limit allows."""
    if site is not None and not config.seeds:
        whole, size = site.counts()["pages"] + 1, site.page_bytes()
        pages = min(config.max_pages, whole)
        return {"pages": pages, "bytes": size * pages / whole}
    hosts = config.allowed_hosts or {urlsplit(seed).hostname for seed in config.seeds}
    return {
        "pages": config.max_pages,
        "bytes": config.max_pages * WEB_PAGE_BYTES,
        "delay_seconds": config.max_pages * config.delay_seconds / len(hosts),
    }


def _build(attempt: Attempt, site: "Site | None", config: CrawlConfig, compute: Compute) -> Made:
    with contextlib.ExitStack() as stack:
        hosts = dict(compute.config.hosts)
        if site is not None:
            from crawler.site import serve

            hosts[site.host] = stack.enter_context(serve(site))
        options = _options(site, config, hosts)
        partitions = {options.partition: Partition(attempt, options)}
        stack.enter_context(telling(attempt, config.max_pages))
        records = compute.map_shards(
            attempt, "crawl", partitions, crawl_partition, beside_driver=site is not None
        )
    # The finished shards have their own links to the archive's files.
    shutil.rmtree(attempt.scratch(), ignore_errors=True)
    counts = counts_of(records)
    return Made(files=files_of(records), counts=counts, incomplete=any_lost(records))


def _options(site: "Site | None", config: CrawlConfig, hosts: dict[str, str]) -> Options:
    own_site = site is not None and not config.seeds
    return Options(
        folder="",
        partition="00",
        seeds=list(config.seeds or (site.seeds() if site is not None else ())),
        allowed_hosts=list(config.allowed_hosts),
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
    )


@dataclass(frozen=True)
class Partition:
    """What the task of one partition gets."""

    attempt: Attempt
    options: Options
    """`folder` is filled in where the task runs."""


def crawl_partition(partition: Partition, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: run the child process to its end, then hand over archive and crawl log.

    Raises SpiderDiedError if the child ended early (whatever it stored stays), and the errors of
    `crawl` if there is not one page; then the next attempt begins anew.
    """
    from crawler.frontier import Frontier

    attempt = partition.attempt
    folder = attempt.scratch() / partition.options.partition
    folder.mkdir(parents=True, exist_ok=True)
    options = dataclasses.replace(partition.options, folder=str(folder))
    run_spider(options, attempt.journal("spider"), folder / "spider.log")
    frontier = Frontier(folder / FRONTIER)
    try:
        if not frontier.outcomes["page"]:
            error = _no_page_error(frontier, options)
            frontier.close()
            shutil.rmtree(folder)
            raise error
        return _hand_over(frontier, folder / "warc", options.partition, output)
    finally:
        frontier.close()


def _hand_over(frontier: "Frontier", archive: Path, partition: str, output: ShardOutput) -> dict[str, int]:
    for path in sorted(archive.glob("*.warc.gz")):
        _link(path, output.path(f"warc/{path.name}"))
    with output.path(f"crawl-log/{partition}.jsonl").open("w", encoding="utf-8") as lines:
        for line in frontier.log():
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
    counts = {f"outcome.{name}": count for name, count in sorted(frontier.outcomes.items()) if count}
    return {
        "pages": frontier.outcomes["page"],
        "tried": frontier.tried,
        "left": frontier.left,
        **counts,
    }


def _link(source: Path, target: Path) -> None:
    """Give the file a second name, which a kill at any moment survives; copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _no_page_error(frontier: "Frontier", options: Options) -> StageError:
    lines = list(frontier.log())
    outcomes = {line["outcome"] for line in lines}
    reasons = "; ".join(
        f"{line['url']}: {line['outcome']}"
        + (
            f" ({line['detail']})"
            if line["detail"]
            else f" (status {line['status']})"
            if line["status"]
            else ""
        )
        for line in sorted(lines, key=lambda line: line["depth"])[:TOLD_SEEDS]
    )
    if outcomes <= {"unreachable", "timeout", "refused-address", "error"}:
        advice = "look whether the addresses are right and the network is up"
        if "refused-address" in outcomes:
            advice = "name the host in crawl.private_hosts if this address is meant"
        return UnreachableError(f"no seed could be reached: {reasons}. To continue, {advice}, and run again")
    if "robots" in outcomes and outcomes <= {"robots", "redirect"}:
        return ForbiddenError(
            f"robots.txt forbids all seeds: {reasons}. Choose pages that {options.user_agent} may fetch"
        )
    return NoPagesError(
        f"{frontier.tried} URLs were tried and gave no page: {reasons}. "
        f"Pages are what answers 200 with {' or '.join(options.content_types)}; choose other seeds"
    )


def run_spider(options: Options, journal: Journal, log_path: Path) -> None:
    """Start the child process, pass on what it tells, and return when its crawl has ended.

    The child ends when this process does. Raises SpiderDiedError, UnwritableCrawlError, or OSError if a
    disk is full.
    """
    said = log_path.stat().st_size if log_path.exists() else 0
    finished = False
    with log_path.open("ab") as errors, _child(errors) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(dataclasses.asdict(options)).encode() + b"\n")
        child.stdin.flush()
        for line in child.stdout:
            told = json.loads(line)
            if told["kind"] == "progress":
                journal.write(PARTITION, **told["progress"])
            elif told["kind"] == "fault":
                fault = OSError(f"{options.folder} cannot be written: {told['message']}")
                if lacks_room(fault):
                    raise fault  # told in full by those who know the store
                raise UnwritableCrawlError(f"{fault}. Correct that and run again: the crawl continues")
            finished = finished or told["kind"] == "finished"
        status = child.wait()
    if not finished or status:
        raise SpiderDiedError(
            f"the crawler's process ended with {_ending(status)}{_last_words(log_path, said)}"
        )


@contextlib.contextmanager
def _child(errors: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """The spider's process, which is gone when this ends."""
    source = str(Path(__file__).parents[1])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, "-m", "crawler.spider"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _last_words(log_path: Path, said: int) -> str:
    """What the child wrote last, beyond what stood in its log before."""
    lines = log_path.read_bytes()[said:].decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""

"""The child process that crawls one partition for a round: `python -m crawler.spider`.

Its options come as a JSON line on standard input. It tells what it does as JSON lines on standard output,
about one a second, and ends at once when its standard input closes, so that it never outlives whoever
started it. Scrapy does the talking; which URL is next (fetching.py, window.py, frontier.py), what is kept
(answers.py, warc.py) and what is refused (guard.py, politeness.py) is decided outside of it.
"""

import asyncio
import dataclasses
import heapq
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import scrapy
from scrapy import Request, signals
from scrapy.crawler import AsyncCrawlerProcess, Crawler
from scrapy.exceptions import StopDownload
from scrapy.http import Headers
from twisted.internet.base import ReactorBase
from twisted.web.client import HTTPConnectionPool

from crawler.answers import Answers
from crawler.fetching import Fetching
from crawler.guard import GuardedResolver
from crawler.manners import Manners
from crawler.options import Options
from crawler.origins import describe
from crawler.partition import Partition
from crawler.politeness import RuleBook
from crawler.progress import (
    LONGEST_HOSTS,
    SLOWEST_HOSTS,
    TELL_SECONDS,
    LongHost,
    Progress,
    Rate,
    SlowHost,
)
from crawler.requests import ANSWERED, SEED, SLOT, WELL_KNOWN
from crawler.responses import content_type
from crawler.scope import wants_type
from crawler.sitemaps import TYPES as SITEMAP_TYPES
from crawler.window import Window
from pipeline.corpus.opt_outs import Honoured

log = logging.getLogger(__name__)

SMALL_BODY_BYTES = 32 << 10
"""An unwanted body up to this size is read to its end, which spares a new connection."""


class PageSpider(scrapy.Spider):
    """Scrapy's handle on the round: the engine lives as long as `start` runs."""

    name = "moinho"

    def __init__(self, partition: Partition, guard: GuardedResolver, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.partition, self.guard = partition, guard
        options = partition.options
        manners = Manners(
            options.delay_seconds,
            options.max_delay_seconds,
            options.requests_per_host,
            options.per_ip,
            options.pages_per_host,
            options.bytes_per_host,
        )
        self.window = Window(partition.frontier, manners, restarted=partition.follows_unknown)
        self._content_types = options.content_types
        self._pages, self._bytes = Rate(), Rate()
        self._pages.per_second(partition.pages, time.monotonic())
        self._bytes.per_second(0, time.monotonic())
        self._bytes_before = partition.frontier.hosts.bytes()

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> "PageSpider":
        spider: PageSpider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider._headers_received, signals.headers_received)
        return spider

    async def start(self) -> AsyncIterator[Any]:
        """The whole round. Scrapy gets nothing to schedule."""
        engine = self.crawler.engine
        assert engine is not None
        options = self.partition.options
        reads_tdmrep = Honoured(**options.opt_outs).tdmrep
        rules = RuleBook(self.partition.frontier, options.user_agent, reads_tdmrep=reads_tdmrep)
        answers = Answers(self.partition, self.window, rules, self.guard)
        fetching = Fetching(self.partition, self.window, rules, answers, engine.download_async, give_up)
        telling = asyncio.get_running_loop().create_task(self._tell_now_and_then(fetching))
        engine.pause()  # it would look for scheduled requests after each answer
        try:
            await fetching.run()
        except Exception:
            log.exception("a fault of the crawler")
            os._exit(1)  # as after a kill: what is committed stays
        engine.unpause()
        telling.cancel()
        self._tell(is_over=True)
        nothing: tuple[Any, ...] = ()
        for each in nothing:
            yield each

    def _headers_received(self, headers: Headers, body_length: int | str, request: Request) -> None:
        """Note when the answer began. Do not download what would not be kept: raises StopDownload, which
        Scrapy understands."""
        request.meta[ANSWERED] = time.monotonic()
        if WELL_KNOWN in request.meta:
            return
        kind = content_type(headers)
        if SEED in request.meta and kind in SITEMAP_TYPES:
            return
        small = isinstance(body_length, int) and body_length <= SMALL_BODY_BYTES
        if kind and not wants_type(kind, self._content_types) and not small:
            raise StopDownload(fail=False)

    async def _tell_now_and_then(self, fetching: Fetching) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            self._tell(is_over=fetching.drains)

    def _tell(self, *, is_over: bool) -> None:
        partition, frontier, window = self.partition, self.partition.frontier, self.window
        now, (waiting, done) = time.monotonic(), frontier.hosts.counts()
        served = (each.host for each in window.served.values())
        slowest = heapq.nlargest(SLOWEST_HOSTS, served, key=lambda host: host.latency)
        progress = Progress(
            partition=partition.options.partition,
            partitions=partition.options.partitions,
            round=partition.options.round,
            is_over=is_over,
            seconds=partition.seconds,
            waiting=frontier.left,
            bytes=self._bytes_before + window.bytes,
            outcomes=dict(frontier.outcomes),
            pages_per_second=self._pages.per_second(partition.pages, now),
            bytes_per_second=self._bytes.per_second(window.bytes, now),
            in_flight=window.in_flight,
            hosts_active=len(window.served),
            hosts_waiting=waiting,
            hosts_done=done,
            slowest=tuple(SlowHost(host.name, round(host.latency, 3)) for host in slowest if host.latency),
            longest=tuple(LongHost(*each) for each in window.longest(LONGEST_HOSTS)),
        )
        tell("progress", progress=dataclasses.asdict(progress))


def tell(kind: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def give_up(error: Exception) -> NoReturn:
    """The archive or the frontier cannot be written: end here, as after a kill."""
    log.error("the crawl cannot be written", exc_info=error)
    tell("fault", message=f"{type(error).__name__}: {describe(error)}")
    os._exit(1)


def settings_for(options: Options, guard: GuardedResolver) -> dict[str, Any]:
    """Scrapy's settings: everything that reaches elsewhere, waits or keeps state of its own is off."""
    middlewares = "scrapy.downloadermiddlewares"
    return {
        "USER_AGENT": options.user_agent,
        "TWISTED_DNS_RESOLVER": lambda reactor: guard.take_over(reactor),
        "DOWNLOAD_HANDLERS": {"file": None, "data": None, "ftp": None, "s3": None},
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "DOWNLOAD_MAXSIZE": options.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": options.timeout_seconds,
        "DOWNLOAD_DELAY": 0.0,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "DOWNLOAD_SLOTS": {SLOT: {"concurrency": options.requests, "delay": 0.0, "jitter": 0.0}},
        "CONCURRENT_REQUESTS": 0,
        # So many connections to a host are kept open.
        "CONCURRENT_REQUESTS_PER_DOMAIN": options.requests_per_host,
        "REACTOR_THREADPOOL_MAXSIZE": 20,
        "DOWNLOADER_MIDDLEWARES_BASE": {},
        "DOWNLOADER_MIDDLEWARES": {
            f"{middlewares}.downloadtimeout.DownloadTimeoutMiddleware": 350,
            f"{middlewares}.defaultheaders.DefaultHeadersMiddleware": 400,
            f"{middlewares}.useragent.UserAgentMiddleware": 500,
            "crawler.unpacking.Unpacking": 590,
        },
        "SPIDER_MIDDLEWARES_BASE": {},
        "EXTENSIONS_BASE": {},
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "COOKIES_ENABLED": False,
        "HTTPPROXY_ENABLED": False,
        "DEFAULT_REQUEST_HEADERS": {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"},
        "LOG_LEVEL": "WARNING",
        "STATS_DUMP": False,
    }


def run(options: Options) -> None:
    """Crawl until the round has ended, and tell how."""
    try:
        partition = Partition(options)
        if not partition.has_ended:
            guard = GuardedResolver(options.hosts, options.private_hosts)
            # Twisted waits by the clock on the wall; were that set back an hour, the crawl would stand still
            # for one.
            ReactorBase.seconds = staticmethod(time.monotonic)
            # Where a kept connection ends without an answer, Twisted would ask again by itself, and at once.
            HTTPConnectionPool.retryAutomatically = False
            process = AsyncCrawlerProcess(settings_for(options, guard))
            process.crawl(PageSpider, partition=partition, guard=guard)
            process.start(install_signal_handlers=False)
        ended = partition.end()
    except (OSError, sqlite3.Error) as error:
        give_up(error)
    tell("finished", **dataclasses.asdict(ended))


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    options = Options(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run(options)


if __name__ == "__main__":
    main()

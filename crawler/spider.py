"""The child process that crawls one partition: `python -m crawler.spider`, options as a JSON line on stdin.

It tells what it does as JSON lines on standard output, about one a second, and ends at once when
its standard input closes, so that it never outlives whoever started it. Scrapy does the talking;
which URL is next (frontier.py), what is kept (warc.py) and what is refused (guard.py,
politeness.py) is decided outside of it.
"""

import dataclasses
import datetime
import hashlib
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import scrapy
from scrapy import Request, signals
from scrapy.crawler import AsyncCrawlerProcess, Crawler
from scrapy.exceptions import StopDownload
from scrapy.http import Headers, Response
from twisted.internet.base import ReactorBase
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from crawler.frontier import REDIRECTS, Entry, Frontier, Position, Visit, Window
from crawler.guard import GuardedResolver
from crawler.options import FRONTIER, Options
from crawler.origins import describe
from crawler.politeness import IS_ROBOTS, RobotsMiddleware
from crawler.responses import classify, content_type, exchange_of, is_html, links
from crawler.urls import canonical, host_of, resolve
from crawler.warc import Archive, Place

log = logging.getLogger(__name__)

COMMIT_SECONDS = 0.25
COMMIT_PAGES = 16
"""A commit comes when either is reached: what a kill costs is at most this much, asked for again."""
PROGRESS_SECONDS = 1.0
TRIES = 2
"""How often a URL is asked for whose server failed or did not answer."""
SMALL_BODY_BYTES = 32 << 10
"""An unwanted body up to this size is read to its end, which spares a new connection."""
SEEN_URLS = 200_000
"""Canonical URLs that are remembered in memory, so that a site's menu does not go to disk each time."""
NOTED_SCHEMES = ("file:", "ftp:", "s3:")
"""Links that are refused and written to the log; others, such as mailto:, are no pages anyway."""


class PageSpider(scrapy.Spider):
    """Takes URLs from the frontier, stores pages, and gives the links back to the frontier."""

    name = "moinho"

    def __init__(self, options: Options, guard: GuardedResolver, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options, self.guard = options, guard
        folder = Path(options.folder)
        self.frontier = Frontier(folder / FRONTIER)
        position = self.frontier.position()
        self.archive = Archive(
            folder / "warc", options.partition, options.user_agent, position.number, position.offset
        )
        self.window = Window(self.frontier, options.requests_per_host)
        self._seconds_before, self._started = position.seconds, time.monotonic()
        self._uncommitted = 0
        self._tries: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._pages_before = self.frontier.outcomes["page"]
        self._begin()

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> "PageSpider":
        spider: PageSpider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider._opened, signals.spider_opened)
        crawler.signals.connect(spider._closed, signals.spider_closed)
        crawler.signals.connect(spider._headers_received, signals.headers_received)
        return spider

    def _begin(self) -> None:
        seeds = [url for seed in self.options.seeds if (url := canonical(seed)) is not None]
        self.frontier.allow(self.options.allowed_hosts or [host_of(url) for url in seeds])
        self.window.add([Entry(url, host_of(url), level=0, depth=0) for url in seeds])
        self.commit()

    async def start(self) -> AsyncIterator[Any]:
        """Nothing: the scheduler has the URLs."""
        nothing: tuple[Any, ...] = ()
        for each in nothing:
            yield each

    # --- what the scheduler asks ---

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def is_over(self) -> bool:
        """True when a limit of the configuration is reached, or nothing is left."""
        limit = self.options.max_seconds
        return (
            self.frontier.outcomes["page"] >= self.options.max_pages
            or (limit is not None and self.seconds >= limit)
            or self.frontier.left == 0
        )

    def next_request(self) -> Request | None:
        under_way = self.frontier.outcomes["page"] + self.window.in_flight
        if under_way >= self.options.max_pages or self.is_over():
            return None
        entry = self.window.next()
        if entry is None:
            return None
        return Request(
            entry.url,
            callback=self.receive,
            errback=self.fail,
            meta={"entry": entry},
            dont_filter=True,
        )

    # --- what comes back ---

    def receive(self, response: Response) -> None:
        """A response arrived: store it, or note why not."""
        entry: Entry = response.meta["entry"]
        try:
            if 300 <= response.status < 400 and "Location" in response.headers:
                self._redirect(entry, response)
            elif response.status == 200:
                self._keep(entry, response)
            elif not (response.status == 429 or response.status >= 500) or not self._try_again(entry):
                self._finish(entry, self._visit("http-error", response))
        except (OSError, sqlite3.Error) as error:
            give_up(error)
        except Exception as error:
            log.exception("%s", entry.url)
            self._finish(entry, self._visit("error", response, detail=describe(error)))

    def fail(self, failure: Failure) -> None:
        """No response: say why."""
        entry: Entry = failure.request.meta["entry"]  # type: ignore[attr-defined]
        assert failure.value is not None
        if isinstance(failure.value, sqlite3.Error):  # a robots.txt that could not be kept
            give_up(failure.value)
        outcome, detail, transient = classify(failure.value, self.guard.refused.get(entry.host))
        if not (transient and self._try_again(entry)):
            self._finish(entry, Visit(outcome, fetched=now(), detail=detail))

    def _try_again(self, entry: Entry) -> bool:
        self._tries[entry.url] += 1
        if self._tries[entry.url] >= TRIES:
            del self._tries[entry.url]
            return False
        self.window.again(entry)
        return True

    def _redirect(self, entry: Entry, response: Response) -> None:
        location = response.headers["Location"].decode("latin-1")  # type: ignore[union-attr]
        target = resolve(entry.url, location)
        visit = self._visit("redirect", response, detail=target or location[:500])
        if target is None:
            self.frontier.refuse(
                location, Visit("refused-scheme", fetched=now(), detail="a redirect to no web page"), entry
            )
        elif entry.redirects >= REDIRECTS:
            visit = dataclasses.replace(visit, outcome="redirect-loop")
        else:
            host = host_of(target)
            if entry.depth == 0:
                self.frontier.allow([host])
            if host in self.frontier.hosts:
                following = Entry(target, host, entry.level + 1, entry.depth, entry.redirects + 1, entry.url)
                self.window.add([following])
        self._finish(entry, visit)

    def _keep(self, entry: Entry, response: Response) -> None:
        if not is_html(response, self.options.content_types):
            self._finish(entry, self._visit("not-html", response))
            return
        fetched = now()
        place = self.archive.write(exchange_of(entry.url, response, fetched))
        if self.options.max_depth is None or entry.depth < self.options.max_depth:
            self._follow(entry, response)
        self._finish(
            entry,
            self._visit(
                "page",
                response,
                fetched=fetched,
                place=place,
                sha256=hashlib.sha256(response.body).hexdigest(),
            ),
        )

    def _follow(self, entry: Entry, response: Response) -> None:
        found: list[Entry] = []
        for link in links(response.body, response):
            if link.lower().startswith(NOTED_SCHEMES):
                visit = Visit("refused-scheme", fetched=now(), detail="not a web page's scheme")
                self.frontier.refuse(link, visit, entry)
                continue
            url = resolve(entry.url, link)
            if url is None or url in self._seen:
                continue
            self._seen.add(url)
            host = host_of(url)
            if host in self.frontier.hosts:
                found.append(Entry(url, host, entry.level + 1, entry.depth + 1, referrer=entry.url))
        if len(self._seen) > SEEN_URLS:
            self._seen.clear()
        self.window.add(found)

    def _finish(self, entry: Entry, visit: Visit) -> None:
        try:
            self.frontier.finish(entry.url, visit)
            self.window.ended(entry)
            self._uncommitted += 1
            if self._uncommitted >= COMMIT_PAGES:
                self.commit()
        except (OSError, sqlite3.Error) as error:
            give_up(error)

    def commit(self) -> None:
        """Make durable what was done since the last time: first the archive, then the frontier."""
        self.archive.sync()
        self.frontier.commit(Position(self.archive.number, self.archive.offset, self.seconds))
        self._uncommitted = 0

    # --- looking at responses ---

    def _visit(
        self,
        outcome: str,
        response: Response,
        *,
        fetched: str | None = None,
        place: Place | None = None,
        sha256: str | None = None,
        detail: str | None = None,
    ) -> Visit:
        return Visit(
            outcome,
            fetched=fetched or now(),
            status=response.status,
            content_type=content_type(response.headers) or None,
            bytes=len(response.body),
            warc=f"warc/{place.warc}" if place else None,
            offset=place.offset if place else None,
            length=place.length if place else None,
            sha256=sha256,
            detail=detail,
        )

    def _headers_received(self, headers: Headers, body_length: int | str, request: Request) -> None:
        """Do not download what would not be kept. Raises StopDownload, which Scrapy understands."""
        if IS_ROBOTS in request.meta:
            return
        kind = content_type(headers)
        small = isinstance(body_length, int) and body_length <= SMALL_BODY_BYTES
        if kind and kind not in self.options.content_types and not small:
            raise StopDownload(fail=False)

    # --- the process's life ---

    def _opened(self) -> None:
        self._loops = [LoopingCall(self._commit_if_needed), LoopingCall(self._tell)]
        self._loops[0].start(COMMIT_SECONDS, now=False)
        self._loops[1].start(PROGRESS_SECONDS, now=False)

    def _closed(self, reason: str) -> None:
        for loop in self._loops:
            loop.stop()
        try:
            self.commit()
            self.archive.close()
        except (OSError, sqlite3.Error) as error:
            give_up(error)
        self._tell()
        self.frontier.close()
        tell("finished", reason=reason)

    def _commit_if_needed(self) -> None:
        if self._uncommitted:
            try:
                self.commit()
            except (OSError, sqlite3.Error) as error:
                give_up(error)

    def _tell(self) -> None:
        pages, tried = self.frontier.outcomes["page"], self.frontier.tried
        here = time.monotonic() - self._started
        good = pages + self.frontier.outcomes["redirect"] + self.frontier.outcomes["not-html"]
        tell(
            "progress",
            pages=pages,
            tried=tried,
            waiting=self.frontier.left,
            errors=tried - good,
            pages_per_second=round((pages - self._pages_before) / here, 2),
        )


class FrontierScheduler:
    """Hands Scrapy what the frontier's window offers; nothing is queued inside Scrapy."""

    def __init__(self, spider: PageSpider) -> None:
        self._spider = spider

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "FrontierScheduler":
        assert isinstance(crawler.spider, PageSpider)
        return cls(crawler.spider)

    def has_pending_requests(self) -> bool:
        return not self._spider.is_over()

    def next_request(self) -> Request | None:
        try:
            return self._spider.next_request()
        except sqlite3.Error as error:
            give_up(error)

    def enqueue_request(self, request: Request) -> bool:
        """Never asked for: redirects and retries go through the frontier."""
        return False


def now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def tell(kind: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def give_up(error: Exception) -> NoReturn:
    """The archive or the frontier cannot be written: end here, as after a kill."""
    log.error("the crawl cannot be written", exc_info=error)
    tell("fault", message=f"{type(error).__name__}: {describe(error)}")
    os._exit(1)


def settings_for(options: Options, guard: GuardedResolver) -> dict[str, Any]:
    """Scrapy's settings: everything that reaches elsewhere or keeps state of its own is off."""
    middlewares = "scrapy.downloadermiddlewares"
    return {
        "USER_AGENT": options.user_agent,
        "SCHEDULER": FrontierScheduler,
        "TWISTED_DNS_RESOLVER": lambda reactor: guard.take_over(reactor),
        "DOWNLOAD_HANDLERS": {"file": None, "data": None, "ftp": None, "s3": None},
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "DOWNLOAD_MAXSIZE": options.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": options.timeout_seconds,
        "DOWNLOAD_DELAY": options.delay_seconds,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "CONCURRENT_REQUESTS": options.requests,
        "CONCURRENT_REQUESTS_PER_DOMAIN": options.requests_per_host,
        # Scrapy starts as many tasks for every response, and ours have no items.
        "CONCURRENT_ITEMS": 1,
        "REACTOR_THREADPOOL_MAXSIZE": 20,
        "DOWNLOADER_MIDDLEWARES_BASE": {},
        "DOWNLOADER_MIDDLEWARES": {
            RobotsMiddleware: 100,
            f"{middlewares}.downloadtimeout.DownloadTimeoutMiddleware": 350,
            f"{middlewares}.defaultheaders.DefaultHeadersMiddleware": 400,
            f"{middlewares}.useragent.UserAgentMiddleware": 500,
            f"{middlewares}.httpcompression.HttpCompressionMiddleware": 590,
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
    """Crawl until nothing is left or a limit is reached."""
    guard = GuardedResolver(options.hosts, options.private_hosts)
    # Twisted waits by the clock on the wall; were that set back an hour, the crawl would stand still for one.
    ReactorBase.seconds = staticmethod(time.monotonic)
    process = AsyncCrawlerProcess(settings_for(options, guard))
    process.crawl(PageSpider, options=options, guard=guard)
    process.start(install_signal_handlers=False)


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

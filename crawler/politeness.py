"""robots.txt as RFC 9309 has it, and the delays that a host asks for.

Scrapy's own middleware lets everything pass when robots.txt cannot be read; here a server error
or an unreachable host forbids the whole host (section 2.3.1.4).
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scrapy import Request
from scrapy.http.request import NO_CALLBACK

from crawler.frontier import Frontier
from crawler.origins import Reply, Rules, obtain_robots, product_token, rules_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

log = logging.getLogger(__name__)

FETCHED_BYTES = 8 << 20
TRIES = 2
RETRY_SECONDS = 1.0
IS_ROBOTS = "moinho_robots"
"""Marks, in a request's meta, what fetches a robots.txt and is not itself held against one."""


class RobotsMiddleware:
    """Holds every request against the robots.txt of its origin, which is fetched once and kept a day."""

    def __init__(self, crawler: "Crawler", frontier: Frontier, agent: str) -> None:
        self._crawler, self._frontier, self._agent = crawler, frontier, agent
        self._rules: dict[str, asyncio.Task[Rules]] = {}

    @classmethod
    def from_crawler(cls, crawler: "Crawler") -> "RobotsMiddleware":
        spider: Any = crawler.spider
        return cls(crawler, spider.frontier, product_token(spider.options.user_agent))

    async def process_request(self, request: Request) -> None:
        """Raises Forbidden or Unreachable."""
        if IS_ROBOTS in request.meta:
            return
        parts = urlsplit(request.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._rules:
            self._rules[origin] = asyncio.ensure_future(self._obtain(origin))
        task = self._rules[origin]
        rules = task.result() if task.done() else await task
        rules.check(request.url)

    async def _obtain(self, origin: str) -> Rules:
        body = self._frontier.robots(origin)
        rules = rules_of(body, self._agent) if body is not None else await self._fetch(origin)
        if rules.text.delay_seconds:
            self._slow_down(urlsplit(origin).hostname or "", rules.text.delay_seconds)
        return rules

    async def _fetch(self, origin: str) -> Rules:
        rules = await obtain_robots(origin, self._agent, self._get)
        for _ in range(TRIES - 1):
            if rules.is_passing:
                await asyncio.sleep(RETRY_SECONDS)
                rules = await obtain_robots(origin, self._agent, self._get)
        if rules.keep is not None:
            self._frontier.keep_robots(origin, rules.keep)
        else:
            log.warning("%s: %s; nothing is fetched from it", origin, rules.refusal)
        return rules

    async def _get(self, url: str) -> Reply:
        engine = self._crawler.engine
        assert engine is not None
        meta = {IS_ROBOTS: True, "download_maxsize": FETCHED_BYTES}
        response = await engine.download_async(Request(url, meta=meta, callback=NO_CALLBACK))
        location, later = response.headers.get("Location"), response.headers.get("Retry-After")
        return Reply(
            response.status,
            response.body,
            location.decode("latin-1") if location else None,
            later.decode("latin-1") if later else None,
        )

    def _slow_down(self, host: str, seconds: float) -> None:
        """Leave at least `seconds` between requests to the host, now and when its slot is made anew."""
        engine = self._crawler.engine
        assert engine is not None
        downloader = engine.downloader
        settings = downloader.per_slot_settings.setdefault(host, {"jitter": 0.0})
        settings["delay"] = max(
            seconds, settings.get("delay", 0.0), downloader.settings.getfloat("DOWNLOAD_DELAY")
        )
        settings["concurrency"] = 1
        slot = downloader.slots.get(host)
        if slot is not None:
            slot.delay, slot.concurrency = settings["delay"], 1

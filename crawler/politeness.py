"""robots.txt as RFC 9309 has it, and the delays that a host asks for.

Scrapy's own middleware lets everything pass when robots.txt cannot be read; here a server error
or an unreachable host forbids the whole host (section 2.3.1.4).
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from scrapy import Request
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK

from crawler import robots_txt
from crawler.frontier import Frontier
from crawler.robots_txt import PARSED_BYTES, RobotsTxt
from crawler.urls import canonical

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

log = logging.getLogger(__name__)

FETCHED_BYTES = 8 << 20
REDIRECTS = 5
"""RFC 9309, section 2.3.1.2: at least five; beyond them robots.txt counts as unavailable."""
TRIES = 2
RETRY_SECONDS = 1.0
IS_ROBOTS = "moinho_robots"
"""Marks, in a request's meta, what fetches a robots.txt and is not itself held against one."""


class Forbidden(IgnoreRequest):
    """robots.txt does not allow the URL."""


class Unreachable(IgnoreRequest):
    """The host of a robots.txt gave no answer, which forbids everything on it."""


@dataclass(frozen=True)
class Rules:
    """What one origin's robots.txt says to us."""

    parser: RobotsTxt | None
    """None if there are no rules: everything is allowed."""
    delay_seconds: float = 0.0
    refusal: str | None = None
    """Why everything is forbidden, if robots.txt could not be read."""
    reached: bool = True

    def check(self, url: str) -> None:
        """Raises Forbidden or Unreachable."""
        if self.refusal is not None:
            raise (Forbidden if self.reached else Unreachable)(self.refusal)
        if self.parser is not None and not self.parser.allows(url):
            raise Forbidden("robots.txt disallows it")


def parse(body: bytes, agent: str) -> Rules:
    """The rules for `agent` in a robots.txt."""
    found = robots_txt.parse(body, agent)
    return Rules(found, found.delay_seconds)


def product_token(user_agent: str) -> str:
    """The name by which robots.txt addresses us: `moinho` of `moinho/0.1 (+…)`."""
    return user_agent.partition("/")[0].partition(" ")[0]


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
        rules = parse(body, self._agent) if body is not None else await self._fetch(origin)
        if rules.delay_seconds:
            self._slow_down(urlsplit(origin).hostname or "", rules.delay_seconds)
        return rules

    async def _fetch(self, origin: str) -> Rules:
        for left in reversed(range(TRIES)):
            try:
                response = await self._follow(f"{origin}/robots.txt")
            except Exception as error:
                reason = f"robots.txt cannot be reached: {describe(error)}"
                rules = Rules(None, refusal=reason, reached=False)
            else:
                if response is None or response.status < 500:
                    found = response is not None and 200 <= response.status < 300
                    body = response.body if response is not None and found else b""
                    self._frontier.keep_robots(origin, body[: PARSED_BYTES + 1])
                    return parse(body, self._agent)
                rules = Rules(None, refusal=f"robots.txt answered {response.status}")
            if left:
                await asyncio.sleep(RETRY_SECONDS)
        log.warning("%s: %s; nothing is fetched from it", origin, rules.refusal)
        return rules

    async def _follow(self, url: str) -> Response | None:
        """The answer after redirects, each of which passes the same guard; None if they don't end."""
        engine = self._crawler.engine
        assert engine is not None
        for _ in range(REDIRECTS + 1):
            meta = {IS_ROBOTS: True, "download_maxsize": FETCHED_BYTES}
            response = await engine.download_async(Request(url, meta=meta, callback=NO_CALLBACK))
            location = response.headers.get("Location")
            if not (300 <= response.status < 400 and location):
                return response
            target = canonical(urljoin(url, location.decode("latin-1")))
            if target is None:
                return None
            url = target
        return None

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


def describe(error: BaseException) -> str:
    """An exception in a few words, for the crawl log."""
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__

"""What an origin says of all its pages, in files of its own: robots.txt and tdmrep.json.

For the loop that fetches: before a host's first page, and again a day later,

    rules = await obtain_robots(origin, product_token(user_agent), get)

where `get` sends one request, without following redirects, politely (each counts as a request to its
host, also where that is another one than the origin's) and guarded like any other, and raises what kept
the answer from coming. If `rules.keep` is not None, put it into the cache; `rules_of(kept, agent)` reads
it from there for KEPT_SECONDS. If `rules.is_passing`, put the host off as after any failure (backoff.py)
and ask again: only when the host is given up, `rules.check` has the last word. `obtain_tdmrep` is for the
other file.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scrapy.exceptions import IgnoreRequest

from crawler import robots_txt
from crawler.robots_txt import PARSED_BYTES, RobotsTxt
from crawler.urls import canonical, joined

REDIRECTS = 5
"""RFC 9309, section 2.3.1.2: at least five; beyond them robots.txt counts as unavailable."""
KEPT_SECONDS = 24 * 3600.0
"""RFC 9309, section 2.4."""
TDMREP_PATH = "/.well-known/tdmrep.json"


class Forbidden(IgnoreRequest):
    """robots.txt does not allow the URL."""


class Unreadable(Forbidden):
    """robots.txt could not be read, which forbids everything meanwhile (RFC 9309, section 2.3.1.4)."""


class Unreachable(IgnoreRequest):
    """The host of a robots.txt gave no answer, which forbids everything on it."""


@dataclass(frozen=True)
class Reply:
    """One answer to one request."""

    status: int
    body: bytes = b""
    location: str | None = None
    retry_after: str | None = None


Get = Callable[[str], Awaitable[Reply]]


@dataclass(frozen=True)
class Rules:
    """What one origin's robots.txt says to us."""

    text: RobotsTxt
    refusal: str | None = None
    """Why everything is forbidden, if robots.txt could not be read."""
    reached: bool = True
    is_passing: bool = False
    """True if it may be otherwise later: the answer was missing, a server's error, or 429."""
    retry_after: str | None = None
    keep: bytes | None = None
    """What the cache is to hold; empty if everything is allowed."""

    def check(self, url: str) -> None:
        """Raises Forbidden, of which Unreadable is one, or Unreachable."""
        if self.refusal is not None:
            raise (Unreadable if self.reached else Unreachable)(self.refusal)
        if not self.text.allows(url):
            raise Forbidden("robots.txt disallows it")


def product_token(user_agent: str) -> str:
    """The name by which robots.txt addresses us: `moinho` of `moinho/0.1 (+…)`."""
    return user_agent.partition("/")[0].partition(" ")[0]


def rules_of(kept: bytes, agent: str) -> Rules:
    return Rules(robots_txt.parse(kept, agent), keep=kept)


async def obtain_robots(origin: str, agent: str, get: Get) -> Rules:
    """The rules for `agent` by RFC 9309, section 2.3.1: 4xx and endless redirects allow everything, a
    server's error or no answer forbids everything. 429 is held to be of the latter kind: a host that has
    had enough of us has not said yes. Never raises, but for CancelledError."""
    try:
        reply = await followed(f"{origin}/robots.txt", get)
    except Exception as error:
        reason = f"robots.txt cannot be reached: {describe(error)}"
        return Rules(RobotsTxt(), refusal=reason, reached=False, is_passing=True)
    if reply is not None and (reply.status >= 500 or reply.status == 429):
        reason = f"robots.txt answered {reply.status}"
        return Rules(RobotsTxt(), refusal=reason, is_passing=True, retry_after=reply.retry_after)
    found = reply is not None and 200 <= reply.status < 300
    return rules_of(reply.body[: PARSED_BYTES + 1] if reply is not None and found else b"", agent)


async def obtain_tdmrep(origin: str, get: Get) -> bytes:
    """tdmrep.json, to be kept and read by `tdmrep.read_tdmrep`; empty if the origin has none. One that
    cannot be had says nothing (TDMRep, section on the file at the origin). Never raises."""
    try:
        reply = await followed(origin + TDMREP_PATH, get)
    except Exception:
        return b""
    return reply.body if reply is not None and 200 <= reply.status < 300 else b""


async def followed(url: str, get: Get) -> Reply | None:
    """The answer after redirects, which may lead to other hosts; None if they lead on and on, or to no
    web page."""
    for _ in range(REDIRECTS + 1):
        reply = await get(url)
        if not (300 <= reply.status < 400 and reply.location):
            return reply
        target = canonical(joined(url, reply.location))
        if target is None:
            return None
        url = target
    return None


def describe(error: BaseException) -> str:
    """An exception in a few words, for the crawl log."""
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__

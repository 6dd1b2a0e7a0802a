"""What each origin allows us: asked of it once a day, remembered, written down in the frontier."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from crawler.frontier import Frontier
from crawler.origins import (
    KEPT_SECONDS,
    TDMREP_PATH,
    Get,
    Rules,
    obtain_robots,
    obtain_tdmrep,
    product_token,
    rules_of,
)
from crawler.tdmrep import TdmRule, read_tdmrep

log = logging.getLogger(__name__)

TRIES = 2
"""How often a robots.txt that cannot be had is asked for before it forbids the origin."""
READ = "#read"
"""Behind the URL of a sitemap, in the name under which it is kept that it was read."""
REMEMBERED_ORIGINS = 5_000
"""Origins whose rules are held in memory; those of others are parsed again."""


@dataclass(frozen=True)
class OriginRules:
    """What holds for all pages of an origin."""

    robots: Rules
    tdmrep: tuple[TdmRule, ...] = ()


class RuleBook:
    """The rules of all origins."""

    def __init__(
        self,
        frontier: Frontier,
        user_agent: str,
        *,
        reads_tdmrep: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frontier, self._clock, self._reads_tdmrep = frontier, clock, reads_tdmrep
        self.agent = product_token(user_agent)
        self._rules: dict[str, tuple[float, OriginRules]] = {}
        self._tries = Counter[str]()

    def known(self, origin: str) -> OriginRules | None:
        """None if the origin must be asked, as it never was or a day is over."""
        now = self._clock()
        until, rules = self._rules.get(origin, (0.0, None))
        if rules is not None and now < until:
            return rules
        kept = self._frontier.kept_file(f"{origin}/robots.txt")
        tdmrep = self._frontier.kept_file(origin + TDMREP_PATH) if self._reads_tdmrep else (b"", 0.0)
        if kept is None or tdmrep is None:
            return None
        return self._remember(
            origin, rules_of(kept[0], self.agent), tdmrep[0], KEPT_SECONDS - max(kept[1], tdmrep[1])
        )

    async def obtain(
        self, origin: str, get: Get, slow_down: Callable[[float], None], is_refused: Callable[[], bool]
    ) -> Rules:
        """Ask the origin. If what came is passing and `known` has nothing afterwards, the host is to be put
        off and asked again; after TRIES times it holds, and forbids everything.

        `slow_down` is told at once the seconds between requests that are asked for; `is_refused`: the host
        has an address that is never asked, which no waiting changes.
        """
        rules = await obtain_robots(origin, self.agent, get)
        tdmrep = b""
        if rules.keep is not None:
            self._frontier.keep_file(f"{origin}/robots.txt", rules.keep)
            slow_down(rules.text.delay_seconds)
            if self._reads_tdmrep:
                if rules.text.allows(origin + TDMREP_PATH):
                    tdmrep = await obtain_tdmrep(origin, get)
                self._frontier.keep_file(origin + TDMREP_PATH, tdmrep)
        elif rules.is_passing and not is_refused():
            self._tries[origin] += 1
            if self._tries[origin] < TRIES:
                return rules
            log.warning("%s: %s; nothing is fetched from it", origin, rules.refusal)
        del self._tries[origin]
        self._remember(origin, rules, tdmrep, KEPT_SECONDS)
        return rules

    def _remember(self, origin: str, rules: Rules, tdmrep: bytes, seconds: float) -> OriginRules:
        if len(self._rules) >= REMEMBERED_ORIGINS:
            self._rules.clear()
        whole = OriginRules(rules, tuple(read_tdmrep(tdmrep)) if tdmrep else ())
        self._rules[origin] = (self._clock() + seconds, whole)
        return whole

    # --- sitemaps ---

    def wants_sitemaps(self, origin: str, rules: OriginRules) -> bool:
        """True if robots.txt names sitemaps that were not read within a day."""
        return bool(rules.robots.text.sitemaps) and self._frontier.kept_file(_listed(origin)) is None

    def read_sitemaps(self, origin: str) -> None:
        """They were read to their end."""
        self._frontier.keep_file(_listed(origin), b"")

    def sitemap(self, url: str) -> bytes | None:
        """A sitemap that was read within a day: of an index all of it, as it says which others there are; of
        one that lists pages nothing any more, as they were taken in. None if it was not read."""
        kept = self._frontier.kept_file(f"{url}{READ}")
        return kept[0] if kept else None

    def read_sitemap(self, url: str, index: bytes) -> None:
        """It was read to its end; `index` is empty if it was none."""
        self._frontier.keep_file(f"{url}{READ}", index)


def _listed(origin: str) -> str:
    """The name under which it is kept that an origin's sitemaps were read."""
    return f"{origin}/robots.txt#sitemaps"


def origin_of(url: str) -> str:
    """Scheme, host and port of a canonical URL."""
    return url[: url.index("/", 8)]

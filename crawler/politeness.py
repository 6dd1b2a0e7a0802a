"""What each origin allows us: asked of it once a day, remembered, written down in the frontier."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from crawler.frontier import Frontier
from crawler.origins import KEPT_SECONDS, Get, Rules, obtain_robots, product_token, rules_of

log = logging.getLogger(__name__)

TRIES = 3
"""How often a robots.txt that cannot be had is asked for before it forbids the origin."""
REMEMBERED_ORIGINS = 5_000
"""Origins whose rules are held in memory; those of others are parsed again."""


class RuleBook:
    """The rules of all origins."""

    def __init__(
        self, frontier: Frontier, user_agent: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._frontier, self._agent, self._clock = frontier, product_token(user_agent), clock
        self._rules: dict[str, tuple[float, Rules]] = {}
        self._tries = Counter[str]()

    def known(self, origin: str) -> Rules | None:
        """None if the origin must be asked, as it never was or a day is over."""
        now = self._clock()
        until, rules = self._rules.get(origin, (0.0, None))
        if rules is not None and now < until:
            return rules
        kept = self._frontier.kept_file(robots_of(origin))
        if kept is None:
            return None
        body, age_seconds = kept
        return self._remember(origin, rules_of(body, self._agent), KEPT_SECONDS - age_seconds)

    async def obtain(self, origin: str, get: Get) -> Rules:
        """Ask the origin. If the rules are passing, they are not remembered: the host is to be put off
        and asked again, TRIES times in all. Then they hold, and forbid everything."""
        rules = await obtain_robots(origin, self._agent, get)
        if rules.keep is not None:
            self._frontier.keep_file(robots_of(origin), rules.keep)
        elif rules.is_passing:
            self._tries[origin] += 1
            if self._tries[origin] < TRIES:
                return rules
            log.warning("%s: %s; nothing is fetched from it", origin, rules.refusal)
        del self._tries[origin]
        return self._remember(origin, rules, KEPT_SECONDS)

    def _remember(self, origin: str, rules: Rules, seconds: float) -> Rules:
        if len(self._rules) >= REMEMBERED_ORIGINS:
            self._rules.clear()
        self._rules[origin] = (self._clock() + seconds, rules)
        return rules


def robots_of(origin: str) -> str:
    return f"{origin}/robots.txt"


def origin_of(url: str) -> str:
    """Scheme, host and port of a canonical URL."""
    return url[: url.index("/", 8)]

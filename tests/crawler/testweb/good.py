"""The good part of the test web: a seeded link graph over many hosts, each page of which can be reached.

Page n of a host leads to its pages 2n + 1 and 2n + 2, so that all are reached from the front page,
and to others anywhere, each link in one of the many spellings that the web has for a URL.
"""

import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from tests.crawler.testweb.exchange import Asked, Reply, missing, page, redirect, text
from tests.crawler.testweb.hosts import GOOD, Host, outcomes
from tests.crawler.testweb.words import some_words

HOSTS_PER_DOMAIN = 2
NEAR_LINKS, FAR_LINKS = 5, 3
WITH_HOST = 0.3
"""Share of the links within a host that name it."""
PARAGRAPH_WORDS = 120
ROBOTS = text("User-agent: *\nDisallow: /private/\n")
LOGO = Reply(b"\x89PNG\r\n\x1a\n" + bytes(200), headers=(("Content-Type", "image/png"),))
OUTSIDE_HOSTS = 50
"""Hosts that pages link to and that are in no one's scope. They are not even served."""

PATHS: tuple[Callable[[int], str], ...] = (
    lambda n: f"/articles/{2000 + n % 20}/{n % 12 + 1:02d}/story-{n}.html",
    lambda n: f"/item?id={n}&lang=en",
    lambda n: f"/caf%C3%A9/{n}/",
    lambda n: f"/Wiki/Topic_{n}",
    lambda n: f"/deep/er/and/deeper/{n}.xhtml",
    lambda n: f"/~user{n}/index.html",
)
"""Kinds of canonical paths."""


@dataclass(frozen=True)
class Size:
    """Of the good part of a web."""

    domains: int = 150
    fewest_pages: int = 2
    most_pages: int = 20
    """Of a host."""


@dataclass(frozen=True)
class _Plan:
    """What all hosts know of each other: their names and paths."""

    seed: int
    paths: dict[str, tuple[str, ...]]
    spellings: "Sequence[Spelling]"

    def links(self, host: str, number: int) -> Iterator[str]:
        """All that a page leads to, as it is spelled there."""
        chance = random.Random(f"{self.seed} {host} {number}")
        own = self.paths[host]
        for child in (2 * number + 1, 2 * number + 2):
            if child < len(own):
                yield self._spelled(chance, host, own[child], own=True)
        for _ in range(NEAR_LINKS):
            yield self._spelled(chance, host, chance.choice(own), own=True)
        names = sorted(self.paths)
        for _ in range(FAR_LINKS):
            other = chance.choice(names)
            yield self._spelled(chance, other, chance.choice(self.paths[other]), own=other == host)
        yield f"http://outside{chance.randrange(OUTSIDE_HOSTS):02d}.example/{number}"
        yield f"/private/{number}.html"
        if number % 5 == 0:
            yield from (f"/missing/{number}", f"/old/{number}", "/logo.png", "mailto:someone@site.example")

    def _spelled(self, chance: random.Random, host: str, path: str, *, own: bool) -> str:
        """One of the spellings of a URL, all of which stand for the same page."""
        named = host if not own or chance.random() < WITH_HOST else None
        return chance.choice(self.spellings)(chance, named, path)


def good_hosts(seed: int, size: Size, spellings: "Sequence[Spelling] | None" = None) -> list[Host]:
    """Two hosts for each domain. What is true of them follows from seed and size alone."""
    chance = random.Random(f"{seed} good hosts")
    names = [
        f"{label}site{domain:03d}.example"
        for domain in range(size.domains)
        for label in ("", "docs.")[:HOSTS_PER_DOMAIN]
    ]
    paths = {name: _paths(chance, chance.randint(size.fewest_pages, size.most_pages)) for name in names}
    plan = _Plan(seed, paths, spellings or SPELLINGS)
    return [_host(plan, name) for name in names]


def _paths(chance: random.Random, count: int) -> tuple[str, ...]:
    return ("/", *(chance.choice(PATHS)(number) for number in range(1, count)))


def _host(plan: _Plan, name: str) -> Host:
    paths = plan.paths[name]
    numbers = {path: number for number, path in enumerate(paths)}
    fifths = range(0, len(paths), 5)

    @cache
    def page_of(number: int) -> Reply:
        return _page(plan, name, number)

    def answer(asked: Asked) -> Reply:
        if asked.path in numbers:
            return page_of(numbers[asked.path])
        kind, _, number = asked.path[1:].partition("/")
        if kind == "old" and number.isdigit() and int(number) in fifths:
            return redirect(paths[int(number)], 301)
        return {"/robots.txt": ROBOTS, "/logo.png": LOGO}.get(asked.path) or missing()

    return Host(
        name,
        GOOD,
        answer,
        pages=frozenset(paths),
        may={
            **{f"/missing/{number}": outcomes("http-error") for number in fifths},
            **{f"/old/{number}": outcomes("redirect") for number in fifths},
            "/logo.png": outcomes("not-html"),
        },
        never={f"/private/{number}.html": "robots.txt disallows it" for number in range(len(paths))},
    )


def _page(plan: _Plan, host: str, number: int) -> Reply:
    chance = random.Random(f"{plan.seed} {host} {number} text")
    return page(
        *plan.links(host, number),
        title=f"Page {number} of {host}",
        text=some_words(chance, PARAGRAPH_WORDS),
    )


def _joined(host: str | None, path: str) -> str:
    return path if host is None else f"http://{host}{path}"


def _with_query(path: str, extra: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{extra}"


def _hex(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(string.hexdigits.lower()[:16], k=length))


def _plain(chance: random.Random, host: str | None, path: str) -> str:
    return _joined(host, path)


def _fragment(chance: random.Random, host: str | None, path: str) -> str:
    return _joined(host, f"{path}#section-{chance.randrange(9)}")


def _port(chance: random.Random, host: str | None, path: str) -> str:
    return path if host is None else f"http://{host}:80{path}"


def _loud(chance: random.Random, host: str | None, path: str) -> str:
    return path if host is None else f"HTTP://{host.upper()}{path}"


def _schemeless(chance: random.Random, host: str | None, path: str) -> str:
    return path if host is None else f"//{host}{path}"


def _roundabout(chance: random.Random, host: str | None, path: str) -> str:
    return _joined(host, f"/here/../there/./..{path}")


def _tracked(chance: random.Random, host: str | None, path: str) -> str:
    name = chance.choice(["utm_source", "utm_campaign", "fbclid", "gclid"])
    return _joined(host, _with_query(path, f"{name}={_hex(chance, 8)}"))


def _session(chance: random.Random, host: str | None, path: str) -> str:
    before, mark, query = path.partition("?")
    return _joined(host, f"{before};jsessionid={_hex(chance, 32).upper()}{mark}{query}")


def _php_session(chance: random.Random, host: str | None, path: str) -> str:
    return _joined(host, _with_query(path, f"PHPSESSID={_hex(chance, 26)}"))


def _other_order(chance: random.Random, host: str | None, path: str) -> str:
    before, mark, query = path.partition("?")
    return _joined(host, f"{before}{mark}{'&'.join(reversed(query.split('&')))}")


def _coded(chance: random.Random, host: str | None, path: str) -> str:
    return _joined(host, path.replace("%C3%A9", "%c3%a9").replace("~", "%7E").replace("story", "%73tory"))


def _empty_query(chance: random.Random, host: str | None, path: str) -> str:
    return _joined(host, path if "?" in path else f"{path}?")


def _padded(chance: random.Random, host: str | None, path: str) -> str:
    return f"\n  {_joined(host, path)} "


Spelling = Callable[[random.Random, str | None, str], str]
COMMON_SPELLINGS: tuple[Spelling, ...] = (_plain, _fragment, _loud, _schemeless, _roundabout, _padded)
"""Those that joining two URLs undoes, without a list of tracking parameters."""
SPELLINGS: tuple[Spelling, ...] = (
    *(_plain, _fragment, _port, _loud, _schemeless, _roundabout, _tracked),
    *(_session, _php_session, _other_order, _coded, _empty_query, _padded),
)

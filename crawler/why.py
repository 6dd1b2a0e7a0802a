"""What became of one URL, and why: from what the frontiers know of it and of its host."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from crawler import robots_txt
from crawler.entries import Visit
from crawler.inquiry import Frontiers, HostFacts, Known
from crawler.origins import product_token
from crawler.out_of_scope import OTHER_HOST
from crawler.outcomes import meaning_of
from crawler.scope import Scope
from crawler.seed_places import is_private
from crawler.urls import URL_CHARACTERS, canonical, host_of
from pipeline.errors import InputError

SCHEMES = ("http://", "https://")


class NoWebPageError(InputError):
    """What was asked about is no URL of a web page, and the crawl knows none of that name."""

    remedy = "Write the URL whole, as the address line of a browser has it."


@dataclass(frozen=True)
class Step:
    """A page on the way from a seed, or the URL itself."""

    url: str
    depth: int
    outcome: str | None


@dataclass(frozen=True)
class Target:
    """Where a URL redirects to."""

    url: str
    outcome: str | None
    """None while it has none."""
    told: str
    """What became of it, in words."""
    host: str | None
    """Its host, if that is another one than the URL's."""
    frontier: str | None
    """The file that tells this; None if none knows it."""


@dataclass(frozen=True)
class Answer:
    """What there is to say about a URL."""

    asked: str
    url: str | None
    """Its canonical form, by which it is known; None if it can have none."""
    state: str
    """`waiting`, `done`, `aside`, `elsewhere`; `unwanted` if it is ruled out, or `unknown`."""
    told: str
    """What became of it, in words."""
    advice: str | None
    """What whoever wants the page can do."""
    known: Known | None = None
    rule: str | None = None
    """The line of robots.txt that decides about it."""
    way: list[Step] = field(default_factory=list)
    """From the seed to the URL."""
    leads_to: Target | None = None


def why(frontiers: Frontiers, asked: str, config: Mapping[str, Any], *, finished: bool) -> Answer:
    """`config` is the crawl's resolved configuration, `finished` tells that nothing more will come. Raises
    NoWebPageError."""
    url = canonical(asked)
    known = frontiers.find(url or asked)
    if known is None and not asked.lower().startswith(SCHEMES):
        raise NoWebPageError(
            f"{asked}: no URL of a web page, which begins with http:// or https://"
            + ("" if urlsplit(asked).scheme else f"; write it whole, such as https://{asked.lstrip('/')}")
        )
    if known is None:
        state, told, advice = _of_unknown(frontiers, asked, url, config, finished)
        return Answer(asked, url, state, told, advice)
    host = frontiers.host(known.host)
    way = [
        Step(each.url, each.depth, each.visit.outcome if each.visit else None)
        for each in frontiers.way_to(known)
    ]
    if known.visit is None:
        told, advice = _of_waiting(known, host, config, finished)
        return Answer(asked, known.url, known.state, told, advice, known, way=way[::-1])
    meaning = meaning_of(known.visit.outcome)
    return Answer(
        asked,
        known.url,
        known.state,
        meaning.told,
        meaning.advice,
        known,
        rule=_rule(frontiers, known.url, config) if known.visit.outcome == "robots" else None,
        way=way[::-1],
        leads_to=_target(frontiers, known, known.visit, config, finished),
    )


def _of_unknown(
    frontiers: Frontiers,
    asked: str,
    url: str | None,
    config: Mapping[str, Any],
    finished: bool,
    is_found: bool = False,
) -> tuple[str, str, str | None]:
    """State, what became of it, and what to do. `is_found`: a page that was fetched leads to it."""
    if url is None:
        if len(asked) > URL_CHARACTERS:
            return (
                "unknown",
                f"longer than {URL_CHARACTERS:,} characters, and such a URL is not followed",
                None,
            )
        if not asked.lower().startswith(SCHEMES):
            return "unknown", "no URL of a web page", None
        advice = "See how it is spelled; one with a user name is not asked for."
        return "unknown", "no URL that can be asked for", advice
    for setting, scope in (
        ("deny", Scope(deny=tuple(config.get("deny", ())))),
        ("allow", Scope(allow=tuple(config.get("allow", ())))),
    ):
        if (refusal := scope.refusal(url, host_of(url))) is not None:
            told = f"never asked for: {refusal} (setting crawl.{setting})"
            return "unwanted", told, f"Change crawl.{setting} if it is meant."
    host = frontiers.host(host_of(url))
    named = Scope(allow=tuple(config.get("allow", ()))).names(host_of(url))
    private = _private_setting(host_of(url), config)
    is_found = is_found or frontiers.unwanted_as(url) == OTHER_HOST
    if not named and (is_found if host is None else not host.allowed):
        told = "never asked for: pages of its host are not wanted"
        return "unwanted", told, f"Add the host to crawl.allowed_hosts{private}."
    if host is None:
        return "unknown", *_of_unknown_host(frontiers, host_of(url), private)
    told = f"never seen: no page that was fetched links to it, though {host.pages:,} of its host were"
    if not finished:
        return "unknown", told, "The crawl has not ended; it may be found yet."
    depth = config.get("max_depth")
    if depth is not None:
        advice = f"Add it to crawl.seeds, or raise crawl.max_depth ({depth}) if deeper pages link to it."
        return "unknown", told, advice
    return "unknown", told, "Add it to crawl.seeds."


def _of_unknown_host(frontiers: Frontiers, name: str, private: str) -> tuple[str, str]:
    near = frontiers.near_hosts(name)
    there = f" (there is {', '.join(near)})" if near else ""
    others = frontiers.out_of_scope().get(OTHER_HOST)
    if others is not None and not others.is_exact:
        links = f"links to hosts that are not wanted ({others.told}, of which some are kept)"
        told = f"never seen, or only in {links}{there}"
    else:
        told = f"never seen: nothing that was fetched led to its host{there}"
    advice = f"Add it to crawl.seeds, or its host to crawl.allowed_hosts if a page links there{private}."
    return told, advice


def _private_setting(host: str, config: Mapping[str, Any]) -> str:
    """What else is to be set for a host at an address that is not on the open internet."""
    if host in config.get("private_hosts", ()) or not is_private(host):
        return ""
    return ", and the host to crawl.private_hosts if that address, not on the open internet, is meant"


def _of_waiting(
    known: Known, host: HostFacts | None, config: Mapping[str, Any], finished: bool
) -> tuple[str, str | None]:
    if known.state == "aside":
        return (
            "found, and kept aside until all seeds have led somewhere: whose pages are wanted hangs on it",
            None,
        )
    if known.state == "elsewhere":
        return "found, and on its way to the partition that serves its host", None
    if host is not None and host.closed is not None:
        meaning = meaning_of(host.closed)
        return f"waiting, but its host is asked no more: {meaning.told} ({host.closed})", meaning.advice
    if finished:
        limits = [
            f"crawl.{name} ({config[name]:,})"
            for name in ("max_pages", "max_seconds", "max_depth")
            if config.get(name) is not None
        ]
        return "not asked for: the crawl ended at a limit before", f"Raise {' or '.join(limits)}."
    told = "waiting for its turn"
    if known.tries:
        told += f"; tries in vain: {known.tries}"
    if host is not None and (rest := host.due - time.time()) > 1:
        told += f"; its host is not asked for another {rest:,.0f} s"
    return told, "Wait, or go on with the crawl if it was interrupted."


def _rule(frontiers: Frontiers, url: str, config: Mapping[str, Any]) -> str | None:
    """The line that decides, as it is understood: the longest path that matches (RFC 9309, section 2.2.2)."""
    body = frontiers.robots(url[: url.index("/", 8)])
    agent = config.get("user_agent")
    if body is None or agent is None:
        return None
    path = robots_txt.path_of(url)
    rules = robots_txt.parse(body, product_token(agent)).rules
    found = next((rule for rule in rules if rule[0].matches(path)), None)
    return f"{'Allow' if found[1] else 'Disallow'}: {found[0].text}" if found else None


def _target(
    frontiers: Frontiers, known: Known, visit: Visit, config: Mapping[str, Any], finished: bool
) -> Target | None:
    """Where a redirect leads, and what became of that; the target is a URL of its own, perhaps of a host that
    another partition serves, or one that is not wanted."""
    if visit.outcome != "redirect" or not visit.detail:
        return None
    url = visit.detail
    host = host_of(url) if host_of(url) != known.host else None
    found = frontiers.find(url)
    if found is None:
        state, told, _ = _of_unknown(frontiers, url, canonical(url), config, finished, is_found=True)
        return Target(url, state, told, host, None)
    if found.visit is not None:
        return Target(url, found.visit.outcome, meaning_of(found.visit.outcome).told, host, found.frontier)
    told, _ = _of_waiting(found, frontiers.host(found.host), config, finished)
    return Target(url, None, told, host, found.frontier)

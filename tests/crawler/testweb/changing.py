"""Hosts that change between two snapshots of the web, and hosts that tell their pages in sitemaps."""

import email.utils
import gzip
from collections.abc import Callable
from dataclasses import dataclass

from tests.crawler.testweb.exchange import HTML, Asked, Reply, digest, missing, page, text
from tests.crawler.testweb.hosts import ALLOW_ALL, Host, by_table, outcomes
from tests.crawler.testweb.words import prose

EPOCH = 1_700_000_000
"""Second in which every page's first state was written; a later state is a day younger."""
DAY_SECONDS = 86_400
XML = (("Content-Type", "application/xml"),)
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"


@dataclass(frozen=True)
class Change:
    """What a page is in the second snapshot, by the crawl log's word for it."""

    outcomes: frozenset[str]
    validators: tuple[str, ...] = ()
    """ETag, Last-Modified: those that its answers carry."""


CHANGES: dict[str, Change] = {
    "/": Change(outcomes("changed"), ("ETag",)),
    "/same-etag": Change(outcomes("unchanged"), ("ETag",)),
    "/same-date": Change(outcomes("unchanged"), ("Last-Modified",)),
    "/same-both": Change(outcomes("unchanged"), ("ETag", "Last-Modified")),
    "/same-bytes": Change(outcomes("unchanged")),
    "/changed-etag": Change(outcomes("changed"), ("ETag",)),
    "/changed-date": Change(outcomes("changed"), ("Last-Modified",)),
    "/changed-plain": Change(outcomes("changed")),
    "/gone-404": Change(outcomes("gone"), ("ETag",)),
    "/gone-410": Change(outcomes("gone")),
    "/new": Change(outcomes("page")),
}
"""Path → what a recrawl must say of it. The front page changes, because its links do."""


def changing_host() -> Host:
    """In snapshot 1 all but /new; in snapshot 2 what CHANGES says."""
    kind = "changing"
    first = frozenset(path for path in CHANGES if path != "/new")
    return Host(f"{kind}.example", kind, _changing, pages=first)


def second_truth() -> dict[str, frozenset[str]]:
    """URL → outcomes that the log of a recrawl may have for it."""
    return {f"http://changing.example{path}": change.outcomes for path, change in CHANGES.items()}


def _changing(asked: Asked) -> Reply:
    change = CHANGES.get(asked.path)
    if change is None:
        return ALLOW_ALL if asked.path == "/robots.txt" else missing()
    later = asked.snapshot > 1
    if asked.path == "/new" and not later:
        return missing()
    if asked.path.startswith("/gone") and later:
        return Reply(b"gone", int(asked.path[-3:]))
    state = 2 if later and "changed" in change.outcomes else 1
    links = [path for path in CHANGES if path != "/new" or later] if asked.path == "/" else ["/"]
    body = page(*links, title=asked.path, text=prose(f"{asked.path} {state}")).body
    validators = {
        "ETag": f'"{digest(body)[:16]}"',
        "Last-Modified": email.utils.formatdate(EPOCH + state * DAY_SECONDS, usegmt=True),
    }
    headers = tuple((name, validators[name]) for name in change.validators)
    if _is_known(asked, dict(headers)):
        return Reply(b"", 304, headers)
    return Reply(body, headers=(*HTML, *headers))


def _is_known(asked: Asked, validators: dict[str, str]) -> bool:
    """RFC 9110, section 13.2.2: If-None-Match goes before If-Modified-Since."""
    if "if-none-match" in asked.headers:
        return asked.headers["if-none-match"] == validators.get("ETag")
    return "if-modified-since" in asked.headers and asked.headers["if-modified-since"] == validators.get(
        "Last-Modified"
    )


def sitemap_hosts() -> list[Host]:
    """Pages to which no link leads: a sitemap that robots.txt names does, in each of its forms."""
    forms: dict[str, Callable[[str], dict[str, Reply]]] = {
        "sitemap-plain": lambda origin: {"/map.xml": _urls(origin, "/a", "/b")},
        "sitemap-gzip": lambda origin: {"/map.xml.gz": _gzipped(_urls(origin, "/a", "/b"))},
        "sitemap-text": lambda origin: {"/map.txt": text(f"{origin}/a\n{origin}/b\n")},
        "sitemap-index": lambda origin: {
            "/map.xml": _index(origin, "/one.xml", "/two.xml.gz"),
            "/one.xml": _urls(origin, "/a"),
            "/two.xml.gz": _gzipped(_urls(origin, "/b")),
        },
        "sitemap-broken": lambda origin: {"/map.xml": Reply(b"<urlset><url><loc>", headers=XML)},
        "sitemap-loop": lambda origin: {"/map.xml": _index(origin, "/map.xml")},
        "sitemap-elsewhere": lambda origin: {"/map.xml": _urls("http://outside00.example", "/a", "/b")},
    }
    return [_sitemap_host(kind, form(f"http://{kind}.example")) for kind, form in forms.items()]


def _sitemap_host(kind: str, maps: dict[str, Reply]) -> Host:
    first = next(iter(maps))
    robots = text(f"User-agent: *\nDisallow: /private/\nSitemap: http://{kind}.example{first}\n")
    told = kind in ("sitemap-plain", "sitemap-gzip", "sitemap-text", "sitemap-index")
    pages = {path: page(title=f"{path} of {kind}", text=prose(kind + path)) for path in ("/", "/a", "/b")}
    return Host(
        f"{kind}.example",
        kind,
        by_table({**pages, **maps}, robots),
        pages=frozenset(pages) if told else frozenset({"/"}),
        may=dict.fromkeys(maps, outcomes("not-html")),
    )


def _urls(origin: str, *paths: str) -> Reply:
    entries = "".join(f"<url><loc>{origin}{path}</loc></url>" for path in paths)
    return Reply(f'<?xml version="1.0"?><urlset xmlns="{NAMESPACE}">{entries}</urlset>'.encode(), headers=XML)


def _index(origin: str, *paths: str) -> Reply:
    entries = "".join(f"<sitemap><loc>{origin}{path}</loc></sitemap>" for path in paths)
    return Reply(
        f'<?xml version="1.0"?><sitemapindex xmlns="{NAMESPACE}">{entries}</sitemapindex>'.encode(),
        headers=XML,
    )


def _gzipped(reply: Reply) -> Reply:
    """A file that is gzip, not one that travels as gzip."""
    return Reply(gzip.compress(reply.body, mtime=0), headers=(("Content-Type", "application/gzip"),))

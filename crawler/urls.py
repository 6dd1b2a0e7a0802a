"""URLs: the one spelling of each, what a link leads to, and the domain and bucket of a host."""

import hashlib
import re
from functools import cache, lru_cache
from urllib.parse import urljoin, urlsplit

import tldextract
from w3lib.url import canonicalize_url

URL_CHARACTERS = 8_192
"""Longer URLs are not followed: no honest link is that long."""
BUCKETS = 256
"""Parts that hosts are spread over, by registrable domain. Fixed: the numbers are stored."""
ROOTED = re.compile(r"/(?!/)|https?://[^/?#]")
"""A path from the root, or a URL with its host."""


@lru_cache(maxsize=100_000)
def canonical(url: str) -> str | None:
    """The one spelling of an http(s) URL: no fragment, no default port, sorted query; None for any
    other URL, one with a user name in it, or one that cannot be read."""
    try:
        spelled = canonicalize_url(url)
        parts = urlsplit(spelled)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    if len(spelled) > URL_CHARACTERS:
        return None
    if (parts.scheme, port) in (("http", 80), ("https", 443)):
        parts = parts._replace(netloc=parts.netloc.rpartition(":")[0])
        spelled = parts.geturl()
    return spelled


def host_of(url: str) -> str:
    """The host name, or '' if the URL has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@lru_cache(maxsize=50_000)
def domain_of(host: str) -> str:
    """The registrable domain, by the Public Suffix List that tldextract brings along (nothing is
    fetched); an address, a single label or a bare suffix is its own."""
    return _extract()(host).top_domain_under_public_suffix or host


@cache
def _extract() -> tldextract.TLDExtract:
    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)


@lru_cache(maxsize=50_000)
def bucket_of(host: str) -> int:
    """The bucket (0 to 255) of a host: a hash of its registrable domain, the same on every machine."""
    return hashlib.blake2b(domain_of(host).encode(), digest_size=1).digest()[0]


def resolve(base: str, link: str) -> str | None:
    """The canonical URL of what `base` (canonical) links to, or None if it is no web page's.

    Little of `base` matters to most links: nothing but its site to a path from the root or a whole
    URL, nothing but its folder to the rest. So a site's menu is resolved once for all of its pages:
    joining and canonicalizing would cost more than parsing the page.
    """
    if ROOTED.match(link):
        return _resolve(base[: base.index("/", base.index("//") + 2) + 1], link)
    if link.startswith(("?", "/", "http:", "https:")):
        return _resolve(base, link)
    path = base.partition("?")[0]
    return _resolve(path[: path.rindex("/") + 1], link)


@lru_cache(maxsize=100_000)
def _resolve(base: str, link: str) -> str | None:
    return canonical(joined(base, link))


def joined(base: str, link: str) -> str:
    """The absolute URL, or '' if the two cannot be joined."""
    try:
        return urljoin(base, link)
    except ValueError:
        return ""

"""URLs: the one spelling of each, what a link leads to, and the family, domain and bucket it belongs to.

The canonical URL is not only how a URL is known, it is also what is asked for. So nothing is
changed that could name another page: the host, the port and the path follow RFC 3986, section 6.2
(the path by w3lib), and of the query only what is known not to matter goes. w3lib's own treatment
of queries would ask for `?%2Ftopic%2F1=` where a page says `?/topic/1`.

Microseconds a call on one x86 core: a plain URL 0.4, one with a query 7, one with escapes 14, any
that was seen lately 0.1. `resolve` of a site's menu is looked up, not computed.
"""

import hashlib
import re
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from w3lib.url import canonicalize_url

from pipeline.corpus.canonical import LABELS, spelled_host

if TYPE_CHECKING:
    import tldextract

URL_CHARACTERS = 8_192
"""Longer URLs are not followed: no honest link is that long."""
BUCKETS = 256
"""Parts that hosts are spread over, by registrable domain. Fixed: the numbers are stored."""
REMEMBERED_CHARACTERS = 512
"""Longer URLs are not kept in the caches, which bounds their memory."""
PASSES = 4
"""How often taking something away may uncover the next thing to take away."""

SEGMENTS = r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]*)+\Z"
PLAIN_PATH = re.compile(SEGMENTS)
PLAIN = re.compile(rf"https?://(?=[^/]{{1,253}}/){LABELS}{SEGMENTS}")
"""Canonical already, as most links are."""
SITE = re.compile(r"(https?)://([^/]*?)(?::([0-9]*))?(/.*)?\Z", re.IGNORECASE | re.DOTALL)
ROOTED = re.compile(r"/(?![/\\\t\n\r])|https?://[^/?#\\\t\n\r]")
"""A path from the root, or a URL with its host."""
BLANKS = "".join(map(chr, range(0x21)))
"""What the URL Standard cuts off both ends."""
DEFAULT_PORTS = {"http": 80, "https": 443}

PLAIN_PIECE = re.compile(r"[A-Za-z0-9._~/:@!$'()*,;?+=-]*\Z")
NAME_SAFE = "._~/:@!$'()*,;?-"
VALUE_SAFE = NAME_SAFE + "="
PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid)=[^/;]*", re.IGNORECASE)
"""Java's and PHP's session as a path parameter. ASP.NET's segment `(S(…))` stays: asked without it,
such a site only redirects to a new one."""
VARYING = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-f]*[0-9])[0-9a-f]{8,}|[0-9]+", re.IGNORECASE
)
"""A UUID, a run of hexadecimal digits, a number: what tells the pages of a family apart."""


def canonical(url: str) -> str | None:
    """The one spelling of an http(s) URL; None for any other URL, one with a user name in it, one
    longer than URL_CHARACTERS, or one that cannot be read. Never raises.

    Lower-case host without a final dot, no default port, no fragment, no dot segments, normalized
    percent-encoding, a sorted query without tracking parameters and sessions, no empty query.
    `canonical(canonical(url)) == canonical(url)`.
    """
    return _remembered(url) if len(url) <= REMEMBERED_CHARACTERS else _canonical(url)


def _canonical(url: str) -> str | None:
    if PLAIN.match(url) and len(url) <= URL_CHARACTERS:
        return url
    try:
        spelled = _spelled(url)
    except ValueError:
        return None
    return spelled if spelled is not None and len(spelled) <= URL_CHARACTERS else None


_remembered = lru_cache(maxsize=100_000)(_canonical)


def _spelled(url: str) -> str | None:
    """Raises ValueError for what is no URL (UnicodeError is one)."""
    whole = url.strip(BLANKS).translate({9: None, 10: None, 13: None}).partition("#")[0]
    site, _, query = whole.partition("?")
    found = SITE.match(site.replace("\\", "/"))
    if found is None or "@" in found[2]:
        return None
    scheme, port = found[1].lower(), found[3]
    number = int(port) if port else DEFAULT_PORTS[scheme]
    host = spelled_host(found[2])
    if host is None or number > 65_535:
        return None
    origin = f"{scheme}://{host}" + (f":{number}" if number != DEFAULT_PORTS[scheme] else "")
    path = _path(found[4] or "/")
    kept = _query(query) if query else ""
    return f"{origin}{path}?{kept}" if kept else origin + path


def _path(text: str) -> str:
    """Raises ValueError if it is a different one each time it is normalized."""
    if PLAIN_PATH.match(text):
        return text
    for _ in range(PASSES):
        if ";" in text:
            text = PATH_SESSION.sub("", text)
        spelled = canonicalize_url(f"http://h{text}").removeprefix("http://h")
        if spelled == text or ("%" not in text and ";" not in text):
            return spelled
        text = spelled
    raise ValueError("its path does not settle")


def _query(text: str) -> str:
    pieces = [_piece(piece) for piece in text.split("&") if piece]
    return "&".join(sorted(piece for piece in pieces if piece and not is_tracking(piece)))


def _piece(text: str) -> str:
    """`name=value` or a bare name, with each character written in one way."""
    if PLAIN_PIECE.match(text):
        return text
    name, equals, value = text.partition("=")
    return _quoted(name, NAME_SAFE) + equals + _quoted(value, VALUE_SAFE)


def _quoted(text: str, safe: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe=safe).replace("%20", "+")


def is_tracking(piece: str) -> bool:
    """True if a query's `name=value` says who came or from where, not which page is meant."""
    name, _, value = piece.partition("=")
    names, prefixes, shapes = _tracking()
    name = name.lower()
    if name in names or name.startswith(prefixes):
        return True
    shape = shapes.get(name)
    return shape is not None and shape.fullmatch(value) is not None


@cache
def _tracking() -> tuple[frozenset[str], tuple[str, ...], dict[str, re.Pattern[str]]]:
    """The parameters to be removed: by their name, by how it begins, and by their value's shape."""
    text = (resources.files("crawler") / "tracking_parameters.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    shapes = dict(line.split("=", 1) for line in lines if "=" in line)
    whole = [line for line in lines if "=" not in line]
    return (
        frozenset(name for name in whole if not name.endswith("*")),
        tuple(name.removesuffix("*") for name in whole if name.endswith("*")),
        {name: re.compile(shape, re.IGNORECASE) for name, shape in shapes.items()},
    )


def resolve(base: str, link: str) -> str | None:
    """The canonical URL of what `base` (canonical) links to, or None if it is no web page's.

    Little of `base` matters to most links: nothing but its site to a path from the root or a whole
    URL, nothing but its folder to the rest. So a site's menu is resolved once for all of its pages:
    joining and canonicalizing would cost more than parsing the page.
    """
    link = link.strip(BLANKS)
    if ROOTED.match(link):
        base = base[: base.index("/", base.index("//") + 2) + 1]
    elif link and link[0] not in "?#;/\\" and ":" not in link:
        path = base.partition("?")[0]
        base = path[: path.rindex("/") + 1]
    if len(base) + len(link) > REMEMBERED_CHARACTERS:
        return _canonical(joined(base, link))
    return _resolved(base, link)


@lru_cache(maxsize=100_000)
def _resolved(base: str, link: str) -> str | None:
    return _canonical(joined(base, link))


def joined(base: str, link: str) -> str:
    """The absolute URL, or '' if the two cannot be joined. Backslashes are slashes, as browsers have it."""
    if "\\" in link:
        path, mark, rest = link.partition("?")
        link = path.replace("\\", "/") + mark + rest
    try:
        return urljoin(base, link)
    except ValueError:
        return ""


def host_of(url: str) -> str:
    """The host name, or '' if the URL has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@lru_cache(maxsize=50_000)
def domain_of(host: str) -> str:
    """The registrable domain, by the Public Suffix List that tldextract brings along (nothing is
    fetched). Suffixes under which anyone may register, such as `github.io`, count as well, so that
    each of their users has a domain of one's own; an address, a single label or a bare suffix is its own."""
    return _extract()(host).top_domain_under_public_suffix or host


def is_suffix(host: str) -> bool:
    """Whether the host is one under which others register, such as `com.br`, and nobody's own."""
    found = _extract()(host)
    return bool(found.suffix) and not found.domain


@cache
def _extract() -> "tldextract.TLDExtract":
    import tldextract  # takes longer than all else here, and to check a configuration needs none of it

    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)


@lru_cache(maxsize=50_000)
def bucket_of(host: str) -> int:
    """The bucket (0 to 255) of a host: a hash of its registrable domain, the same on every machine.

    A newer Public Suffix List may move a host: who resumes a crawl goes by the number that was stored.
    """
    return hashlib.blake2b(domain_of(host).encode(), digest_size=1).digest()[0]


def shape_of(url: str) -> str:
    """The family of a canonical URL: its host, path and the names in its query, numbers and
    hexadecimal runs written as `0`. The days of a calendar are of one shape, so are `www1` and `www2`.
    """
    site, _, query = url.partition("?")
    shape = VARYING.sub("0", site.partition("//")[2])
    if not query:
        return shape
    names = sorted({VARYING.sub("0", piece.partition("=")[0]) for piece in query.split("&")})
    return f"{shape}?{'&'.join(names)}"

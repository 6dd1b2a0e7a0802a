"""Sitemaps: the pages that a site lists itself (sitemaps.org, protocol 0.9).

For the loop that fetches, once per host whose sitemaps are wanted:

    async for page in listed(["https://a.org/sitemap.xml", *robots.sitemaps], get):
        frontier.add(Entry(page.url, ...))

where `get` gives the body of one file, decoded as its Content-Encoding says, or None; it asks politely and
guarded like for any page (robots.txt holds for sitemaps too, and they count as requests to their host).
It is made to be started over after a kill: the frontier knows which pages it has. What a page's scope is
the caller decides; a site may list other sites' pages.

Nothing here raises, whatever was sent: what cannot be read lists nothing, and what was read before the
fault counts. Entities are not expanded, so that no file can grow in memory; a gzip file is unpacked up to
UNPACKED_BYTES. 160 ms a MB (a file of 50,000 URLs, 5 to 8 MB: about a second); other work of
the same loop waits for no more than PART_BYTES of it at a time.
"""

import asyncio
import datetime
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from lxml import etree

from crawler.urls import resolve

UNPACKED_BYTES = 50 << 20
"""Of one file: the protocol's limit."""
FILE_PAGES = 50_000
"""In one file: the protocol's limit."""
FILES = 1_000
"""Of one host, indexes among them."""
PAGES = 1_000_000
"""Of one host."""
DEPTH = 3
"""Indexes that lead to indexes: the protocol has one."""
PART_BYTES = 64 << 10
BARREN_BYTES = 1 << 20
"""Of XML without an entry, after which no more is expected; it bounds the memory that other elements take."""

TYPES = frozenset(
    {
        *("application/xml", "text/xml", "text/plain"),
        *("application/gzip", "application/x-gzip", "application/octet-stream"),
    }
)
"""Content types that sitemaps come with."""
GZIP = b"\x1f\x8b"
DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
LINE_END = re.compile(rb"[\r\n]+")


@dataclass(frozen=True)
class Listed:
    """A page, or a further sitemap, that a sitemap lists."""

    url: str
    """Canonical."""
    lastmod: float | None = None
    """When it was changed last, in seconds since 1970: a recrawl may leave out what is older."""
    priority: float = 0.5
    """Among the site's own, 0 to 1: higher ones first."""
    is_sitemap: bool = False


async def listed(
    starts: Iterable[str],
    get: Callable[[str], Awaitable[bytes | None]],
    *,
    read: Callable[[str, bool], None] | None = None,
    files: int = FILES,
    pages: int = PAGES,
    depth: int = DEPTH,
) -> AsyncIterator[Listed]:
    """The pages of all sitemaps that `starts` lead to, each file asked for once, each page as often as it
    is listed; indexes before their parts, in order. `read` is told each file that was read to its end, and
    whether it led to further ones."""
    waiting = [(url, 0) for url in dict.fromkeys(starts)]
    known = {url for url, _ in waiting}
    for url, level in waiting:
        if files <= 0 or pages <= 0:
            return
        files -= 1
        is_index = False
        for each in read_sitemap(await get(url) or b"", url):
            if each is None:
                await asyncio.sleep(0)
            elif not each.is_sitemap:
                pages -= 1
                yield each
                if pages <= 0:
                    return
            else:
                is_index = True
                if each.url not in known and level < depth and len(known) < files + len(waiting):
                    known.add(each.url)
                    waiting.append((each.url, level + 1))
        if read is not None:
            read(url, is_index)


def read_sitemap(body: bytes, url: str) -> Iterator[Listed | None]:
    """What one file lists, FILE_PAGES at most; relative URLs are taken for what `url` makes of them.
    Between them None, whenever another part of it was read. Never raises."""
    count = 0
    parts = _parts(body)
    first = next(parts, b"")
    rows = _xml if first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<" or b"\0" in first[:4] else _lines
    for row in rows(first, parts):
        if row is None:
            yield None
            continue
        found = resolve(url, row[0].strip()) if row[0].strip() else None
        if found is not None:
            yield Listed(found, seconds_of(row[1]), _priority(row[2]), row[3])
            count += 1
            if count >= FILE_PAGES:
                return


Row = tuple[str, str, str, bool]
"""Location, lastmod, priority, and whether it is a sitemap's."""


def _parts(body: bytes) -> Iterator[bytes]:
    """A file in parts of about PART_BYTES, unpacked if it is gzip's, whatever its name and headers say."""
    left = UNPACKED_BYTES
    unpacker = zlib.decompressobj(wbits=31)
    packed = body.startswith(GZIP)
    position, pending = 0, b""
    while left > 0 and (pending or position < len(body)):
        if not pending:
            pending, position = body[position : position + PART_BYTES], position + PART_BYTES
        if not packed:
            part, pending = pending, b""
        else:
            try:
                part = unpacker.decompress(pending, PART_BYTES)
            except zlib.error:
                return
            pending = unpacker.unconsumed_tail
            if unpacker.eof:
                pending = unpacker.unused_data.lstrip(b"\0")
                unpacker = zlib.decompressobj(wbits=31)
        part = part[:left]
        left -= len(part)
        if part:
            yield part


def _lines(first: bytes, parts: Iterator[bytes]) -> Iterator[Row | None]:
    """A URL a line."""
    rest = first.removeprefix(b"\xef\xbb\xbf")
    while rest:
        part = next(parts, b"")
        *lines, rest = LINE_END.split(rest + part) if part else (*LINE_END.split(rest), b"")
        for line in lines:
            if line.strip().lower().startswith((b"http://", b"https://")):
                yield line.decode("utf-8", "replace"), "", "", False
        if len(rest) > PART_BYTES:
            return  # no URL is so long
        yield None


def _xml(first: bytes, parts: Iterator[bytes]) -> Iterator[Row | None]:
    parser = etree.XMLPullParser(
        events=("end",),
        tag=("{*}url", "{*}sitemap"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=True,
    )
    part, barren = first, 0
    while part and barren < BARREN_BYTES:
        barren += len(part)
        try:
            parser.feed(part)
        except (etree.XMLSyntaxError, ValueError):
            part = b""
        for _, element in parser.read_events():
            barren = 0
            yield _row(element)
        yield None
        part = part and next(parts, b"")


def _row(element: etree._Element) -> Row:
    """What a `url` or `sitemap` element says. It is then emptied, and all before it dropped from the tree."""
    texts = {_name(child): (child.text or "") for child in reversed(element) if isinstance(child.tag, str)}
    row = (
        texts.get("loc", ""),
        texts.get("lastmod", ""),
        texts.get("priority", ""),
        _name(element) == "sitemap",
    )
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
    return row


def _name(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]


def seconds_of(text: str) -> float | None:
    """A W3C date (`2005`, `2005-01-01`, `2005-01-01T12:00:00.5+02:00`) in seconds since 1970; without a
    time zone UTC is meant. None if it is none."""
    text = text.strip()
    date = DATE.fullmatch(text)
    try:
        if date is not None:
            found = datetime.datetime(int(date[1]), int(date[2] or 1), int(date[3] or 1))
        else:
            found = datetime.datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _priority(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.5
    return value if 0 <= value <= 1 else 0.5

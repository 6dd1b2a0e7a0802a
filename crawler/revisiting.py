"""The crawl that a recrawl starts from, as its partitions read it: which pages it has, and their bodies."""

import datetime
import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from scrapy.http import Headers, Response
from scrapy.responsetypes import responsetypes

from crawler.entries import Entry, Visit
from crawler.inquiry import Frontiers
from crawler.options import Options
from crawler.outcomes import IS_PAGE
from crawler.places import url_of
from crawler.recrawl import Known, conditional_headers, is_due, known_page, original_of
from crawler.warc import Original
from pipeline.corpus.pages import STORED, Pages
from pipeline.store import Storage

log = logging.getLogger(__name__)

CACHE_KIB = 4 << 10
"""Memory for the pages of one frontier. There may be many: a recrawl stands on a recrawl, and so on."""
OF_BODY = frozenset({b"content-type", b"content-length", b"content-encoding", b"transfer-encoding"})
"""Headers of a 304 that say nothing new of the page (RFC 9111, section 3.2)."""
HOSTS = f"SELECT name FROM hosts WHERE EXISTS (SELECT 1 FROM visits WHERE host = hosts.id AND {IS_PAGE})"
ENTRIES = f"""
SELECT hosts.name, place, level, depth, redirects, priority,
    (SELECT url FROM sources WHERE sources.id = source)
FROM visits JOIN urls USING (host, place) JOIN hosts ON hosts.id = host WHERE {IS_PAGE} ORDER BY source
"""


@dataclass(frozen=True)
class Archived:
    """A page of the earlier crawl."""

    known: Known
    visit: Visit
    """What became of it there."""
    original: Original
    """The record that has its body: of that crawl, or of one that it stands on itself."""
    page: Response
    """As it was stored."""

    @property
    def conditions(self) -> dict[str, str]:
        return conditional_headers(self.known)

    def confirmed(self, answer: Response) -> Response:
        """The page with what a 304 says of it."""
        headers = Headers(self.page.headers)
        headers.update(
            {name: list(values) for name, values in answer.headers.items() if name.lower() not in OF_BODY}
        )
        return self.page.replace(status=answer.status, headers=headers)


class EarlierCrawl:
    """The frontiers and archives of a finished crawl, and of those that it stands on."""

    def __init__(self, pages: Pages, snapshot: datetime.date) -> None:
        self.snapshot = snapshot
        self._closing = ExitStack()
        self._crawls: list[tuple[Pages, Frontiers]] = []
        """The latest first."""
        each: Pages | None = pages
        while each is not None:
            frontiers = Frontiers(each.paths("frontier/"), finished=True, cache_kib=CACHE_KIB)
            self._crawls.append((each, self._closing.enter_context(frontiers)))
            each = each.earlier

    @classmethod
    def opened(cls, options: Options) -> Self | None:
        """What a partition is told to start from; None if that is nothing."""
        if options.earlier is None or options.snapshot is None:
            return None
        pages = Pages(Storage(options.store), options.earlier)
        return cls(pages, datetime.date.fromisoformat(options.snapshot))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def hosts(self) -> Iterator[str]:
        """Those of which it has a page."""
        for (name,) in self._crawls[0][1].rows(HOSTS):
            yield name

    def entries(self) -> Iterator[Entry]:
        """Every page that it has, as found there."""
        for row in self._crawls[0][1].rows(ENTRIES):
            name, place, level, depth, redirects, priority, referrer = row
            yield Entry(url_of(name, place), name, level, depth, redirects, referrer, priority)

    def is_due(self, archived: Archived) -> bool:
        return is_due(archived.known, self.snapshot)

    def page(self, url: str) -> Archived | None:
        """What it has of a URL; None if that was no page, or its body cannot be read any more."""
        found: tuple[Visit, Known] | None = None
        for pages, frontiers in self._crawls:
            row = frontiers.find(url)
            visit = row.visit if row is not None else None
            known = known_page(url, vars(visit)) if visit is not None else None
            if visit is None or known is None:
                break
            found = found or (visit, known)
            if visit.outcome in STORED:
                return _read(pages, visit, *found)
        if found is not None:
            log.warning("%s: its page is in none of the earlier crawls; it is asked for anew", url)
        return None


def _read(pages: Pages, place: Visit, visit: Visit, known: Known) -> Archived | None:
    """The page at its place in an archive."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    try:
        assert place.warc is not None
        with pages.path(place.warc).open("rb") as file:
            file.seek(place.offset or 0)
            data = io.BytesIO(file.read(place.length))
        record = next(ArchiveIterator(data, record_types=WarcRecordType.response, parse_http=True))
        headers = Headers()
        for name, value in record.http_headers.items():
            headers.appendlist(name, value)
        original, body = original_of(record.headers.to_dict()), record.reader.read()
    except Exception as error:
        # The reader raises what its decoders raise, of many types; all mean that the page is to be had anew.
        log.warning("%s: %s at %s of %s: %r", known.url, place.warc, place.offset, pages.base, error)
        return None
    if hashlib.sha256(body).hexdigest() != known.sha256:
        log.warning("%s: %s of %s has another body than the log tells of", known.url, place.warc, pages.base)
        return None
    kind = responsetypes.from_args(headers=headers, url=known.url, body=body)
    return Archived(known, visit, original, kind(known.url, status=200, headers=headers, body=body))

"""How a page is kept: what is archived of it, and what the crawl log says. `found` are the opt-outs that
were said with it."""

import hashlib
from dataclasses import replace

from scrapy.http import Response

from crawler.entries import Visit
from crawler.recrawl import Outcome, outcome_of
from crawler.responses import exchange_of, now, visit_of
from crawler.revisiting import Archived
from crawler.warc import Archive
from pipeline.corpus.opt_outs import OptOuts


def stored(
    archive: Archive, url: str, response: Response, archived: Archived | None, found: OptOuts
) -> Visit:
    """A page came: archive it, or if it is the one that an earlier crawl has, that it is."""
    fetched, sha256 = now(), hashlib.sha256(response.body).hexdigest()
    again = outcome_of(archived.known, response.status, sha256, fetched) if archived is not None else None
    exchange = exchange_of(url, response, fetched, found.found)
    if archived is not None and again is not None and again.name == "unchanged":
        place = archive.write_revisit(exchange, archived.original)
    else:
        place = archive.write(exchange)
    name, rest = (again.name, again.refresh_seconds) if again is not None else ("page", None)
    visit = visit_of(name, response, fetched=fetched, place=place, sha256=sha256)
    return replace(visit, opt_outs=found.text(), refresh_seconds=rest)


def confirmed(
    archive: Archive, url: str, answer: Response, archived: Archived, again: Outcome, found: OptOuts
) -> Visit:
    """The server says that the page is the one that an earlier crawl has (304): archive that."""
    fetched, known = now(), archived.known
    place = archive.write_revisit(exchange_of(url, answer, fetched, found.found), archived.original)
    visit = visit_of(again.name, answer, fetched=fetched, place=place, sha256=known.sha256)
    return replace(
        visit,
        content_type=archived.visit.content_type,
        bytes=len(archived.page.body),
        etag=visit.etag or known.etag,
        last_modified=visit.last_modified or known.last_modified,
        opt_outs=found.text(),
        refresh_seconds=again.refresh_seconds,
    )


def taken_over(archived: Archived, found: OptOuts) -> Visit:
    """It was not due to be asked for: all stays as it was then, and nothing is archived."""
    return replace(
        archived.visit,
        outcome="not-due",
        status=None,
        warc=None,
        offset=None,
        length=None,
        detail=None,
        opt_outs=found.text(),
    )

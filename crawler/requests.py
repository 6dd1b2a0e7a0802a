"""Requests, each told to the window, so that its host is left alone for a delay from its answer on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from scrapy import Request
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK

from crawler.entries import Entry
from crawler.frontier import Frontier
from crawler.origins import Reply
from crawler.responses import header
from crawler.urls import host_of
from crawler.window import Window

FILE_BYTES = 8 << 20
"""Of a robots.txt or the like."""
WELL_KNOWN = "moinho_well_known"
"""Marks, in a request's meta, what is no page: robots.txt and the like, of any content type."""
SEED = "moinho_seed"
"""Marks, in a request's meta, what may be a sitemap."""
ELSEWHERE = "#redirected"
"""Behind a URL, in the name under which is kept what another origin's robots.txt or the like led to."""
SLOT = "all"
"""Scrapy's own queue, which lets everything pass at once."""
ANSWERED = "moinho_answered_at"
"""Where it stands in a request's meta when the headers of its answer came (monotonic). Scrapy's own
`download_latency` counts from when it sent the request, which on a busy machine is later than `asked`:
added to that it told the answer too early, and the next request came up to a tenth of a second too soon."""

Download = Callable[[Request], Awaitable[Response]]


class Requests:
    """What is asked for, one request at a time, by way of Scrapy's engine."""

    def __init__(
        self, window: Window, frontier: Frontier, download: Download, wake: Callable[[], None]
    ) -> None:
        """`wake` is called when another host than an entry's own may be asked again."""
        self._window, self._frontier, self._download, self._wake = window, frontier, download, wake

    async def ask(
        self, entry: Entry, url: str, meta: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> Response:
        """One request, told to the window: its host is left alone for a delay from when it answers."""
        given = meta | {"download_slot": SLOT}
        request = Request(url, headers=headers, meta=given, callback=NO_CALLBACK)
        asked_at = time.monotonic()
        self._window.asked(entry)
        try:
            response = await self._download(request)
        finally:
            answered_at = request.meta.get(ANSWERED)
            good = answered_at is not None
            if good:
                meta[ANSWERED] = answered_at
            self._window.answered(entry, asked_at, answered_at or time.monotonic(), good=good)
        return response

    async def more(self, entry: Entry, url: str, size: int) -> Response:
        """A further request to the host within an entry's turn, for something that is no page."""
        # Others of its address, or of its own URLs, may have been asked while this one slept.
        while (rest := self._window.rest_seconds(entry)) > 0:
            await asyncio.sleep(rest)
        return await self.ask(entry, url, {"download_maxsize": size, WELL_KNOWN: True})

    async def elsewhere(self, entry: Entry, url: str) -> Reply:
        """Where an origin's rules lead to on another host, asked for as politely as anything there, and once
        a day.

        RFC 9309 (2.3.1.2) wants five redirects followed across hosts, and the rules that are reached then
        must be obeyed. So they are, too, where another partition serves that host: were they not, the pages
        would hang on the number of processes. Each process leaves the delay between its own requests to such
        a host; to those of the partition that serves it there may be less, once a day for each such file.
        """
        kept = self._frontier.kept_file(url + ELSEWHERE)
        if kept is not None:
            return Reply(200, kept[0])
        guest = self._window.visit(entry, host_of(url))
        meta = {"download_slot": SLOT, "download_maxsize": FILE_BYTES, WELL_KNOWN: True}
        request = Request(url, meta=meta, callback=NO_CALLBACK)
        answered_at = None
        try:
            while (rest := self._window.visit_seconds(guest)) > 0:
                await asyncio.sleep(rest)
            self._window.visited(guest)
            try:
                response = await self._download(request)
            finally:
                answered_at = request.meta.get(ANSWERED) or time.monotonic()
        finally:
            self._window.left(guest, answered_at)
            self._wake()
        if response.status == 200 or response.status in (404, 410):
            self._frontier.keep_file(url + ELSEWHERE, response.body if response.status == 200 else b"")
        later = header(response, "Retry-After")
        return Reply(response.status, response.body, header(response, "Location"), later)


async def address_of(host: str, mapped: str | None) -> str:
    """Where a host is that may be `mapped` to an address and port; its name, if that cannot be told."""
    if mapped is not None:
        return mapped.rpartition(":")[0].strip("[]")
    try:
        return str((await asyncio.get_running_loop().getaddrinfo(host, None))[0][4][0])
    except OSError:
        return host  # it shares it with nobody

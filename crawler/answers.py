"""What becomes of an answer: a stored page, a redirect, a reason to wait, or why there is no page."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import replace

from scrapy.http import Response

from crawler import backoff
from crawler.entries import Entry, Visit
from crawler.guard import GuardedResolver
from crawler.partition import Partition
from crawler.responses import classify, exchange_of, header, is_html, links, now, visit_of
from crawler.urls import URL_CHARACTERS, host_of, resolve
from crawler.window import Window

TRIES = 2
"""How often a URL is asked for whose server failed or did not answer."""
PATIENT_TRIES = 5
"""The same, if the server said when to come again."""
REDIRECTS = 10
"""In a row, after which a chain is given up."""
FAILING = frozenset({408, 425, *range(500, 600)}) - backoff.PUT_OFF
"""Answers that may be others at the next try, and concern one page alone."""
SEEN_URLS = 200_000
"""URLs that are remembered in memory, so that a site's menu does not go to disk each time."""
NOTED_SCHEMES = ("file:", "ftp:", "s3:")
"""Links that are refused and written to the log; others, such as mailto:, are no pages anyway."""
TOLD_CHARACTERS = 500
"""Of a URL that is too long, so many are written to the log."""


class Answers:
    """Turns what came back into pages, links and outcomes. Each call ends the entry's turn in the window."""

    def __init__(self, partition: Partition, window: Window, guard: GuardedResolver) -> None:
        self._partition, self._window, self._guard = partition, window, guard
        self._frontier, self._options = partition.frontier, partition.options
        self._seen: dict[str, int] = {}
        """URL → the smallest depth that it was found with."""

    def received(self, entry: Entry, response: Response) -> None:
        """An answer came."""
        self._window.host_of(entry).bytes += len(response.body)
        if response.ip_address is not None:
            self._window.moved(entry, str(response.ip_address))
        if backoff.failed(response.status):
            self._put_off(entry, visit_of("http-error", response), header(response, "Retry-After"))
            return
        self._window.host_of(entry).failures = 0
        if 300 <= response.status < 400 and header(response, "Location") is not None:
            self._redirect(entry, response)
        elif response.status == 200:
            self._keep(entry, response)
        elif response.status not in FAILING or not self._try_again(entry):
            self.finish(entry, visit_of("http-error", response))

    def failed(self, entry: Entry, error: BaseException, *, was_reached: bool) -> None:
        """No whole answer came. `was_reached`: the server had begun to answer."""
        outcome, detail, is_passing = classify(error, self._guard.refused.get(entry.host))
        visit = Visit(outcome, fetched=now(), detail=detail)
        if is_passing and not was_reached:
            self._put_off(entry, visit, None)
        elif not (is_passing and self._try_again(entry)):
            self.finish(entry, visit)

    def refused(self, entry: Entry, error: BaseException) -> None:
        """It must not be asked for."""
        outcome, detail, _ = classify(error, self._guard.refused.get(entry.host))
        self.finish(entry, Visit(outcome, fetched=now(), detail=detail))

    def finish(self, entry: Entry, visit: Visit) -> None:
        host = self._window.host_of(entry)
        host.pages += visit.outcome == "page"
        host.errors += visit.outcome not in ("page", "redirect", "not-html")
        self._partition.finish(entry, visit)
        self._window.ended(entry)

    def _try_again(self, entry: Entry) -> bool:
        if entry.tries + 1 >= TRIES:
            return False
        self._window.again(entry)
        return True

    def _put_off(self, entry: Entry, visit: Visit, later: str | None) -> None:
        """The host as a whole has had enough, or cannot be reached: leave it alone for a while."""
        host = self._window.host_of(entry)
        host.failures += 1
        asked_for = backoff.retry_after(later, time.time())
        seconds = backoff.wait_seconds(host.failures, asked_for)
        if seconds is None:
            self._window.close(entry, "given-up")
            told = f"asked to wait for {later}" if asked_for else f"failed {host.failures} times in a row"
            self.finish(entry, replace(visit, outcome="given-up", detail=f"the host {told}"))
            return
        self._window.put_off(entry, seconds)
        if entry.tries + 1 < (TRIES if asked_for is None else PATIENT_TRIES):
            self._window.again(entry)
        else:
            self.finish(entry, visit)

    # --- what is found ---

    def _redirect(self, entry: Entry, response: Response) -> None:
        location = header(response, "Location") or ""
        target = resolve(entry.url, location)
        visit = visit_of("redirect", response, detail=target or location[:TOLD_CHARACTERS])
        if target is None:
            self._refuse(entry, location, "a redirect to no web page")
        elif entry.redirects >= REDIRECTS:
            visit = replace(visit, outcome="redirect-loop")
        else:
            level, depth = self._frontier.depth_of(entry.url)
            self._lead_on(replace(entry, level=level, depth=depth), target)
        self.finish(entry, visit)

    def _lead_on(self, entry: Entry, target: str) -> None:
        """A redirect's target is a URL of its own, at the same depth. Where seeds lead to is wanted,
        unless it is configured what is."""
        following = Entry(
            target, host_of(target), entry.level + 1, entry.depth, entry.redirects + 1, entry.url
        )
        if entry.depth == 0 and not self._options.settled and not self._frontier.settled:
            self._frontier.add_seeds([following])
        else:
            self._add([following])

    def _keep(self, entry: Entry, response: Response) -> None:
        if not is_html(response, self._options.content_types):
            self.finish(entry, visit_of("not-html", response))
            return
        fetched = now()
        place = self._partition.archive.write(exchange_of(entry.url, response, fetched))
        level, depth = self._frontier.depth_of(entry.url)
        if self._options.max_depth is None or depth < self._options.max_depth:
            self._follow(replace(entry, level=level, depth=depth), links(response.body, response))
        sha256 = hashlib.sha256(response.body).hexdigest()
        self.finish(entry, visit_of("page", response, fetched=fetched, place=place, sha256=sha256))

    def _follow(self, entry: Entry, found: Iterable[str]) -> None:
        urls: list[str] = []
        depth, seen = entry.depth + 1, self._seen
        for link in found:
            url = resolve(entry.url, link)
            if url is None:
                if link.lower().startswith(NOTED_SCHEMES):
                    self._refuse(entry, link, "not a web page's scheme")
                elif (
                    len(link) > URL_CHARACTERS and link[:11].lower() != "javascript:" and link[:5] != "data:"
                ):
                    visit = Visit("trap-url-length", fetched=now(), detail=f"{len(link)} characters")
                    self._frontier.refuse(link[:TOLD_CHARACTERS], visit, entry)
            elif seen.get(url, depth + 1) > depth:
                seen[url] = depth
                urls.append(url)
        if len(seen) > SEEN_URLS:
            seen.clear()
        if self._options.max_depth is not None:
            self._frontier.keep_links(entry.url, urls)
        self._link(entry, urls)

    def _link(self, entry: Entry, urls: Iterable[str]) -> None:
        level, depth = entry.level + 1, entry.depth + 1
        self._add([Entry(url, host_of(url), level, depth, referrer=entry.url) for url in urls])

    def _add(self, found: list[Entry]) -> None:
        """Those of hosts that are wanted; of others as well, aside, while it is not settled who is."""
        allows = self._frontier.hosts.allows
        self._frontier.add([each for each in found if allows(each.host)])
        if not self._frontier.settled:
            self._frontier.add([each for each in found if not allows(each.host)], aside=True)

    def _refuse(self, entry: Entry, url: str, why: str) -> None:
        self._frontier.refuse(
            url[:TOLD_CHARACTERS], Visit("refused-scheme", fetched=now(), detail=why), entry
        )

    def lower(self) -> None:
        """Pages to which a shorter way was found since they were stored: what they lead to is nearer, too."""
        limit = self._options.max_depth
        for entry, visit in self._frontier.lowered():
            if limit is None:
                continue
            if visit.outcome == "redirect" and visit.detail:
                self._lead_on(entry, visit.detail)
            elif visit.outcome == "page" and entry.depth < limit:
                self._link(entry, self._frontier.kept_links(entry.url))

"""What becomes of an answer: a stored page, a redirect, a reason to wait, or why there is no page."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import islice

from scrapy.http import Response

from crawler import backoff, keeping
from crawler.entries import Entry, Visit
from crawler.guard import GuardedResolver
from crawler.markup import Markup, read_markup, visible_text
from crawler.out_of_scope import OTHER_HOST
from crawler.outcomes import ERROR, KEPT, meaning_of
from crawler.partition import Partition
from crawler.politeness import OriginRules, RuleBook, origin_of
from crawler.recrawl import Outcome, outcome_of
from crawler.repetition import Traps
from crawler.responses import (
    classify,
    content_type,
    header,
    is_wanted,
    now,
    pairs,
    text_of,
    visit_of,
)
from crawler.revisiting import Archived
from crawler.scope import Scope, language_of, priority_of
from crawler.sitemaps import DEPTH as SITEMAP_DEPTH
from crawler.sitemaps import TYPES as SITEMAP_TYPES
from crawler.sitemaps import read_sitemap
from crawler.tdmrep import rule_for
from crawler.traps import URL_CHARACTERS
from crawler.urls import domain_of, host_of, joined, resolve
from crawler.window import Window
from pipeline.corpus.opt_outs import Honoured, OptOuts, opt_outs

TRIES = 2
"""How often a URL is asked for whose server failed or did not answer."""
PATIENT_TRIES = 5
"""The same, if the server said when to come again."""
REDIRECTS = 10
"""In a row, after which a chain is given up."""
FAILING = frozenset({408, 425, *range(500, 600)}) - backoff.PUT_OFF
"""Answers that may be others at the next try, and concern one page alone."""
FAILED_PAGES = 30
"""In a row, each failing by itself: then the host is given up."""
UNREACHED = frozenset({"unreachable", "timeout"})
"""Outcomes before any answer that mean the host as a whole. One that answers what cannot be understood, or
hangs up, was reached: that is a matter of the page."""
SEEN_URLS = 200_000
"""URLs that are remembered in memory, so that a site's menu does not go to disk each time."""
SITEMAP_BATCH = 200
"""URLs of a sitemap that are taken in at a time."""
NOTED_SCHEMES = ("file:", "ftp:", "s3:")
"""Links that are refused and written to the log; others, such as mailto:, are no pages anyway."""
TOLD_CHARACTERS = 500
"""Of a URL that is too long, so many are written to the log."""
NO_BREAKS = {9: None, 10: None, 13: None}
"""What browsers leave out of a URL, and what would end its line where links are kept."""


class Answers:
    """Turns what came back into pages, links and outcomes. Each call ends the entry's turn in the window,
    unless `probe` has something to ask for then."""

    def __init__(self, partition: Partition, window: Window, rules: RuleBook, guard: GuardedResolver) -> None:
        self._partition, self._window, self._rules, self._guard = partition, window, rules, guard
        self._frontier, self._options = partition.frontier, partition.options
        self._scope = Scope(tuple(self._options.allow), tuple(self._options.deny))
        self._honoured = Honoured(**self._options.opt_outs)
        self.traps: Traps = partition.traps
        self._seen: dict[str, int] = {}
        """URL → the smallest depth that it was found with."""
        self._probes: dict[str, str] = {}
        self._failed_pages = Counter[str]()
        """Host → its pages that failed in a row."""

    def probe(self, entry: Entry) -> str | None:
        """A URL that the host cannot have, to be asked for before the entry's turn ends."""
        return self._probes.pop(entry.url, None)

    def refused_address(self, host: str) -> str | None:
        """The address at which a host was refused, if it was."""
        return self._guard.refused.get(host)

    def refusal(self, entry: Entry, rules: OriginRules) -> Visit | None:
        """Why it is not to be asked for, though it is known and its turn has come. Raises Forbidden or
        Unreachable.

        What tdmrep.json reserves is not asked for, so that a page's own header or meta element, which go
        before the file (TDMRep, section on processing priority), cannot free it. That order tells what holds
        of a page that was fetched; nobody is obliged to fetch one. To look into every reserved page whether
        it is an exception would ask a site that reserves all of it for all of it, and owners are told to use
        one technique alone. A page that the file frees or does not mention is fetched, and its header or meta
        element may reserve it."""
        rules.robots.check(entry.url)
        if rules.tdmrep:
            found = opt_outs((), (), self._rules.agent, entry.url, rule_for(entry.url, rules.tdmrep))
            reason = found.forbids_storing(self._honoured)
            if reason is not None:
                return Visit("opt-out", fetched=now(), detail=reason, opt_outs=found.text())
        trap = self.traps.refusal(entry.url)
        return Visit(trap.name, fetched=now(), detail=trap.detail) if trap else None

    def earlier(self, entry: Entry) -> Archived | None:
        """The page as an earlier crawl has it, if there is one and it has it."""
        return self._partition.earlier.page(entry.url) if self._partition.earlier is not None else None

    def take_over(self, entry: Entry, archived: Archived) -> None:
        """It is not due to be asked for: the earlier copy stands, and leads on as it did."""
        self._keep(entry, archived.page, partial(keeping.taken_over, archived))

    def received(self, entry: Entry, response: Response, archived: Archived | None = None) -> None:
        """An answer came. `archived`: the page as an earlier crawl has it, under whose conditions it was
        asked for."""
        self._window.came(entry, len(response.body))
        if response.ip_address is not None:
            self._window.moved(entry, str(response.ip_address))
        if backoff.failed(response.status):
            self._put_off(entry, visit_of("http-error", response), header(response, "Retry-After"))
            return
        self._window.host_of(entry).failures = 0
        if response.status in FAILING:
            self._fail_page(entry, visit_of("http-error", response))
            return
        self._failed_pages.pop(entry.host, None)
        again = outcome_of(archived.known, response.status, None, now()) if archived is not None else None
        if archived is not None and again is not None:
            self._follow_up(entry, response, archived, again)
        elif 300 <= response.status < 400 and header(response, "Location") is not None:
            self._redirect(entry, response)
        elif response.status == 200:
            keep = partial(keeping.stored, self._partition.archive, entry.url, response, archived)
            self._keep(entry, response, keep)
        else:
            self.finish(entry, visit_of("http-error", response))

    def _follow_up(self, entry: Entry, answer: Response, archived: Archived, again: Outcome) -> None:
        """Without a body it is told what became of a page: it is gone, or the same."""
        if again.name == "gone":
            self.finish(entry, visit_of("gone", answer))
        else:
            archive = self._partition.archive
            keep = partial(keeping.confirmed, archive, entry.url, answer, archived, again)
            self._keep(entry, archived.confirmed(answer), keep)

    def failed(self, entry: Entry, error: BaseException, *, was_reached: bool) -> None:
        """No whole answer came. `was_reached`: the server had begun to answer."""
        outcome, detail, is_passing = classify(error, self.refused_address(entry.host))
        visit = Visit(outcome, fetched=now(), detail=detail)
        if is_passing and not was_reached and outcome in UNREACHED:
            self._put_off(entry, visit, None)
        elif is_passing:
            self._fail_page(entry, visit)
        else:
            self.finish(entry, visit)

    def refused(self, entry: Entry, error: BaseException) -> None:
        """It must not be asked for."""
        outcome, detail, _ = classify(error, self.refused_address(entry.host))
        self.finish(entry, Visit(outcome, fetched=now(), detail=detail))

    def finish(self, entry: Entry, visit: Visit) -> None:
        host = self._window.host_of(entry)
        kind = meaning_of(visit.outcome).kind
        host.pages += kind == KEPT
        host.errors += kind == ERROR
        self._partition.finish(entry, visit)
        if entry.url not in self._probes:
            self._window.ended(entry)

    def _fail_page(self, entry: Entry, visit: Visit) -> None:
        """The page may come at another try, unless too many others of its host failed as well."""
        self._failed_pages[entry.host] += 1
        if self._failed_pages[entry.host] >= FAILED_PAGES:
            self._window.close(entry, "given-up")
            detail = f"the host failed {FAILED_PAGES} times in a row, last: {visit.detail or visit.status}"
            self.finish(entry, replace(visit, outcome="given-up", detail=detail))
        elif entry.tries + 1 < TRIES:
            self._window.again(entry)
        else:
            self.finish(entry, visit)

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
        if asked_for is not None:
            self._partition.commit_soon()  # a kill must not let the host be asked before its time
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
            self._refuse(entry, location, "refused-scheme", "a redirect to no web page")
        elif entry.redirects >= REDIRECTS:
            visit = replace(visit, outcome="redirect-loop")
            self.traps.saw_chain(entry.url)
        else:
            level, depth = self._frontier.depth_of(entry.url)
            self._lead_on(replace(entry, level=level, depth=depth), target)
        self.finish(entry, visit)

    def _lead_on(self, entry: Entry, target: str) -> None:
        """A redirect's target is a URL of its own, at the same depth. Where seeds lead to is wanted,
        unless it is configured what is."""
        following = Entry(
            target,
            host_of(target),
            entry.level + 1,
            entry.depth,
            entry.redirects + 1,
            entry.url,
            entry.priority,
        )
        if entry.depth == 0 and not self._options.settled and not self._frontier.settled:
            self._frontier.add_seeds([following])
        else:
            self._add(entry, [following])

    def _keep(self, entry: Entry, response: Response, keep: Callable[[OptOuts], Visit]) -> None:
        """Follow the page's links, and `keep` it unless something forbids that."""
        if not is_wanted(response, self._options.content_types):
            is_sitemap = entry.depth == 0 and self._read_seeds(entry, response)
            self.finish(entry, visit_of("sitemap" if is_sitemap else "not-html", response))
            return
        html = text_of(response.body, response)
        markup = read_markup(html)
        found = self._opt_outs(entry, response, markup)
        reason = found.forbids_storing(self._honoured)
        text: str | None = None
        if reason is None:
            text = visible_text(html)
            seen = self.traps.saw_page(entry.url, text)
            if seen.trap is not None:
                self.finish(entry, visit_of(seen.trap.name, response, detail=seen.trap.detail))
                return
            self._window.host_of(entry).duplicates += seen.duplicate
            if seen.probe is not None:
                self._probes[entry.url] = seen.probe
        level, depth = self._frontier.depth_of(entry.url)
        if not found.forbids_following(self._honoured):
            priority = self._priority(markup, html, text)
            self._follow(replace(entry, level=level, depth=depth), markup.links, priority)
        if reason is None:
            self.finish(entry, keep(found))
        else:
            visit = visit_of("opt-out", response, detail=reason)
            self.finish(entry, replace(visit, opt_outs=found.text()))

    def _opt_outs(self, entry: Entry, response: Response, markup: Markup) -> OptOuts:
        rules = self._rules.known(origin_of(entry.url))
        return opt_outs(
            pairs(response.headers),
            markup.metas,
            self._rules.agent,
            entry.url,
            rule_for(entry.url, rules.tdmrep) if rules else None,
            rules.robots.text.statements(entry.url) if rules and rules.robots.text.usage else (),
        )

    def _priority(self, markup: Markup, html: str, text: str | None) -> int:
        """Of the page's links, by its language. `text`: what is visible of it, if that was found before."""
        wanted = tuple(self._options.languages)
        if not wanted:
            return 0

        def visible() -> str:
            return visible_text(html) if text is None else text

        return priority_of(language_of(markup.language, visible), wanted)

    def _follow(self, entry: Entry, found: Iterable[str], priority: int) -> None:
        every: list[str] = []
        new: list[str] = []
        depth, seen, limit = entry.depth + 1, self._seen, self._options.max_depth
        are_followed = limit is None or entry.depth < limit
        for link in found:
            url = resolve(entry.url, link)
            if url is None:
                if (named := _named(entry.url, link)) is not None:
                    every.append(named)
                    if are_followed:
                        self._refuse_link(entry, named)
                continue
            every.append(url)
            if seen.get(url, depth + 1) > depth:
                seen[url] = depth
                new.append(url)
        if len(seen) > SEEN_URLS:
            seen.clear()
        if limit is not None:
            self._frontier.keep_links(entry.url, every)
        if are_followed:
            self._link(entry, new, priority)

    def _follow_again(self, entry: Entry, kept: Iterable[str]) -> None:
        """The links of a page that is nearer than it was when it was read."""
        urls = {link: resolve(entry.url, link) for link in kept if link}
        self._link(entry, [url for url in urls.values() if url is not None], entry.priority)
        for link, url in urls.items():
            if url is None:
                self._refuse_link(entry, link)

    def _refuse_link(self, entry: Entry, named: str) -> None:
        if named.lower().startswith(NOTED_SCHEMES):
            self._refuse(entry, named, "refused-scheme", "not a web page's scheme")
        else:
            self._refuse(entry, named, "trap-url-length", f"{len(named)} characters")

    def _link(self, entry: Entry, urls: Iterable[str], priority: int = 0) -> None:
        level, depth = entry.level + 1, entry.depth + 1
        found = [Entry(url, host_of(url), level, depth, 0, entry.url, priority) for url in urls]
        self._add(entry, found)

    def _read_seeds(self, entry: Entry, response: Response) -> bool:
        """Take in what a sitemap among the seeds lists, which are seeds as well; False if it is none. Pages
        of another site are wanted only if that is said elsewhere, as if they had been linked to."""
        if content_type(response.headers) not in SITEMAP_TYPES:
            return False
        is_sitemap, domain = False, domain_of(entry.host)
        is_settled = self._options.settled or self._frontier.settled
        listed = (each for each in read_sitemap(response.body, entry.url) if each is not None)
        while batch := list(islice(listed, SITEMAP_BATCH)):
            is_sitemap = True
            found = [
                Entry(each.url, host_of(each.url), entry.level + 1, 0, referrer=entry.url)
                for each in batch
                if not (each.is_sitemap and entry.level >= SITEMAP_DEPTH)
            ]
            own = [each for each in found if domain_of(each.host) == domain and not is_settled]
            self._frontier.add_seeds([each for each in own if self._is_in_scope(each)])
            self._add(entry, [each for each in found if each not in own])
        return is_sitemap

    def _is_in_scope(self, entry: Entry) -> bool:
        """False if a pattern is against it, which is noted."""
        refusal = self._scope.refusal(entry.url, entry.host)
        if refusal is not None:
            self._frontier.out_of_scope.note(refusal, entry.url)
        return refusal is None

    def list_pages(self, entry: Entry, sitemap: str, urls: Iterable[str]) -> None:
        """Pages that a sitemap of the entry's host lists: as if its front page had linked to them."""
        self._add(entry, [Entry(url, host_of(url), 1, 1, referrer=sitemap) for url in urls])

    def _add(self, entry: Entry, found: Iterable[Entry]) -> None:
        """Those that are wanted; of hosts of which that is not settled yet, aside."""
        wanted: list[Entry] = []
        aside: list[Entry] = []
        allows, scope = self._frontier.hosts.allows, self._scope
        for each in found:
            if not self._is_in_scope(each):
                continue
            is_wanted_host = allows(each.host) or scope.names(each.host)
            if not is_wanted_host and self._frontier.settled:
                self._frontier.out_of_scope.note(OTHER_HOST, each.url)
                continue
            trap = self.traps.refusal(each.url)
            if trap is None:
                (wanted if is_wanted_host else aside).append(each)
            elif is_wanted_host:
                self._refuse(entry, each.url, trap.name, trap.detail)
        self._frontier.add(wanted)
        if aside:
            self._frontier.add(aside, aside=True)

    def _refuse(self, entry: Entry, url: str, outcome: str, why: str) -> None:
        self._frontier.refuse(url[:TOLD_CHARACTERS], Visit(outcome, fetched=now(), detail=why), entry)

    def lower(self) -> None:
        """Pages to which a shorter way was found since they were stored: what they lead to is nearer, too."""
        limit = self._options.max_depth
        if limit is None:
            self._frontier.forget_lowered()
            return
        for entry, visit in self._frontier.lowered():
            if visit.outcome == "redirect" and visit.detail:
                self._lead_on(entry, visit.detail)
            elif meaning_of(visit.outcome).kind == KEPT and entry.depth < limit:
                self._follow_again(entry, self._frontier.kept_links(entry.url))


def _named(base: str, link: str) -> str | None:
    """How a link that leads to no web page is named in the log; None if it is not worth a line there."""
    scheme = link[:11].lower()
    if scheme.startswith(NOTED_SCHEMES):
        return link.translate(NO_BREAKS)
    if len(link) > URL_CHARACTERS and not scheme.startswith(("javascript:", "data:")):
        return joined(base, link).translate(NO_BREAKS)
    return None

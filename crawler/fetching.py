"""The child's loop: what the window offers is asked for, what comes back ends its turn.

Scrapy's engine does the talking (connections, TLS, compression, time-outs, sizes); which URL is next,
and when, is decided here alone. Nothing polls: the loop goes on when an answer has come, or when the
first host that had to wait may be asked.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from crawler import backoff
from crawler.answers import Answers
from crawler.drain import Drain
from crawler.entries import Entry, Visit
from crawler.markup import visible_text
from crawler.origins import Forbidden, Reply, Unreachable, describe
from crawler.partition import Partition
from crawler.politeness import OriginRules, RuleBook, origin_of
from crawler.requests import ANSWERED, FILE_BYTES, SEED, Download, Requests, address_of
from crawler.responses import header, now, text_of
from crawler.revisiting import Archived
from crawler.sitemaps import listed
from crawler.urls import canonical, host_of
from crawler.window import Window
from pipeline.corpus.forgotten import REASON as FORGOTTEN

log = logging.getLogger(__name__)

COMMIT_SECONDS = 0.25
"""With partition.COMMIT_PAGES the window within which a kill costs what was done."""
BATCH = 200
"""URLs that are refused without being asked for, before answers get their turn."""
SHORTEST_WAIT_SECONDS = 0.005
SITEMAP_BYTES = 50 << 20
"""The protocol's limit."""


class Fetching:
    """One round of one partition."""

    def __init__(
        self,
        partition: Partition,
        window: Window,
        rules: RuleBook,
        answers: Answers,
        download: Download,
        give_up: Callable[[Exception], Any],
    ) -> None:
        """`give_up` is told that the archive or the frontier cannot be written, and does not return."""
        self._partition, self._window, self._answers = partition, window, answers
        self._frontier, self._options = partition.frontier, partition.options
        self._requests, self._give_up = Requests(window, partition.frontier, download, self._wake), give_up
        self._rules = rules
        self._tasks: dict[asyncio.Task[None], Entry] = {}
        self._drain = Drain()
        self._timer: asyncio.TimerHandle | None = None
        self._waking: asyncio.Handle | None = None

    async def run(self) -> None:
        """Returns when nothing is left to do in this round, everything is committed and nothing in flight."""
        self._partition.start()
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        committing = self._loop.create_task(self._commit_now_and_then())
        self._wake()
        await self._over
        committing.cancel()
        self._commit()

    # --- whose turn it is ---

    def _wake(self) -> None:
        """Go on as soon as what is being done has ended."""
        if self._waking is None:
            self._waking = self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._waking = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._begin_more()
        except Exception as error:
            self._fail(error)

    def _begin_more(self) -> None:
        if not self._is_over():
            self._drain.end()  # where a seed has led on, the first round is over no longer
        elif self._tasks:
            self._drain.begin(self._tasks)
        for _ in range(BATCH):
            if self._is_full:
                break
            entry = self._next()
            if entry is None:
                break
            self._begin(entry)
        else:
            self._wake()
            return
        if self._tasks:
            self._leave_slow() if self._drain.is_on else self._wait()
        elif self._is_enough() or not self._may_go_on():
            if not self._over.done():
                self._over.set_result(None)
        else:
            self._wait()

    def _wait(self) -> None:
        """Until a host may be asked, or the time is over; an answer wakes us before."""
        host = None if self._is_full or self._is_enough() else self._window.wait_seconds()
        times = [each for each in (host, self._seconds_left()) if each is not None]
        if times:  # also if the time is over just now, or nothing would ever wake us
            self._timer = self._loop.call_later(max(SHORTEST_WAIT_SECONDS, min(times)), self._go_on)

    @property
    def _is_full(self) -> bool:
        return len(self._tasks) >= self._options.requests

    def _leave_slow(self) -> None:
        """The round is over: leave what does not end soon. It stays waiting for the next round, its host has
        not failed, and the next request there comes a delay from now. The try counts, and a URL that was
        tried before is not left but waited for until its own time is over. So none is left twice, however
        short the rounds are, and none loses the time that is configured for it."""
        late = self._drain.late(self._tasks)
        for task in late:
            if self._tasks[task].tries == 0:
                task.cancel()
        if len(late) < len(self._tasks):
            rest = self._drain.rest_seconds(self._tasks.keys() - set(late))
            host = self._window.wait_seconds() if self._fills() and not self._is_full else None
            wait = rest if host is None else max(SHORTEST_WAIT_SECONDS, min(rest, host))
            self._timer = self._loop.call_later(wait, self._go_on)

    @property
    def drains(self) -> bool:
        """True while the round is over, but for what is in flight."""
        return self._drain.is_on

    def _fills(self) -> bool:
        """True while the round's time is over, what is slow is awaited, and quick hosts go on."""
        left, most = self._seconds_left(), self._options.max_seconds
        has_time = most is None or self._partition.seconds < most
        is_due = left is not None and left <= 0 and has_time and not self._is_full_of_pages()
        return is_due and self._drain.may_fill(self._tasks)

    def _next(self) -> Entry | None:
        if not self._is_enough():
            return self._window.next()
        return self._window.next(only_quick=True) if self._fills() else None

    def _is_full_of_pages(self) -> bool:
        return self._partition.pages + self._window.in_flight >= self._options.max_pages

    def _is_enough(self) -> bool:
        """True once no further page is to be begun in this round."""
        return self._is_full_of_pages() or self._is_over()

    def _is_over(self) -> bool:
        """True once the round is to end, whatever is in flight."""
        left = self._seconds_left()
        return (left is not None and left <= 0) or (
            self._is_for_seeds and not self._frontier.settled and self._seeds_have_led()
        )

    @property
    def _is_for_seeds(self) -> bool:
        """The first of several partitions' rounds is short, so that all soon know what is wanted. Later ones
        are not, lest a seed whose host keeps us waiting hold up all others."""
        return self._options.partitions > 1 and self._options.round == 0

    def _seconds_left(self) -> float | None:
        limits = [
            limit - spent
            for limit, spent in (
                (self._options.max_seconds, self._partition.seconds),
                (self._options.round_seconds, self._partition.round_seconds),
            )
            if limit is not None
        ]
        return min(limits) if limits else None

    def _seeds_have_led(self) -> bool:
        return not self._frontier.open_seeds() or self._window.is_empty()

    def _may_go_on(self) -> bool:
        """Nothing is in flight: is there more? If only now it is known which hosts are wanted, perhaps."""
        if not self._frontier.settled and self._options.partitions == 1 and self._seeds_have_led():
            self._frontier.settle()
            self._wake()
            return True
        return not self._window.is_empty()

    # --- one entry's turn ---

    def _begin(self, entry: Entry) -> None:
        if (rule := self._partition.forgotten.rule_for(entry.url)) is not None:
            self._answers.finish(entry, Visit(FORGOTTEN, fetched=now(), detail=rule))
            return
        if self._options.per_ip and self._window.host_of(entry).address is None:
            self._window.alone(entry)
            self._start(entry, self._look_up(entry))
            return
        origin = origin_of(entry.url)
        rules = self._rules.known(origin)
        if rules is None:
            self._window.alone(entry)
            self._start(entry, self._read_rules(entry))
            return
        self._window.slow_down(entry.host, rules.robots.text.delay_seconds)
        try:
            refusal = self._answers.refusal(entry, rules)
        except (Forbidden, Unreachable) as error:
            self._answers.refused(entry, error)
            return
        if refusal is not None:
            self._answers.finish(entry, refusal)
        elif self._options.sitemaps and self._rules.wants_sitemaps(origin, rules):
            self._window.alone(entry)
            self._start(entry, self._read_sitemaps(entry, rules))
        else:
            self._begin_page(entry)

    def _begin_page(self, entry: Entry) -> None:
        """Ask for it, unless an earlier crawl has it and it is not due."""
        archived, earlier = self._answers.earlier(entry), self._partition.earlier
        if archived is not None and earlier is not None and not earlier.is_due(archived):
            self._start(entry, self._judge(entry, partial(self._answers.take_over, entry, archived)))
        else:
            self._window.reserve(entry)
            self._start(entry, self._fetch(entry, archived))

    def _start(self, entry: Entry, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks[task] = entry
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        entry = self._tasks.pop(task)
        if task.cancelled():
            self._window.again(entry)
            self._wake()
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._fail(error)
            return
        if self._partition.is_commit_due:
            self._commit()
        if not self._frontier.settled and self._options.partitions == 1 and not self._frontier.open_seeds():
            self._frontier.settle()
        self._wake()

    def _fail(self, error: Exception) -> None:
        """What cannot be written ends the process; anything else is a fault of the crawler."""
        if isinstance(error, OSError | sqlite3.Error):
            self._give_up(error)
        if not self._over.done():
            self._over.set_exception(error)

    async def _look_up(self, entry: Entry) -> None:
        """Learn at which address the host is; then it is the entry's turn again, among others there."""
        self._window.moved(entry, await address_of(entry.host, self._options.hosts.get(entry.host)))
        self._window.put_back(entry)

    async def _read_rules(self, entry: Entry) -> None:
        """Ask for the origin's rules; then it is the entry's turn again, unless the host puts us off."""

        async def get(url: str) -> Reply:
            if host_of(url) != entry.host:
                return await self._requests.elsewhere(entry, url)
            response = await self._requests.more(entry, url, FILE_BYTES)
            location, later = header(response, "Location"), header(response, "Retry-After")
            if backoff.failed(response.status):
                asked_for = backoff.retry_after(later, time.time()) or 0.0
                self._window.put_off(entry, min(asked_for, backoff.LONGEST_SECONDS))
                self._commit()
            return Reply(response.status, response.body, location, later)

        def slow_down(seconds: float) -> None:
            # Durable at once, as nobody can keep to a delay that a kill made forgotten.
            if self._window.slow_down(entry.host, seconds):
                self._commit()

        def is_refused() -> bool:
            return self._answers.refused_address(entry.host) is not None

        rules = await self._rules.obtain(origin_of(entry.url), get, slow_down, is_refused)
        host = self._window.host_of(entry)
        if rules.is_passing and self._rules.known(origin_of(entry.url)) is None:
            host.failures += 1
            asked_for = backoff.retry_after(rules.retry_after, time.time())
            seconds = backoff.wait_seconds(host.failures, asked_for)
            if seconds is None:
                self._window.close(entry, "given-up")
                self._answers.finish(entry, Visit("given-up", fetched=now(), detail=rules.refusal))
                return
            self._window.put_off(entry, seconds)
        else:
            host.failures = 0
        self._window.put_back(entry)

    async def _read_sitemaps(self, entry: Entry, rules: OriginRules) -> None:
        """Take in what the host's sitemaps list; then it is the entry's turn again. Where the round ends
        meanwhile the next one goes on: no file is asked for twice."""
        bodies: dict[str, bytes] = {}
        found: list[str] = []

        async def get(url: str) -> bytes | None:
            if self._is_enough() or host_of(url) != entry.host or not rules.robots.text.allows(url):
                return None
            known = self._rules.sitemap(url)
            if known is not None:
                return known
            bodies[url] = b""
            try:
                response = await self._requests.more(entry, url, SITEMAP_BYTES)
            except Exception as error:
                log.info("%s: %s", url, describe(error))
                return None
            if response.status == 200:
                bodies[url] = response.body
            return bodies[url]

        def take_in() -> None:
            self._answers.list_pages(entry, starts[0], found)
            found.clear()

        def read(url: str, is_index: bool) -> None:
            take_in()
            if url in bodies:
                body = bodies.pop(url)
                self._rules.read_sitemap(url, body if is_index else b"")

        starts = [canonical(each) or each for each in rules.robots.text.sitemaps]
        async for page in listed(starts, get, read=read):
            found.append(page.url)
            if len(found) == BATCH:
                take_in()
        take_in()
        if not self._is_enough():
            self._rules.read_sitemaps(origin_of(entry.url))
        self._window.put_back(entry)

    async def _probe(self, entry: Entry, url: str) -> None:
        """Ask for what cannot be there, to learn how the host says that."""
        rules = self._rules.known(origin_of(url))
        status, text = 0, ""
        if rules is not None and rules.robots.text.allows(url):
            try:
                response = await self._requests.more(entry, url, FILE_BYTES)
                status, text = response.status, visible_text(text_of(response.body, response))
            except asyncio.CancelledError:
                log.info("%s: left, as the round is over", url)  # the entry itself is done
            except Exception as error:
                log.info("%s: %s", url, describe(error))
        self._answers.traps.probed(url, status, text)
        self._window.ended(entry)

    async def _fetch(self, entry: Entry, archived: Archived | None) -> None:
        meta: dict[str, Any] = {SEED: True} if entry.depth == 0 else {}
        conditions = archived.conditions if archived is not None else {}
        try:
            response = await self._requests.ask(entry, entry.url, meta, conditions)
        except Exception as error:
            self._answers.failed(entry, error, was_reached=ANSWERED in meta)
            return
        await self._judge(entry, partial(self._answers.received, entry, response, archived))

    async def _judge(self, entry: Entry, judge: Callable[[], None]) -> None:
        """The end of an entry's turn."""
        try:
            judge()
        except (OSError, sqlite3.Error):
            raise
        except Exception as error:
            log.exception("%s", entry.url)
            self._answers.finish(entry, Visit("error", fetched=now(), detail=describe(error)))
        probe = self._answers.probe(entry)
        if probe is not None:
            await self._probe(entry, probe)

    # --- durability ---

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            if not (self._partition.is_committed and self._window.is_saved):
                self._commit()

    def _commit(self) -> None:
        try:
            self._answers.lower()
            self._window.save()
            self._partition.commit()
        except Exception as error:
            self._fail(error)

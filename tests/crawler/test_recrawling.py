"""Crawls of one site as of several dates: each stands on the one before and asks for what is due alone."""

import datetime
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from fastwarc.warc import ArchiveIterator
from typer.testing import CliRunner
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from crawler.child import SpiderDiedError
from crawler.crawl import CrawlConfig, crawl
from crawler.inquiry import Frontiers
from crawler.report import REPORT
from flows.cli import app
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.pages import Pages
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from pipeline.store.discard import leftovers
from tests.corpus.conftest import InThisProcess
from tests.corpus.samples import ENGLISH, html
from tests.crawler.kills import kill_when
from tests.crawler.testweb.changing import CHANGES, changing_host, second_truth
from tests.crawler.testweb.server import serve as serve_web
from tests.crawler.testweb.world import web_of
from tests.crawler.web import HTML, Answer, Web, redirect, serve

TODAY = datetime.datetime.now(datetime.UTC).date()
DAY = datetime.timedelta(days=1)
FIELDS = {"private_hosts": ("127.0.0.1",), "delay_seconds": 0, "requests_per_host": 4}
LINKS = ("/tag", "/date", "/plain", "/changed", "/gone", "/forgotten")
"""What the front page links to in the beginning."""


def text_page(text: str, *links: str, **validators: str) -> Answer:
    anchors = "".join(f'<p><a href="{link}">{link}</a></p>' for link in links)
    paragraphs = html((*ENGLISH, f"This page says {text}."))
    body = paragraphs.replace('href="/a"', 'href="/"').replace("</body>", f"{anchors}</body>")
    names = {"tag": "ETag", "date": "Last-Modified"}
    return Answer(body.encode(), headers=HTML | {names[key]: value for key, value in validators.items()})


def first_state() -> dict[str, Answer]:
    return {
        "/": text_page("front", *LINKS, tag='"front-1"'),
        "/tag": text_page("tag", "/below", tag='"tag-1"'),
        "/date": text_page("date", date="Mon, 02 Nov 2026 10:00:00 GMT"),
        "/plain": text_page("plain"),
        "/below": text_page("below", tag='"below-1"'),
        "/changed": text_page("one", tag='"changed-1"'),
        "/gone": text_page("gone soon"),
        "/forgotten": text_page("forgotten", tag='"forgotten-1"'),
    }


def change_once(pages: dict[str, Answer]) -> None:
    """Nothing links to /forgotten any more, and /gone is gone."""
    pages["/"] = text_page("front", *LINKS[:5], "/new", tag='"front-2"')
    pages["/changed"] = text_page("two", tag='"changed-2"')
    pages["/new"] = text_page("new", tag='"new-1"')
    del pages["/gone"]


def crawled(store: Store, web: Web, snapshot: datetime.date, compute: Compute, **fields: object) -> Pages:
    config = CrawlConfig(**{"seeds": (web.url(),), "snapshot": snapshot, **FIELDS, **fields})
    return crawl(store, None, config, compute)


def age(pages: Pages, days: float) -> None:
    """As if the crawl had been made so long ago."""
    for path in pages.paths("frontier/"):
        with closing(sqlite3.connect(path)) as frontier:
            frontier.execute(
                "UPDATE visits SET fetched = strftime('%Y-%m-%dT%H:%M:%SZ', fetched, ?)", (f"-{days} days",)
            )
            frontier.commit()


def outcomes(web: Web, pages: Pages) -> dict[str, str]:
    return {line["url"].removeprefix(web.origin): line["outcome"] for line in pages.log()}


def rest_days(web: Web, pages: Pages) -> dict[str, float | None]:
    """How long each page may rest from now on."""
    with Frontiers(pages.paths("frontier/"), finished=True) as frontiers:
        found = frontiers.urls(None, ["done"], None, 100)
        return {
            each.url.removeprefix(web.origin): each.visit
            and each.visit.refresh_seconds
            and round(each.visit.refresh_seconds / 86_400, 2)
            for each in found
        }


def texts(store: Store, web: Web, pages: Pages, compute: Compute) -> dict[str, str]:
    """What each page says, as the stage that reads pages has it."""
    raw = extract(store, pages, None, ExtractConfig(extractor="resiliparse", shards=1), compute)
    rows = read_rows(raw.paths("raw/"))
    found = {row["url"].removeprefix(web.origin): row["text"] for row in rows}
    return {url: text.partition("This page says ")[2].partition(".")[0] for url, text in found.items()}


def records(pages: Pages) -> Counter[tuple[str, str]]:
    """Type and profile of what two independent readers find in the archive; both find the same."""
    found = []
    for reader in ("fastwarc", "warcio"):
        counted: Counter[tuple[str, str]] = Counter()
        for path in pages.paths("warc/"):
            if reader == "fastwarc":
                for record in ArchiveIterator(str(path), parse_http=False):
                    profile = record.headers.get("WARC-Profile") or ""
                    counted[record.headers["WARC-Type"], profile.rpartition("/")[2]] += 1
                continue
            with path.open("rb") as file:
                for each in WarcioIterator(file):
                    profile = each.rec_headers.get_header("WARC-Profile") or ""
                    counted[each.rec_type, profile.rpartition("/")[2]] += 1
        found.append(counted)
    command = [sys.executable, "-m", "warcio.cli", "check", *map(str, pages.paths("warc/"))]
    assert subprocess.run(command, check=False).returncode == 0
    assert found[0] == found[1]
    return found[0]


def in_this_process(processes: int = 1, hosts: dict[str, str] | None = None) -> Compute:
    """Without a cluster: the first test has one."""
    return InThisProcess(ComputeConfig(crawl_processes=processes, hosts=hosts or {}))


@pytest.fixture
def here() -> Compute:
    return in_this_process()


def test_each_crawl_starts_from_the_one_before_and_asks_for_what_is_due(
    store: Store, compute: Compute
) -> None:
    with serve(first_state()) as web:
        first = crawled(store, web, TODAY - 20 * DAY, compute)
        assert web.conditions == []
        assert set(outcomes(web, first).values()) == {"page"}
        age(first, 20)

        change_once(web.pages)
        web.asked.clear()
        second = crawled(store, web, TODAY - 10 * DAY, compute)
        assert second.earlier is not None
        assert second.earlier.key == first.key
        assert outcomes(web, second) == {
            "/": "changed", "/below": "unchanged", "/changed": "changed", "/date": "unchanged",
            "/forgotten": "unchanged", "/gone": "gone", "/new": "page", "/plain": "unchanged",
            "/tag": "unchanged",
        }  # fmt: skip
        assert sorted(web.conditions) == [
            ("/", "If-None-Match", '"front-1"'),
            ("/below", "If-None-Match", '"below-1"'),
            ("/changed", "If-None-Match", '"changed-1"'),
            ("/date", "If-Modified-Since", "Mon, 02 Nov 2026 10:00:00 GMT"),
            ("/forgotten", "If-None-Match", '"forgotten-1"'),
            ("/tag", "If-None-Match", '"tag-1"'),
        ]
        assert max(web.times_asked().values()) == 1
        assert second.record.counts == {
            "left": 0, "pages": 8, "tried": 9, "outcome.changed": 2, "outcome.gone": 1,
            "outcome.page": 1, "outcome.unchanged": 5,
        }  # fmt: skip
        counted = records(second)
        assert counted["revisit", "server-not-modified"] == 4
        assert counted["revisit", "identical-payload-digest"] == 1
        assert counted["response", ""] == 3
        assert counted["request", ""] == 8
        assert rest_days(web, second) == {
            "/": 10, "/below": 30, "/changed": 10, "/date": 30, "/forgotten": 30, "/gone": None,
            "/new": None, "/plain": 30, "/tag": 30,
        }  # fmt: skip
        said = {"/": "front", "/below": "below", "/changed": "two", "/date": "date",
                "/forgotten": "forgotten", "/new": "new", "/plain": "plain", "/tag": "tag"}  # fmt: skip
        assert texts(store, web, second, compute) == said
        age(second, 10)

        web.pages["/changed"] = text_page("three", tag='"changed-3"')
        web.asked.clear()
        web.conditions.clear()
        third = crawled(store, web, TODAY, compute)
        files = {"/robots.txt", "/.well-known/tdmrep.json"}
        assert set(web.times_asked()) - files == {"/", "/changed", "/gone", "/new"}
        assert sorted(web.conditions) == [
            ("/", "If-None-Match", '"front-2"'),
            ("/changed", "If-None-Match", '"changed-2"'),
            ("/new", "If-None-Match", '"new-1"'),
        ]
        resting = dict.fromkeys(("/below", "/date", "/forgotten", "/plain", "/tag"), "not-due")
        assert outcomes(web, third) == resting | {
            "/": "unchanged", "/changed": "changed", "/gone": "http-error", "/new": "unchanged",
        }  # fmt: skip
        days = rest_days(web, third)
        assert {url: days[url] for url in resting} == dict.fromkeys(resting, 30)
        assert (days["/"], days["/changed"], days["/new"]) == (15, 5, 15)
        assert texts(store, web, third, compute) == said | {"/changed": "three"}
        age(third, 25)

        web.conditions.clear()
        fourth = crawled(store, web, TODAY + DAY, compute)
        asked_again = {url: value for url, _, value in web.conditions}
        assert asked_again["/tag"] == '"tag-1"'
        assert set(outcomes(web, fourth).values()) == {"unchanged", "http-error"}
        assert texts(store, web, fourth, compute) == said | {"/changed": "three"}
        assert records(fourth)["response", ""] == 0

    store.name("mine/pages", fourth)
    assert crawls_to_go(store) == set()
    store.name("mine/pages", first)
    assert crawls_to_go(store) == {pages.base for pages in (second, third, fourth)}


def crawls_to_go(store: Store) -> set[str]:
    return {piece.path for piece in leftovers(store).artifacts if piece.path.startswith(f"{Pages.stage}/")}


def test_a_recrawl_that_is_killed_goes_on_and_ends_as_one_that_was_not(store: Store, here: Compute) -> None:
    pages = {f"/{number}": text_page(f"page {number}", tag=f'"{number}"') for number in range(40)}
    pages["/"] = text_page("front", *pages, tag='"front"')
    with serve(pages) as web:
        age(crawled(store, web, TODAY - 20 * DAY, here), 20)
        changed = [f"/{number}" for number in range(0, 40, 4)]
        pages |= {url: text_page(f"new {url[1:]}", tag=f'"new {url[1:]}"') for url in changed}
        web.asked.clear()
        web.pause_seconds = 0.05
        killer = threading.Thread(target=kill_when, args=(lambda: len(web.asked) >= 15,))
        killer.start()
        with pytest.raises(SpiderDiedError):
            crawled(store, web, TODAY - 10 * DAY, here)
        killer.join()
        second = crawled(store, web, TODAY - 10 * DAY, here)
        assert outcomes(web, second) == dict.fromkeys(pages, "unchanged") | dict.fromkeys(changed, "changed")
        assert len(web.asked) > 43
        assert records(second)["response", ""] == len(changed)
        status = CliRunner().invoke(app, ["crawl", "status", second.key, "--store", store.storage.address])
        assert "recrawl    unchanged 31, changed 10" in status.output
        report = second.path(REPORT).read_text()
        assert "unchanged 31, changed 10" in report
        said = texts(store, web, second, here)
    assert {url: text for url, text in said.items() if url in changed} == {
        url: f"new {url[1:]}" for url in changed
    }
    assert said["/1"] == "page 1"


def test_a_page_whose_earlier_copy_is_damaged_is_asked_for_anew(store: Store, here: Compute) -> None:
    pages = {"/": text_page("front", "/a", tag='"front"'), "/a": text_page("a", tag='"a"')}
    with serve(pages) as web:
        first = crawled(store, web, TODAY - 20 * DAY, here)
        entry = next(each for each in first.entries() if each.url == web.url("/a"))
        with first.path(entry.warc).open("r+b") as file:
            file.seek(entry.offset + entry.length // 2)
            file.write(b"damaged")
        second = crawled(store, web, TODAY, here)
        assert outcomes(web, second) == {"/": "unchanged", "/a": "page"}
        assert web.conditions == [("/", "If-None-Match", '"front"')]


def test_partitions_take_up_hosts_to_which_no_link_leads_any_more(store: Store, here: Compute) -> None:
    """The earlier crawl had one partition, this one has three."""
    with serve({"/a": text_page("a")}) as web:
        names = [f"host{number}.example" for number in range(4)]
        hosts = dict.fromkeys(names, f"127.0.0.1:{web.port}")
        web.pages["/"] = text_page("front", *(f"http://{name}/a" for name in names))
        one, three = (in_this_process(processes, hosts) for processes in (1, 3))
        fields = {"seeds": (f"http://{names[0]}/",), "allowed_hosts": tuple(names)}
        age(crawled(store, web, TODAY - 20 * DAY, one, **fields), 20)
        web.pages["/"] = text_page("front")
        second = crawled(store, web, TODAY, three, **fields)
    assert outcomes(web, second) == {f"http://{name}/": "changed" for name in names} | {
        f"http://{name}/a": "unchanged" for name in names
    }


def test_what_was_a_page_may_be_a_redirect_an_opt_out_or_forbidden_now(store: Store, here: Compute) -> None:
    pages = {url: text_page(url[1:], tag=f'"{url}"') for url in ("/moved", "/private", "/forbidden")}
    pages["/"] = text_page("front", *pages)
    with serve(pages) as web:
        age(crawled(store, web, TODAY - 20 * DAY, here), 20)
        pages["/moved"] = redirect("/here")
        pages["/here"] = text_page("here")
        private = pages["/private"]
        pages["/private"] = replace(private, headers={**private.headers, "X-Robots-Tag": "noindex"})
        pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /forbidden")
        second = crawled(store, web, TODAY, here)
        assert outcomes(web, second) == {
            "/": "unchanged",
            "/moved": "redirect",
            "/here": "page",
            "/private": "opt-out",
            "/forbidden": "robots",
        }


def test_the_host_of_the_test_web_that_changes_is_told_as_its_truth_has_it(store: Store) -> None:
    with serve_web(web_of([changing_host()])) as web:
        here = in_this_process(1, web.places)
        given = {"seeds": tuple(web.seeds), "contact": "https://crawler.example/", "delay_seconds": 0}
        first = CrawlConfig(**given, snapshot=TODAY - DAY)
        assert crawl(store, None, first, here).counts()["pages"] == len(CHANGES) - 1
        web.snapshot = 2
        web.log.clear()
        pages = crawl(store, None, CrawlConfig(**given, snapshot=TODAY), here)
        truth = second_truth()
        found = {line["url"]: line["outcome"] for line in pages.log()}
        assert found.keys() == truth.keys()
        assert {url: outcome for url, outcome in found.items() if outcome not in truth[url]} == {}
        conditional = {each.path for each in web.log if each.conditional}
        assert conditional == {path for path, change in CHANGES.items() if change.validators}

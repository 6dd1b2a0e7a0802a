"""The report: counted as an independent count has it, the same for the same crawl, and safe to open."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from crawler.crawl import CrawlConfig, crawl
from crawler.entries import Position, Visit
from crawler.frontier import Frontier
from crawler.inquiry import Frontiers
from crawler.outcomes import A_TRAP, meaning_of
from crawler.report import (
    EXAMPLES,
    GROUPS,
    REPORT,
    SAMPLE_PAGES,
    SHOWN,
    Languages,
    archived,
    facts_of,
    languages_of,
    make_report,
    manners_of,
)
from crawler.window import Manners
from pipeline.compute import Compute
from pipeline.store import Store
from tests.crawler.frontiers import SEED, entry, partitioned, small_frontier, visit
from tests.crawler.web import Answer, serve

HOSTILE = "text/<script>alert(1)</script>$\\frac$\x00\u202e"


def facts_in(*paths: Path):
    with Frontiers(paths, finished=True) as frontiers:
        return facts_of(frontiers, Languages(), Manners(2.0, 60.0))


def test_the_counts_are_those_of_the_crawl_log(tmp_path: Path):
    frontier = small_frontier(tmp_path / "00.sqlite")
    lines = list(frontier.log())
    frontier.close()
    facts = facts_in(tmp_path / "00.sqlite")
    assert facts.outcomes == Counter(line["outcome"] for line in lines)
    assert facts.statuses == {"200": 5, "no answer": 3, "301": 1}
    assert facts.bytes == sum(line["bytes"] or 0 for line in lines) == 7000
    assert facts.depths == {0: 1, 1: 4}
    assert (facts.waiting, facts.seconds) == (2, 30.0)
    assert facts.opt_outs == {"header:noai": 1, "meta:nofollow": 1}
    hosts = facts.hosts
    assert (hosts.by_pages, hosts.by_bytes) == ([("a.example", 5)], [("a.example", 7000)])
    assert (hosts.by_robots, hosts.by_traps, hosts.asked) == ([("a.example", 1)], [("a.example", 1)], 1)
    assert (facts.timeline.bin_seconds, sum(facts.timeline.pages)) == (1, 5)
    assert facts.timeline.pages == [1] + [0] * 9 + [1] * 4


def test_partitions_are_one_crawl(tmp_path: Path):
    urls = [f"http://host{number}.example/{place}" for place in range(3) for number in range(40)]
    several = facts_in(*partitioned(tmp_path / "several", urls, 3))
    whole = facts_in(*partitioned(tmp_path / "whole", urls, 1))
    for name in ("outcomes", "statuses", "content_types", "depths", "timeline", "hosts", "bytes", "waiting"):
        assert getattr(several, name) == getattr(whole, name), name
    assert len(whole.hosts.by_pages) == SHOWN
    assert whole.hosts.asked == 40


def test_values_that_servers_choose_are_bounded_and_none_is_lost(tmp_path: Path):
    frontier = Frontier(tmp_path / "00.sqlite")
    urls = [f"{SEED}{number}" for number in range(3 * GROUPS)]
    frontier.add([entry(url) for url in urls])
    for number, url in enumerate(urls):
        frontier.finish(url, visit("not-html", content_type=f"x/{number}"))
    frontier.commit(Position())
    frontier.close()
    kinds = facts_in(tmp_path / "00.sqlite").content_types
    assert (len(kinds), kinds["others"], kinds.total()) == (GROUPS + 1, 2 * GROUPS, 3 * GROUPS)


def test_a_crawl_of_years_has_a_bounded_number_of_bars(tmp_path: Path):
    frontier = Frontier(tmp_path / "00.sqlite")
    frontier.add([entry(f"{SEED}{year}") for year in range(2000, 2026)])
    for year in range(2000, 2026):
        frontier.finish(f"{SEED}{year}", Visit("page", fetched=f"{year}-02-03T04:05:06Z"))
    frontier.commit(Position())
    frontier.close()
    timeline = facts_in(tmp_path / "00.sqlite").timeline
    assert len(timeline.pages) <= 122
    assert sum(timeline.pages) == 26


def test_the_delay_of_a_slow_host_is_the_one_that_was_kept_to(tmp_path: Path):
    frontier = Frontier(tmp_path / "00.sqlite")
    given = {"a": (0.1, 0.0), "b": (3.0, 0.0), "c": (0.5, 10.0), "d": (90.0, 0.0)}
    for name, (latency, delay) in given.items():
        frontier.hosts.save([replace(frontier.hosts.find(name), latency=latency, delay=delay, requests=1)])
    frontier.commit(Position())
    frontier.close()
    slowest = facts_in(tmp_path / "00.sqlite").slowest
    assert [(host.name, host.delay) for host in slowest] == [("d", 60), ("b", 3), ("c", 10), ("a", 2)]


def test_manners_are_those_of_the_configuration_and_none_for_a_site_of_ones_own():
    told = {"delay_seconds": 2.0, "max_delay_seconds": 60.0}
    assert manners_of(told | {"seeds": ["http://a/"]}) == Manners(2.0, 60.0)
    assert manners_of(told | {"seeds": []}) == Manners() == manners_of({})


def test_each_kind_of_url_without_a_page_has_examples_of_several_hosts_and_a_command(tmp_path: Path):
    frontier = Frontier(tmp_path / "00.sqlite")
    few = [f"http://host{number}.example/{place}" for number in range(2) for place in range(20)]
    many = [f"http://h{number}.example/{place}" for number in range(9) for place in "ab"]
    frontier.add([entry(url) for url in [*few, *many]])
    for urls, outcome in ((few, "robots"), (many, "timeout")):
        for url in urls:
            frontier.finish(url, visit(outcome, detail=f"<{outcome}>"))
    for number in range(7):
        frontier.out_of_scope.note("denied by '/<x>'", f"http://x.example/{number}")
    frontier.commit(Position())
    frontier.close()
    facts = facts_in(tmp_path / "00.sqlite")
    assert set(facts.examples) == {"robots", "timeout"}
    assert [each.url for each in facts.examples["robots"]] == [few[0], few[20], *sorted(few[:20])[1:4]]
    assert {each.url for each in facts.examples["timeout"]} == set(many[:10:2])
    assert len(facts.unwanted["denied by '/<x>'"].examples) == EXAMPLES
    with Frontiers([tmp_path / "00.sqlite"], finished=True) as frontiers:
        make_report(frontiers, iter(()), tmp_path / "r.html", "crawl/0123", {})
    told = (tmp_path / "r.html").read_text()
    assert "moinho frontier ls crawl/0123 --outcome robots --limit 40" in told
    assert f"<code>{few[0]}</code> &lt;robots&gt;" in told
    assert "denied by &#x27;/&lt;x&gt;&#x27;: 7" in told


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_is_one_file_that_shows_hostile_names_as_text(tmp_path: Path):
    frontier = small_frontier(tmp_path / "00.sqlite")
    frontier.finish(f"{SEED}waiting", visit("not-html", content_type=HOSTILE))
    frontier.commit(Position(seconds=30.0))
    frontier.close()
    written = []
    with Frontiers([tmp_path / "00.sqlite"], finished=True) as frontiers:
        for name in ("one.html", "two.html"):
            make_report(frontiers, iter(()), tmp_path / name, "crawl/0123", {})
            written.append((tmp_path / name).read_text())
    assert written[0] == written[1]
    seen = Seen()
    seen.feed(written[0])
    assert seen.tags["svg"] >= 10
    assert seen.tags["script"] == 0
    assert all(link.startswith("#") for link in seen.loads)
    assert "text/&lt;script" in written[0]
    for told in ("trap-calendar", "URLs by status code", "pages over time", "hosts with most bytes", "noai"):
        assert told in written[0]


def test_a_crawl_of_nothing_has_a_report_too(tmp_path: Path):
    frontier = Frontier(tmp_path / "00.sqlite")
    frontier.commit(Position())
    frontier.close()
    with Frontiers([tmp_path / "00.sqlite"], finished=True) as frontiers:
        make_report(frontiers, iter(()), tmp_path / "r.html", "crawl/0123", {})
    assert "No page was stored" in (tmp_path / "r.html").read_text()


def test_a_record_that_is_damaged_is_one_page_less_in_the_sample():
    assert languages_of(iter([b"", b"\x1f\x8b\x08 no gzip", b"WARC/1.1\r\n"])).sampled == 0


ENGLISH = "The mill stands by the river, and the miller has been grinding wheat there for thirty years. " * 5
PORTUGUESE = (
    "O moinho fica junto ao rio, e o moleiro mói ali o trigo há mais de trinta anos, todos os dias. " * 5
)


def spoken(text: str, lang: str, *links: str) -> Answer:
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    return Answer(f"<html{lang}><script>var the = 'of and the';</script><p>{text}</p>{anchors}".encode())


def test_a_crawl_ends_with_a_report_that_knows_its_pages_languages(store: Store, compute: Compute) -> None:
    site = {
        "/": spoken(ENGLISH, ' lang="en-GB"', "p1", "p2", "short", "forbidden/x"),
        "/p1": spoken(PORTUGUESE, ' lang="pt-BR"'),
        "/p2": spoken(PORTUGUESE, ""),
        "/short": spoken("Olá", ' lang="pt"'),
        "/robots.txt": Answer(
            b"User-agent: *\nDisallow: /forbidden/", headers={"Content-Type": "text/plain"}
        ),
    }
    with serve(site) as web:
        config = CrawlConfig(seeds=(web.url(),), private_hosts=("127.0.0.1",), delay_seconds=0)
        pages = crawl(store, None, config, compute)
    with Frontiers(pages.paths("frontier/"), finished=True) as frontiers:
        files = pages.record.files
        archive = {name: f"{pages.base}/{files[name].path}" for name in pages.names("warc/")}
        languages = languages_of(archived(frontiers, store.storage, archive))
        facts = facts_of(frontiers, languages, manners_of(pages.record.config))
    assert facts.outcomes == {"page": 4, "robots": 1}
    assert languages.sampled == 4 <= SAMPLE_PAGES
    assert languages.detected == {"en": 1, "pt": 2, "too little text": 1}
    assert languages.declared == {"en": 1, "pt": 2, "none": 1}
    report = pages.path(REPORT).read_text()
    assert re.search(r"Languages are those of 4 of the 4 pages", report)


def test_a_url_that_is_too_long_is_no_advice_to_make_it_a_seed() -> None:
    assert meaning_of("trap-url-length").advice is None
    assert meaning_of("trap-path").advice == A_TRAP.advice

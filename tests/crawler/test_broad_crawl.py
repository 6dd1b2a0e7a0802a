"""The broad crawl on the test web: every page once, nothing forbidden, the same by one process or four."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from selectolax.lexbor import LexborHTMLParser

from pipeline.corpus.opt_outs import Honoured
from tests.crawler.testweb.exchange import Asked
from tests.crawler.testweb.good import COMMON_SPELLINGS, Size
from tests.crawler.testweb.hosts import outcomes
from tests.crawler.testweb.judge import by_address, judge
from tests.crawler.testweb.rules import WHOLE_HOST, opt_out_hosts
from tests.crawler.testweb.server import Web, serve
from tests.crawler.testweb.stage import stage_for
from tests.crawler.testweb.world import good_web, web_of
from tests.crawler.whole import Whole, crawl_whole

SMALL = Size(domains=8, fewest_pages=3, most_pages=8)
PROCESSES = (1, 2, 4)


@pytest.mark.everything
def test_two_processes_crawl_the_good_hosts_whole_and_politely(tmp_path: Path) -> None:
    web = good_web(2, SMALL)
    with serve(web), stage_for(web, tmp_path, {"crawl_processes": 2}, delay_seconds=0.1) as stage:
        crawled = stage.finish()
    assert judge(web.hosts, web.log, crawled, delay_seconds=0.1) == []


@pytest.fixture(scope="module")
def crawls() -> dict[int, Whole]:
    """Crawls of the whole web that were made, by their number of processes."""
    return {}


@pytest.mark.everything
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("processes", PROCESSES)
def test_the_whole_web_is_crawled_to_its_end_without_a_fault(
    processes: int, crawls: dict[int, Whole], tmp_path: Path
) -> None:
    crawls[processes] = crawl_whole(tmp_path, {"crawl_processes": processes})
    assert crawls[processes].faults == []


@pytest.mark.everything
def test_the_number_of_processes_changes_no_page(crawls: dict[int, Whole]) -> None:
    if set(crawls) != set(PROCESSES):
        pytest.skip("takes the pages of the test before")
    pages = [whole.pages for whole in crawls.values()]
    assert [each ^ pages[0] for each in pages] == [set()] * len(pages)


@pytest.mark.everything
@pytest.mark.parametrize("processes", PROCESSES)
def test_depth_is_that_of_the_shortest_way_whatever_is_found_first(processes: int, tmp_path: Path) -> None:
    """From one seed, each link counted as its host's generator wrote it."""
    web = good_web(3, SMALL, COMMON_SPELLINGS)
    seed = "http://site000.example/"
    limits = {"seeds": [seed], "allowed_hosts": sorted(web.hosts), "max_depth": 3, "sitemaps": False}
    with serve(web), stage_for(web, tmp_path, {"crawl_processes": processes}, **limits) as stage:
        crawled = stage.finish()
    depths = _depths(web, seed)
    expected = {url for url, depth in depths.items() if depth <= 3}
    assert len(expected) < len(depths)
    assert {line.url for line in crawled.logged if line.outcome == "page"} == expected


def _depths(web: Web, seed: str) -> dict[str, int]:
    """Pages → links from the seed at least."""
    depths, waiting = {seed: 0}, [seed]
    for here in waiting:
        parts = urlsplit(here)
        assert parts.hostname is not None
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        body = web.hosts[parts.hostname].answer(Asked(path, {})).body
        for node in LexborHTMLParser(body).css("a[href]"):
            url = _page(web, urljoin(here, (node.attributes["href"] or "").strip()))
            if url is not None and url not in depths:
                depths[url] = depths[here] + 1
                waiting.append(url)
    return depths


def _page(web: Web, url: str) -> str | None:
    """The page that is meant, if it is one, also by way of a redirect."""
    parts = urlsplit(url)
    host = web.hosts.get(parts.hostname or "")
    if host is None:
        return None
    without_dots = urlsplit(urljoin(url, parts.path)).path
    path = without_dots + (f"?{parts.query}" if parts.query else "")
    if path in host.pages:
        return host.url(path)
    location = dict(host.answer(Asked(path, {})).headers).get("Location")
    return host.url(location) if location else None


@pytest.mark.everything
def test_opt_outs_that_are_not_to_be_obeyed_keep_no_page_away(tmp_path: Path) -> None:
    paths = {WHOLE_HOST: frozenset({"/", "/a"})}
    unmarked: dict[str, Any] = {"may": {}, "never": {}, "closed": None, "counted": outcomes()}
    marked = frozenset({"/", "/marked", "/behind"})
    web = web_of([replace(host, pages=paths.get(host.kind, marked), **unmarked) for host in opt_out_hosts()])
    obeyed = {"opt_outs": dict.fromkeys(Honoured.model_fields, False)}
    with serve(web), stage_for(web, tmp_path, {"crawl_processes": 1}, **obeyed) as stage:
        crawled = stage.finish()
    assert judge(web.hosts, web.log, crawled, delay_seconds=0.0) == []


@pytest.mark.everything
def test_hosts_of_one_address_are_one_to_politeness_if_that_is_wanted(tmp_path: Path) -> None:
    """From the first request to each host on: robots.txt and tdmrep.json are judged as any other."""
    web = good_web(4, SMALL)
    polite = {"delay_seconds": 0.2, "per_ip": True}
    with serve(web), stage_for(web, tmp_path, {"crawl_processes": 1}, **polite) as stage:
        crawled = stage.finish()
    assert any(request.is_well_known for request in web.log)
    assert judge(web.hosts, web.log, crawled, delay_seconds=0.2, unit=by_address) == []

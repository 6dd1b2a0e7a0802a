"""robots.txt by RFC 9309, as the server sees it."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from crawler.origins import product_token
from tests.crawler.web import Answer, page, redirect, serve, small_site

Crawl = Callable[..., dict[str, dict[str, Any]]]
TEXT = {"Content-Type": "text/plain"}


def robots(text: str, status: int = 200) -> dict[str, Answer]:
    return {"/robots.txt": Answer(text.encode(), status, TEXT)}


def test_disallowed_paths_are_never_asked_for(crawl_here: Crawl) -> None:
    rules = robots("User-agent: *\nDisallow: /\n\nUser-agent: Moinho\nDisallow: /p1\nAllow: /p11\n")
    with serve(small_site(12) | rules) as web:
        log = crawl_here(web.url())
    asked = set(web.times_asked())
    assert not {"/p1.html", "/p10.html"} & asked
    assert {"/", "/p0.html", "/p11.html"} <= asked
    assert log[web.url("/p1.html")]["outcome"] == "robots"


def test_a_server_error_forbids_everything(crawl_here: Crawl) -> None:
    with serve(small_site() | robots("", 503)) as web:
        log = crawl_here(web.url())
    assert set(web.times_asked()) == {"/robots.txt"}
    assert [line["outcome"] for line in log.values()] == ["robots-unreachable"]
    assert "503" in log[web.url()]["detail"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_robots_file_that_is_not_there_allows_everything(crawl_here: Crawl, status: int) -> None:
    with serve({"/": page()} | robots("User-agent: *\nDisallow: /", status)) as web:
        log = crawl_here(web.url())
    assert log[web.url()]["outcome"] == "page"


def test_a_host_that_does_not_answer_is_unreachable(crawl_here: Crawl) -> None:
    with serve({}) as web:
        url = web.url()
    assert crawl_here(url)[url]["outcome"] == "unreachable"


def test_redirects_of_robots_are_followed_and_redirect_targets_obey_it(crawl_here: Crawl) -> None:
    site = {
        "/": page("/jump"),
        "/jump": redirect("/secret/page.html"),
        "/secret/page.html": page(text="secret"),
        "/robots.txt": redirect("/rules/1"),
        **{f"/rules/{number}": redirect(f"/rules/{number + 1}") for number in range(1, 5)},
        "/rules/5": Answer(b"User-agent: *\nDisallow: /secret/", headers=TEXT),
    }
    with serve(site) as web:
        log = crawl_here(web.url())
    assert "/secret/page.html" not in web.times_asked()
    assert log[web.url("/secret/page.html")]["outcome"] == "robots"


def test_crawl_delay_is_kept_between_requests(crawl_here: Crawl) -> None:
    rules = robots("User-agent: *\nCrawl-delay: 0.3\n")
    with serve({"/": page("/a", "/b"), "/a": page(), "/b": page()} | rules) as web:
        crawl_here(web.url())
    times = [moment for moment, _ in web.asked]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) == 4, "robots.txt and tdmrep.json count as requests"
    assert min(gaps) >= 0.25


def test_the_configured_delay_is_kept_between_requests(crawl_here: Crawl) -> None:
    with serve({"/": page("/a", "/b"), "/a": page(), "/b": page()}) as web:
        crawl_here(web.url(), delay_seconds=0.2)
    times = [moment for moment, _ in web.asked]
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.15


def test_the_product_token_is_the_name_alone() -> None:
    assert product_token("moinho/0.1.0 (+https://example.org)") == "moinho"

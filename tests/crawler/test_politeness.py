"""The rules of origins: asked for once and kept a day; what does not come forbids only after a second try."""

import asyncio
from pathlib import Path

import pytest

from crawler.frontier import Frontier
from crawler.origins import TDMREP_PATH, Forbidden, Reply
from crawler.politeness import TRIES, RuleBook, origin_of

ORIGIN = "https://a.org"
ROBOTS = b"User-agent: *\nDisallow: /shut\nCrawl-delay: 3\nSitemap: https://a.org/map.xml\n"
POLICY = b'[{"location": "/reserved/*", "tdm-reservation": 1}]'


class Host:
    """Answers, and what was asked."""

    def __init__(self, *answers: Reply) -> None:
        self.answers, self.asked, self.delays = list(answers), list[str](), list[float]()

    async def get(self, url: str) -> Reply:
        self.asked.append(url.removeprefix(ORIGIN))
        return self.answers.pop(0)

    def obtain(self, book: RuleBook, *, refused: bool = False) -> bool:
        """True if the host is to be asked again."""
        rules = asyncio.run(book.obtain(ORIGIN, self.get, self.delays.append, lambda: refused))
        return rules.is_passing and book.known(ORIGIN) is None


@pytest.fixture
def frontier(tmp_path: Path) -> Frontier:
    return Frontier(tmp_path / "frontier.sqlite")


def test_both_files_are_asked_for_once_and_found_again_after_a_restart(frontier: Frontier) -> None:
    host = Host(Reply(200, ROBOTS), Reply(200, POLICY))
    assert not host.obtain(RuleBook(frontier, "moinho/1"))
    assert host.asked == ["/robots.txt", TDMREP_PATH]
    assert host.delays == [3.0]
    rules = RuleBook(frontier, "moinho/1").known(ORIGIN)
    assert rules is not None
    with pytest.raises(Forbidden):
        rules.robots.check(f"{ORIGIN}/shut")
    assert [rule.said.reserved for rule in rules.tdmrep] == [True]


def test_tdmrep_json_is_not_asked_for_where_robots_txt_forbids_it(frontier: Frontier) -> None:
    host = Host(Reply(200, b"User-agent: *\nDisallow: /\n"))
    assert not host.obtain(RuleBook(frontier, "moinho/1"))
    assert host.asked == ["/robots.txt"]
    assert RuleBook(frontier, "moinho/1").known(ORIGIN) is not None


def test_rules_are_used_for_a_day(frontier: Frontier) -> None:
    now = 5.0
    book = RuleBook(frontier, "moinho/1", reads_tdmrep=False, clock=lambda: now)
    host = Host(Reply(404))
    host.obtain(book)
    frontier.db.execute("UPDATE kept_files SET fetched = fetched - 86400")
    now += 86_000
    assert book.known(ORIGIN) is not None
    now += 500
    assert book.known(ORIGIN) is None


def test_a_server_that_fails_is_asked_again_before_it_forbids(frontier: Frontier) -> None:
    book = RuleBook(frontier, "moinho/1")
    host = Host(*[Reply(503)] * TRIES)
    assert [host.obtain(book) for _ in range(TRIES)] == [True] * (TRIES - 1) + [False]
    rules = book.known(ORIGIN)
    assert rules is not None
    with pytest.raises(Forbidden, match="503"):
        rules.robots.check(f"{ORIGIN}/")
    assert RuleBook(frontier, "moinho/1").known(ORIGIN) is None, "another process asks again"


def test_an_address_that_is_never_asked_is_not_waited_for(frontier: Frontier) -> None:
    assert not Host(Reply(503)).obtain(RuleBook(frontier, "moinho/1"), refused=True)


def test_sitemaps_are_read_once_a_day(frontier: Frontier) -> None:
    book = RuleBook(frontier, "moinho/1")
    Host(Reply(200, ROBOTS), Reply(404)).obtain(book)
    rules = book.known(ORIGIN)
    assert rules is not None
    assert book.wants_sitemaps(ORIGIN, rules)
    book.read_sitemap(f"{ORIGIN}/map.xml", b"")
    book.read_sitemap(f"{ORIGIN}/index.xml", b"<sitemapindex>")
    read = [book.sitemap(f"{ORIGIN}{path}") for path in ("/map.xml", "/index.xml", "/other.xml")]
    assert read == [b"", b"<sitemapindex>", None]
    assert book.wants_sitemaps(ORIGIN, rules), "there may be others"
    book.read_sitemaps(ORIGIN)
    assert not book.wants_sitemaps(ORIGIN, rules)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("http://a.org:8080/x/y?z") == "http://a.org:8080"

"""Endless sites come to an end, honest ones lose no page: crawls of small sites without a network."""

import re
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from urllib.parse import urlsplit

import pytest

from crawler.markup import read_markup, visible_text
from crawler.repetition import BARREN, SCHEMA, TABLES, Traps, probe_of
from crawler.urls import bucket_of, canonical, host_of, resolve
from tests.crawler.honest import DOCUMENTATION, SOFTWARE, real_pages

YEAR = 2026
Page = Callable[[str], str | int | None]
"""HTML of a URL, a redirect's status for one that leads on for ever, or None if it is not there."""


@dataclass
class Crawled:
    pages: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    asked: int = 0


def database() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def crawl(page: Page, start: str = "http://a.org/", limit: int = 5_000, restarts: int = 0) -> Crawled:
    """Breadth first, as a loop of the crawler would; `restarts`: after so many requests all is read anew
    from the tables."""
    crawled, db = Crawled(), database()
    traps, known, waiting = Traps(db, YEAR), {start}, deque([start])
    while waiting and crawled.asked < limit:
        if restarts and crawled.asked % restarts == restarts - 1:
            traps = Traps(db, YEAR)
        url = waiting.popleft()
        trap = traps.refusal(url)
        if trap is not None:
            crawled.refused[trap.name] += 1
            continue
        crawled.asked += 1
        html = page(url)
        if isinstance(html, int):
            traps.saw_chain(url)
        if not isinstance(html, str):
            continue
        seen = traps.saw_page(url, visible_text(html))
        if seen.probe:
            answer = page(seen.probe)
            found = isinstance(answer, str)
            traps.probed(seen.probe, 200 if found else 404, visible_text(str(answer)))
        if seen.trap is not None:
            crawled.refused[seen.trap.name] += 1
            continue
        crawled.pages.append(url)
        links = [resolve(url, link) for link in read_markup(html).links]
        new = [link for link in dict.fromkeys(links) if link is not None and link not in known]
        known.update(new)
        waiting.extend(new)
    return crawled


def html(text: str, *links: str) -> str:
    return f"<title>{text}</title><p>{text}" + "".join(f"<a href='{link}'>next</a>" for link in links)


def with_articles(page: Page, *links: str) -> Page:
    """The same site with a hundred honest pages, which link to the trap."""

    def page_or_article(url: str) -> str | int | None:
        path = urlsplit(url).path
        if path == "/":
            return html("Home", *(f"/articles/{number}.html" for number in range(100)), *links)
        if path.startswith("/articles/"):
            return html(f"Article about {path}, with words of its own", *links)
        return page(url)

    return page_or_article


def articles(crawled: Crawled) -> int:
    return sum("/articles/" in url for url in crawled.pages)


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def calendar(url: str) -> str | None:
    """Months without end in both directions, with a page for each day."""
    found = re.fullmatch(r"/cal/(\d+)/(\d+)(?:/(\d+))?", urlsplit(url).path)
    if found is None:
        return None
    year, month = int(found[1]), int(found[2])
    if found[3]:
        return html(f"{found[3]} {MONTHS[month - 1]} {year}: nothing planned", f"/cal/{year}/{month}")
    after = f"/cal/{year + month // 12}/{month % 12 + 1}"
    before = f"/cal/{year - (month == 1)}/{(month - 2) % 12 + 1}"
    days = " ".join(str(day) for day in [29, 30, *range(1, 32), 1, 2])
    links = [f"/cal/{year}/{month}/{day}" for day in (1, 2, 3)]
    return html(f"{MONTHS[month - 1]} {year} {days}", after, before, *links)


def sessions(url: str) -> str | None:
    """A new session in each link."""
    path = urlsplit(url).path
    links = [f"/{number}?token={Random(f'{url}{number}').randbytes(9).hex()}" for number in range(30)]
    return html(f"Product {path}", *links) if re.fullmatch(r"/\d*", path) else None


def sessions_in_the_path(url: str) -> str | None:
    path = urlsplit(url).path
    links = [f"/s{Random(f'{url}{number}').randbytes(9).hex()}x/{number}" for number in range(30)]
    found = re.fullmatch(r"(?:/s[0-9a-f]+x)?/(\d*)", path)
    return html(f"Product {found[1]} of our shop", *links) if found else None


def path_info(url: str) -> str | None:
    """A script that does not look at what follows its name, with relative links."""
    if not urlsplit(url).path.startswith("/index.php"):
        return None
    return html("Welcome", "about/team/", "news/today/", "a/", "b/", "c/")


def any_number(url: str) -> str | None:
    path = urlsplit(url).path
    number = int(path.rpartition("/")[2] or 0) if path.startswith("/n/") else None
    return None if number is None else html("Always the same", f"/n/{2 * number + 1}", f"/n/{2 * number + 2}")


def redirects(url: str) -> str | int | None:
    found = re.fullmatch(r"/r/(\d+)", urlsplit(url).path)
    return None if found is None else 302


def growing(url: str) -> str | None:
    path = urlsplit(url).path
    return (
        html(f"Page {Random(url).random()}", f"{path.rstrip('/')}/more/")
        if path.startswith("/grow")
        else None
    )


@pytest.mark.parametrize("restarts", [0, 37])
@pytest.mark.parametrize(
    ("page", "start", "name", "most"),
    [
        (calendar, "/cal/2026/5", "trap-calendar", 1_500),
        (any_number, "/n/1", "trap-duplicates", 200),
        (path_info, "/index.php/", "trap-path", 400),
        (growing, "/grow/", "trap-path", 150),
    ],
)
def test_endless_pages_come_to_an_end(page: Page, start: str, name: str, most: int, restarts: int) -> None:
    crawled = crawl(with_articles(page, start), restarts=restarts)
    assert articles(crawled) == 100
    assert crawled.refused[name] > 0
    assert crawled.asked < most


@pytest.mark.parametrize("site", [sessions, sessions_in_the_path])
def test_each_page_is_asked_for_in_few_sessions(site: Page) -> None:
    crawled = crawl(site)
    assert {urlsplit(url).path.rpartition("/")[2] for url in crawled.pages} >= {str(n) for n in range(30)}
    assert crawled.refused["trap-session"] > 0
    assert crawled.asked < 150


def test_families_of_endless_redirects_are_left() -> None:
    crawled = crawl(with_articles(redirects, *(f"/r/{number}" for number in range(500))))
    assert crawled.refused["trap-chain"] > 450
    assert articles(crawled) == 100


@pytest.mark.parametrize(
    ("sorry", "stored"),
    [
        ("This is all we have.", 4),
        ("Sorry, {} was not found. Search our {} pages.", 1),
        ("Página não encontrada", 1),
    ],
)
def test_pages_that_are_not_there_are_known_by_what_the_host_sends_for_one(sorry: str, stored: int) -> None:
    def page(url: str) -> str:
        return html(sorry.format(urlsplit(url).path, len(url)))

    crawled = crawl(with_articles(page, *(f"/gone/{name * 3}.html" for name in "abcdefghijklmnop")))
    assert crawled.refused["soft-404"] == 16 - stored
    assert articles(crawled) == 100
    assert "http://a.org/" in crawled.pages


def test_a_probe_is_always_the_same_url() -> None:
    assert probe_of("http://a.org:81/b/c?d") == probe_of("http://a.org:81/")
    assert host_of(probe_of("http://a.org:81/")) == "a.org"
    assert canonical(probe_of("http://a.org/")) == probe_of("http://a.org/")


# --- honest sites ---


def lost(pages: Iterator[tuple[str, str]]) -> list[str]:
    """URLs that would not have been asked for or stored, had the pages come in this order."""
    traps, gone = Traps(database(), YEAR), []
    for url, text in pages:
        trap = traps.refusal(url)
        seen = None if trap else traps.saw_page(url, visible_text(text))
        if seen is not None and seen.probe:
            traps.probed(seen.probe, 404, "")
        if trap or (seen and seen.trap):
            gone.append(url)
    return gone


@pytest.mark.parametrize("package", DOCUMENTATION)
def test_real_documentation_loses_no_page(package: str) -> None:
    pages = list(islice(real_pages(DOCUMENTATION[package]), 300))
    if not pages:
        pytest.skip(f"{DOCUMENTATION[package]} is not there; install Debian's package")
    assert lost(iter(pages)) == []
    copies = ((url.replace("example/", "example/v2.1/"), text) for url, text in pages)
    assert lost(page for pair in zip(pages, copies, strict=True) for page in pair) == []


@pytest.mark.parametrize("software", SOFTWARE)
def test_usual_software_loses_no_page(software: str) -> None:
    """Each page has a sentence of its own, and what pages of one kind have in common."""
    urls = [canonical(f"http://a.org{path}") or "" for path in SOFTWARE[software]()]
    assert (
        lost((url, html(f"Some words, {Random(url).random()} of them; more of them")) for url in urls) == []
    )


def test_families_of_which_most_pages_say_nothing_lose_no_other() -> None:
    """One profile in eight is public, and who is not logged in sees the same page for all others."""
    draw = Random(0)

    def page(number: int) -> tuple[str, str]:
        public = draw.random() < 1 / 8
        return f"http://a.org/user/{number}", html(f"I am user {number}" if public else "Please log in")

    assert lost(page(number) for number in range(20_000)) == []


def test_accounts_that_need_a_login_are_no_sessions() -> None:
    tabs = [f"tab-{letter}" for letter in "abcdefghijklmnopqrst"]
    users = [Random(number).randbytes(6).hex() + "z9" for number in range(50)]

    def text(user: int, tab: str) -> str:
        return html(f"{tab} of user {user}" if user % 3 else "This profile is private")

    urls = [
        (f"http://a.org/u/{name}/{tab}", text(user, tab)) for user, name in enumerate(users) for tab in tabs
    ]
    assert lost(iter(urls)) == []
    urls = [
        (f"http://a.org/u?tab={tab}&u={name}", text(user, tab))
        for user, name in enumerate(users)
        for tab in tabs
    ]
    assert lost(iter(urls)) == []


def test_archives_of_numbers_are_no_calendars() -> None:
    def page(month: int) -> tuple[str, str]:
        year, month = 1900 + month // 12, month % 12 + 1
        draw = Random(year * 12 + month)
        table = " ".join(f"{day} {draw.randint(-5, 31)}" for day in range(1, 31))
        return f"http://a.org/weather/{year}/{month:02}/", html(f"{MONTHS[month - 1]} {year} {table}")

    assert lost(page(month) for month in range(1_500)) == []


def test_a_calendar_with_an_event_a_month_loses_none() -> None:
    def page(number: int) -> tuple[str, str]:
        day, month, year = number % 28 + 1, number // 28 % 12, 1990 + number // 336
        event = f"Concert of {Random(number).random()}" if number % 30 == 0 else "Nothing planned"
        return f"http://a.org/{year}/{month + 1}/{day}", html(f"{day} {MONTHS[month]} {year}: {event}")

    assert lost(page(number) for number in range(10_000)) == []


# --- what is kept ---


def test_what_was_learnt_can_be_moved_with_its_host() -> None:
    old, new = database(), database()
    traps = Traps(old, YEAR)
    for number in range(BARREN + 5):
        traps.saw_page(f"http://a.org/n/{number}", "the same")
    assert traps.refusal("http://a.org/n/1000") is not None
    new.executescript(SCHEMA)
    for table in TABLES:
        for row in old.execute(f"SELECT * FROM {table}").fetchall():
            assert bucket_of(row[0]) == bucket_of("a.org")
            new.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    trap = Traps(new, YEAR).refusal("http://a.org/n/1000")
    assert trap is not None
    assert trap.name == "trap-duplicates"
    assert "a.org/n/0" in trap.detail


def test_memory_holds_no_more_than_what_is_closed() -> None:
    traps = Traps(database(), YEAR)
    for number in range(3_000):
        traps.saw_page(f"http://host{number % 50}.org/p{number}/1?a=2", f"text {number}")
    assert traps._closed == {}
    assert len(traps._once) <= 3_000

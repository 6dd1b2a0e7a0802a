"""URLs that only traps have, and that honest sites have none of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.traps import URL_CHARACTERS, trap_in
from crawler.urls import canonical
from tests.crawler.honest import DOCUMENTATION, SOFTWARE, real_pages

YEAR = 2026


def name_of(path: str) -> str | None:
    trap = trap_in(f"http://a.org{path}", YEAR)
    return trap.name if trap else None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/" + "a" * URL_CHARACTERS, "trap-url-length"),
        ("/x" * 31, "trap-path"),
        ("/foo/foo/foo/foo", "trap-path"),
        ("/foo/foo/foo/bar.html", None),
        ("/docs/en/b/en/b/en/b/en/b/index.html", "trap-path"),
        ("/images/css/img/images/css/img/images/css/img/images/css/img", "trap-path"),
        ("/" + "".join(f"en/{number}/" for number in range(8)), "trap-path"),
        ("/0/0/0/0/0/0/0/1", None),
        ("/a/a/a/a/a/a/b", None),
        ("/?" + "&".join(["page=1"] * 4), "trap-path"),
        ("/?page=1&page=2&page=3&page=4", None),
        ("/calendar/2050/10", "trap-calendar"),
        ("/kalender.php/monat/2050-1", "trap-calendar"),
        ("/calendar/2030/10", None),
        ("/forum/2050/10", None),
        ("/2050/10/", None),
        ("/wiki/2038-01-19", None),
        ("/cal?month=2&year=2087", "trap-calendar"),
        ("/cal?year=2087", None),
        ("/events?from=2090-01-01&to=2090-02-01", "trap-calendar"),
        ("/bonds?maturity=2090-01-01", None),
    ],
)
def test_spellings(path: str, name: str | None) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize("software", SOFTWARE)
def test_usual_software_has_no_such_urls(software: str) -> None:
    paths = list(SOFTWARE[software]())
    assert len(paths) > 2_000
    assert [path for path in paths if name_of(path)] == []


@pytest.mark.parametrize("package", DOCUMENTATION)
def test_real_documentation_has_no_such_urls(package: str) -> None:
    urls = [url for url, _ in real_pages(DOCUMENTATION[package])]
    if not urls:
        pytest.skip(f"{DOCUMENTATION[package]} is not there; install Debian's package")
    assert [url for url in urls if trap_in(url, YEAR)] == []


@given(
    st.lists(st.sampled_from(["a", "foo", "0", "/", "?", "&", "=", "2090-01", "calendar", "é"])).map("".join)
)
def test_any_url_is_looked_at(path: str) -> None:
    url = canonical(f"http://a.org/{path}")
    if url is not None:
        trap_in(url, YEAR)


@pytest.mark.parametrize(
    "piece", ["calendar", "&y=1", "&date=", "?a", "-2090-", "/a", "date", "&mon=1&y=2090"]
)
def test_a_hostile_url_costs_little(piece: str) -> None:
    url = "http://a.org/?" + piece * (2_000 // len(piece))
    began = time.process_time()
    for _ in range(20):
        trap_in(url, YEAR)
    assert (time.process_time() - began) / 20 < 0.01

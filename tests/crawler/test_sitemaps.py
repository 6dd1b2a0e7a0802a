"""Sitemaps: what they list, and that no file costs more than its length or stops the crawl."""

import asyncio
import gzip
import resource
import time
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler import sitemaps
from crawler.sitemaps import FILE_PAGES, Listed, listed, read_sitemap, seconds_of

URL = "http://a.org/maps/sitemap.xml"
SAMPLE = b"""\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>
<!-- made by hand -->
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:i="http://www.google.com/schemas/sitemap-image/1.1">
  <url><loc> http://a.org/x?a=1&amp;b=2 </loc><lastmod>1970-01-02</lastmod><priority>0.8</priority>
    <i:image><i:loc>http://a.org/i.png</i:loc></i:image></url>
  <url><loc><![CDATA[http://A.org/caf\xc3\xa9]]></loc><changefreq>monthly</changefreq></url>
  <url><loc>/relative</loc><priority>7</priority></url>
  <url><loc>mailto:me@a.org</loc></url><url/>
</urlset>"""
INDEX = b"""<?xml version='1.0' encoding='ISO-8859-1'?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<sitemap><loc>http://a.org/1.xml.gz</loc><lastmod>2004-10-01T18:23:17+00:00</lastmod></sitemap>
<sitemap><loc>/caf\xe9.xml</loc></sitemap></sitemapindex>"""


def read(body: bytes) -> list[Listed]:
    return [each for each in read_sitemap(body, URL) if each is not None]


def urls(body: bytes) -> list[str]:
    return [each.url for each in read(body)]


def urlset(*locations: str) -> bytes:
    rows = "".join(f"<url><loc>{location}</loc></url>" for location in locations)
    return f"<urlset>{rows}</urlset>".encode()


def test_pages_are_read() -> None:
    assert read(SAMPLE) == [
        Listed("http://a.org/x?a=1&b=2", 86_400.0, 0.8),
        Listed("http://a.org/caf%C3%A9"),
        Listed("http://a.org/relative"),
    ]


def test_an_index_is_read() -> None:
    assert read(INDEX) == [
        Listed("http://a.org/1.xml.gz", 1096654997.0, is_sitemap=True),
        Listed("http://a.org/caf%C3%A9.xml", is_sitemap=True),
    ]


def test_a_file_is_told_as_read_when_all_that_it_lists_was_given() -> None:
    part, broken = "http://a.org/1.xml.gz", "http://a.org/caf%C3%A9.xml"
    files = {URL: INDEX, part: urlset("http://a.org/p"), broken: b"<urlset><url><loc>"}
    told: list[object] = []

    async def get(url: str) -> bytes | None:
        return files[url]

    async def run() -> None:
        async for page in listed([URL], get, read=lambda url, is_index: told.append((url, is_index))):
            told.append(page.url)

    asyncio.run(run())
    assert told == [(URL, True), "http://a.org/p", (part, False), (broken, False)]


def test_a_text_file_is_read() -> None:
    assert urls(
        b"\xef\xbb\xbfhttp://a.org/1\r\n\r\n HTTPS://b.org/2 \nno url\nftp://a.org\nhttp://a.org/3"
    ) == [
        *("http://a.org/1", "https://b.org/2", "http://a.org/3"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_other_encodings_are_read(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding[:6]}"?>' + urlset("http://a.org/é").decode()
    assert urls(text.encode(encoding)) == ["http://a.org/%C3%A9"]


def test_what_is_packed_is_unpacked_also_in_several_members_or_torn() -> None:
    assert urls(gzip.compress(SAMPLE)) == urls(SAMPLE)
    halves = gzip.compress(SAMPLE[:400]) + gzip.compress(SAMPLE[400:]) + b"\0" * 9
    assert urls(halves) == urls(SAMPLE)
    whole = urlset(*(f"http://a.org/{number}" for number in range(20_000)))
    packed = gzip.compress(whole)
    assert 5_000 < len(urls(packed[: len(packed) // 2])) < 15_000


@pytest.mark.parametrize(
    "body",
    [
        urlset("http://a.org/1", "http://a.org/?a=1&b=2"),
        urlset("http://a.org/1", "http://a.org/2")[:-20] + b"\x00\x01",
        b"<!DOCTYPE urlset SYSTEM 'http://127.0.0.1:9/x.dtd'>" + urlset("http://a.org/1"),
        b"<html><body>" + urlset("http://a.org/1"),
        b"\n\n<?xml version='1.0'?>" + urlset("http://a.org/1"),
    ],
)
def test_what_is_not_well_formed_is_read_as_far_as_it_goes(body: bytes) -> None:
    assert urls(body)[:1] == ["http://a.org/1"]


@pytest.mark.parametrize(
    "body", [b"", b"<", b"<html><a href=x>", b"%PDF-1.4", gzip.compress(b"", mtime=0), b"\x1f\x8b", b"{}"]
)
def test_what_is_no_sitemap_lists_nothing(body: bytes) -> None:
    assert read(body) == []


BOMB = b"<!DOCTYPE u [<!ENTITY a 'http://a.org/" + b"a" * 1000 + b"'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (98 + depth, b"&%c;" % (97 + depth) * 30) for depth in range(8)
) + b"]>"  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        BOMB + b"<urlset><url><loc>&i;</loc></url></urlset>",
        BOMB + b"<urlset><url id='&i;'><loc>http://a.org/</loc></url></urlset>",
        b"<!DOCTYPE u [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><urlset><url><loc>http://a.org/&a;</loc></url></urlset>",
        gzip.compress(b"<urlset>" + b" " * (200 << 20), mtime=0),
        gzip.compress(b"a" * (200 << 20), mtime=0),
        b"<a>" * 1_000_000,
        b"<url><loc>" * 300_000,
        b"<urlset>" + b"<x/>" * 2_000_000,
        b"<urlset " + b"a='1' " * 500_000 + b">",
        b"<urlset><url><loc>" + b"a" * (20 << 20),
        b"http://a.org/" + b"a" * (20 << 20),
        b"\n" * (20 << 20),
    ],
    ids=range(12),
)
def test_a_hostile_file_costs_little(body: bytes) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = read(body)
    assert time.process_time() - began < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert not any("root:" in each.url for each in found)


def test_a_file_lists_no_more_than_the_protocol_allows() -> None:
    assert len(urls(urlset(*(f"http://a.org/{number}" for number in range(FILE_PAGES + 10))))) == FILE_PAGES


@given(st.binary(), st.integers(0, 900), st.integers(0, 900))
@example(b"&", 200, 200)
def test_any_bytes_are_read(noise: bytes, start: int, end: int) -> None:
    for body in (noise, SAMPLE[:start] + noise + SAMPLE[end:], gzip.compress(SAMPLE)[:start] + noise):
        read(body)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970", 0),
        ("1970-02", 31 * 86_400),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00+01:00", 0),
        (" 1970-01-01T00:00:00.5Z ", 0.5),
        ("1970-01-01T00:01", 60),
        ("1970-13", None),
        ("1970-02-30", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def walked(site: Mapping[str, bytes], *starts: str, **limits: int) -> tuple[list[str], list[str]]:
    """Pages, and files asked for."""
    asked: list[str] = []

    async def get(url: str) -> bytes | None:
        asked.append(url)
        return site.get(url)

    async def walk() -> list[str]:
        return [page.url async for page in listed(starts, get, **limits)]

    return asyncio.run(walk()), asked


def index(*locations: str) -> bytes:
    rows = "".join(f"<sitemap><loc>{location}</loc></sitemap>" for location in locations)
    return f"<sitemapindex>{rows}</sitemapindex>".encode()


def test_indexes_are_followed_and_each_file_is_asked_for_once() -> None:
    files = {
        "http://a.org/i": index("/1", "/2", "/i", "/1"),
        "http://a.org/1": urlset("/a", "/b"),
        "http://a.org/2": gzip.compress(b"http://a.org/c"),
    }
    pages, asked = walked(files, "http://a.org/i", "http://a.org/missing", "http://a.org/i")
    assert pages == ["http://a.org/a", "http://a.org/b", "http://a.org/c"]
    assert asked == [f"http://a.org/{name}" for name in ("i", "missing", "1", "2")]


def test_a_walk_is_bounded_in_depth_files_and_pages() -> None:
    deep = {f"http://a.org/{level}": index(f"/{level + 1}") for level in range(100)}
    assert len(walked(deep, "http://a.org/0")[1]) == sitemaps.DEPTH + 1
    wide = {"http://a.org/i": index(*(f"/{number}" for number in range(100)))}
    assert len(walked(wide, "http://a.org/i", files=10)[1]) == 10
    long = {"http://a.org/i": urlset(*(f"/{number}" for number in range(100)))}
    assert len(walked(long, "http://a.org/i", pages=10)[0]) == 10

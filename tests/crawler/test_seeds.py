"""Where a crawl begins: at URLs, at those in a file, at those that sitemaps list."""

import gzip
import re
from pathlib import Path

import pytest

from crawler.crawl import CrawlConfig, crawl
from crawler.seeds import SeedsFileError, read_seeds
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import PlanningStore
from tests.crawler.conftest import Crawl
from tests.crawler.web import Answer, page, serve

A, B = "https://a.example/", "https://b.example/page"
XML = {"Content-Type": "application/xml"}


@pytest.mark.parametrize("name", ["seeds.txt", "seeds.txt.gz"])
def test_a_file_has_a_url_a_line_and_comments(tmp_path: Path, name: str) -> None:
    text = f"\ufeff# where to begin\r\n{A}\r\n\r\n  {B}  \n{A}\n# the end"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read_seeds(str(path)) == [A, B]


def test_a_bad_line_is_told_with_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "seeds.txt"
    path.write_text(f"{A}\n# a comment\nexample.org/docs\n{B}\n")
    told = f"{path}, line 3: seed 'example.org/docs' has no scheme; write https://example.org/docs"
    with pytest.raises(SeedsFileError, match=re.escape(told)):
        read_seeds(str(path))
    path.write_text("nothing\n" * 1_000)
    with pytest.raises(SeedsFileError) as raised:
        read_seeds(str(path))
    lines = str(raised.value).splitlines()
    assert [f", line {number + 1}: " in line for number, line in enumerate(lines)] == [True] * 5 + [False]
    assert lines[-1] == "  and 995 more lines"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("https://this is rubbish", "has a blank in it; write one URL a line"),
        ("https://a.example/ # home", "put a comment on a line of its own"),
        ("rubbish", "seed 'rubbish' is not a URL; write one such as https://example.org/"),
        ("me@example.org", "is an e-mail address; write the URL of a page"),
        ("mailto:me@example.org", "is an e-mail address"),
        ('"https://a.example/"', "begins with '\"https'; write https://a.example/"),
        ("ftp://a.example/", "begins with 'ftp'; write an http or https URL"),
        ("https://a..example/", "look at its host name 'a..example'"),
        ("https://a.example:99999/", "and its port"),
        ("http:/a.example", "is not a URL"),
    ],
)
def test_rubbish_in_a_file_is_told_with_what_to_write(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "seeds.txt"
    path.write_text(f"{A}\n{line}\n\ufeff{B}\n")
    with pytest.raises(SeedsFileError, match=re.escape(told)) as raised:
        read_seeds(str(path))
    (fault,) = str(raised.value).splitlines()
    assert fault.startswith(f"crawl.seeds_file {path}, line 2: seed ")


def test_a_seed_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "seeds.txt").write_text(f"{B}\n\ufeff{A}\n{B}\n")
    config = CrawlConfig(seeds=(A, A), seeds_file=str(tmp_path / "seeds.txt"))
    assert (config.seeds, config.all_seeds()) == ((A,), [A, B])


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("none.txt", None, "No such file"),
        ("empty.txt", b"", "has no URL in it"),
        ("comments.txt", b"\xef\xbb\xbf# nothing\n", "has no URL in it"),
        ("utf-16.txt", f"{A}\n".encode("utf-16"), "a UTF-8 text file"),
        ("binary.txt", b"\xff\xfe\x00", "cannot be read"),
        ("plain.gz", b"https://a.example/\n", "cannot be read"),
        ("torn.gz", gzip.compress(b"https://a.example/\n" * 99, mtime=0)[:30], "cannot be read"),
        ("wrong.gz", gzip.compress(b"https://a.example/\n" * 99, mtime=0)[:-8] + b"\0" * 8, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, data: bytes | None, told: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SeedsFileError, match=told):
        read_seeds(str(tmp_path / name))


def test_the_key_has_what_is_in_the_file_not_where_it_lies(tmp_path: Path) -> None:
    def key(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        config = CrawlConfig(seeds_file=str(tmp_path / name), contact="me@a.example")
        return crawl(PlanningStore(str(tmp_path)), None, config, Compute(ComputeConfig())).key

    assert key("one.txt", f"{A}\n{B}\n") == key("two.txt", f"# {B}\n{A}\n\n{B}")
    assert key("one.txt", f"{A}\n") != key("two.txt", f"{A}\n{B}\n")


def sitemap(*urls: str, kind: str = "url") -> Answer:
    entries = "".join(f"<{kind}><loc>{url}</loc></{kind}>" for url in urls)
    root = "urlset" if kind == "url" else "sitemapindex"
    return Answer(f'<?xml version="1.0"?><{root}>{entries}</{root}>'.encode(), headers=XML)


def test_a_sitemap_among_the_seeds_stands_for_the_pages_that_it_lists(crawl_here: Crawl) -> None:
    """Larger than what is read of an unwanted body; in an index; packed; with another site's pages."""
    with serve({}) as web:
        many = [web.url(f"/page{number}") for number in range(1_000)]
        web.pages |= {f"/page{number}": page("/linked", text=f"{number} " * 30) for number in range(3)}
        web.pages |= {
            "/linked": page(text="linked"),
            "/index.xml": sitemap(web.url("/many.xml"), web.url("/few.xml.gz"), kind="sitemap"),
            "/many.xml": sitemap(*many),
            "/few.xml.gz": Answer(
                gzip.compress(sitemap(web.url("/few"), "http://elsewhere.example/x").body),
                headers={"Content-Type": "application/gzip"},
            ),
            "/few": page(text="few"),
            "/broken.xml": Answer(b"<urlset><url><lo", headers=XML),
        }
        assert len(web.pages["/many.xml"].body) > 32 << 10
        lines = crawl_here(web.url("/index.xml"), web.url("/broken.xml"))
    found = {url.removeprefix(web.origin): line for url, line in lines.items()}
    sitemaps = ("/index.xml", "/many.xml", "/few.xml.gz")
    assert {found[path]["outcome"] for path in sitemaps} == {"sitemap"}
    pages = {path for path, line in found.items() if line["outcome"] == "page"}
    assert pages == {"/page0", "/page1", "/page2", "/linked", "/few"}
    assert (found["/page0"]["depth"], found["/linked"]["depth"]) == (0, 1)
    assert found["/broken.xml"]["outcome"] == "not-html"
    assert sum(line["outcome"] == "http-error" for line in found.values()) == 997
    assert not any("elsewhere" in url for url in lines)


def test_a_sitemap_that_a_page_links_to_is_no_seed(crawl_here: Crawl) -> None:
    with serve({}) as web:
        web.pages |= {"/": page("/map.xml"), "/map.xml": sitemap(web.url("/a")), "/a": page(text="a")}
        lines = crawl_here(web.url())
    assert lines[web.url("/map.xml")]["outcome"] == "not-html"
    assert web.url("/a") not in lines

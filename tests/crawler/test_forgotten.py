"""What is to be forgotten is not asked for any more, nor taken over from an earlier crawl or an archive."""

import datetime
from pathlib import Path

import pytest

from crawler.crawl import CrawlConfig, crawl
from crawler.ingest import IngestConfig, ingest
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.forgotten import write_entry
from pipeline.corpus.pages import Pages
from pipeline.store import Store
from tests.corpus.conftest import InThisProcess
from tests.crawler.web import page, serve
from tests.object_store import BUCKET, s3_server

STAYS, LEAVES = "stays.example", "leaves.example"


def outcomes(pages: Pages) -> dict[str, str]:
    return {line["url"]: line["outcome"] for line in pages.log()}


def test_a_host_that_is_forgotten_is_not_asked_again_whatever_the_configuration(store: Store) -> None:
    """Not even for its robots.txt; its pages are not taken over from the crawl before, either."""
    check_not_asked_again(store)


@pytest.mark.everything
def test_nor_where_the_store_is_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        check_not_asked_again(Store(f"s3://{BUCKET}/forgotten"))


def check_not_asked_again(store: Store) -> None:
    site = {"/": page("/a", f"http://{LEAVES}/b"), "/a": page(), "/b": page()}
    with serve(site) as stays, serve(site) as leaves:
        hosts = {STAYS: f"127.0.0.1:{stays.port}", LEAVES: f"127.0.0.1:{leaves.port}"}
        here = InThisProcess(ComputeConfig(crawl_processes=1, hosts=hosts))

        def crawled(day: int) -> Pages:
            config = CrawlConfig(
                seeds=(f"http://{STAYS}/", f"http://{LEAVES}/"),
                snapshot=datetime.date(2027, 1, day),
                delay_seconds=0,
            )
            return crawl(store, None, config, here)

        first = crawled(1)
        assert set(outcomes(first).values()) == {"page"}
        asked = len(leaves.asked)
        write_entry(store.storage, [LEAVES, f"https://{STAYS}/a"])
        second = crawled(20)
        assert len(leaves.asked) == asked
    told = outcomes(second)
    assert told[f"http://{STAYS}/"] in ("page", "changed", "unchanged")
    assert {url: told[url] for url in told if LEAVES in url or url.endswith("/a")} == dict.fromkeys(
        [f"http://{LEAVES}/", f"http://{LEAVES}/a", f"http://{LEAVES}/b", f"http://{STAYS}/a"], "forgotten"
    )
    assert [entry.url for entry in second.entries()] == sorted(
        url for url, outcome in told.items() if outcome != "forgotten"
    )
    assert crawled(1).key == first.key


def test_archives_give_no_page_that_is_forgotten(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    here = InThisProcess(ComputeConfig(crawl_processes=1))
    with serve({"/": page("/a"), "/a": page()}) as web:
        config = CrawlConfig(seeds=(web.url(),), private_hosts=("127.0.0.1",), delay_seconds=0)
        crawl_pages = crawl(store, None, config, here)
    elsewhere = Store(str(tmp_path / "elsewhere"))
    write_entry(elsewhere.storage, [web.url("/a").replace("http:", "https:")])
    archives = tuple(str(path) for path in crawl_pages.paths("warc/"))
    pages = ingest(elsewhere, IngestConfig(archives=archives), here)
    assert outcomes(pages) == {web.url("/"): "page", web.url("/a"): "forgotten"}
    assert web.url("/a") not in {entry.url for entry in pages.entries()}

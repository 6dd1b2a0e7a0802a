"""The stage: configuration, artifact, resume through the store, and the errors a user meets."""

import datetime
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from crawler.crawl import CrawlConfig, NoSeedsError, crawl
from crawler.no_pages import (
    ForbiddenError,
    NoPagesError,
    RefusedAddressError,
    UnreachableError,
    no_page_error,
)
from crawler.seed_places import NoContactError, PrivateSeedError
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.errors import StageError
from pipeline.store import JournalReader, PlanningStore, Store
from tests.crawler.kills import kill_when
from tests.crawler.web import Answer, serve, small_site

LOOPBACK = {"private_hosts": ("127.0.0.1",), "delay_seconds": 0, "requests_per_host": 4}


def test_a_crawl_becomes_an_artifact_that_independent_readers_accept(store: Store, compute: Compute) -> None:
    site = small_site(20)
    with serve(site) as web:
        config = CrawlConfig(seeds=(web.url(),), **LOOPBACK)
        pages = crawl(store, None, config, compute)
        asked = len(web.asked)
        again = crawl(Store(store.storage.root), None, config, compute)
        assert len(web.asked) == asked
    assert again.record == pages.record
    assert pages.record.counts == {
        "left": 0,
        "outcome.http-error": 1,
        "outcome.page": 21,
        "pages": 21,
        "tried": 22,
    }
    assert sorted(entry.url for entry in pages.entries()) == sorted(web.url(path) for path in site)
    assert [line["url"] for line in pages.log()] == sorted(line["url"] for line in pages.log())
    told = JournalReader(store.storage, f"{pages.base}/attempts/{pages.record.attempt}/journal").read()
    metrics = [line["values"] for line in told if line["kind"] == "metrics"]
    names = ("crawl.pages", "crawl.errors.http-error", "crawl.waiting")
    assert [metrics[-1][name] for name in names] == [21, 1, 0]
    assert not {name for values in metrics for name in values} & set(pages.counts())
    assert not Path(store.storage.full(f"{pages.base}/scratch")).exists()
    command = [sys.executable, "-m", "warcio.cli", "check", *map(str, pages.paths("warc/"))]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_crawl_whose_child_is_killed_goes_on_by_itself(store: Store, compute: Compute) -> None:
    site = small_site(60)
    with serve(site, pause_seconds=0.02) as web:
        killer = threading.Thread(target=kill_when, args=(lambda: len(web.asked) >= 30,))
        killer.start()
        pages = crawl(store, None, CrawlConfig(seeds=(web.url(),), **LOOPBACK), compute)
        killer.join()
    urls = [entry.url for entry in pages.entries()]
    assert sorted(urls) == sorted(web.url(path) for path in site)
    assert web.times_asked()["/robots.txt"] <= 2


def test_unreachable_seeds_are_named_with_the_reason_and_may_be_tried_again(
    store: Store, compute: Compute
) -> None:
    with serve({}) as web:
        config = CrawlConfig(seeds=(web.url("/a"), web.url("/b")), **LOOPBACK)
    with pytest.raises(UnreachableError, match=r"/a: unreachable .*refused.*/b: unreachable"):
        crawl(store, None, config, compute)


@pytest.mark.parametrize(
    ("seed", "host"),
    [
        ("http://10.0.0.5/", "10.0.0.5"),
        ("http://127.0.0.1:8000/a", "127.0.0.1"),
        ("http://127.1/", "127.1"),
        ("http://2130706433/", "2130706433"),
        ("http://[::1]/", "::1"),
        ("http://[::ffff:10.0.0.5]/", "::ffff:a00:5"),
        ("http://169.254.169.254/latest/", "169.254.169.254"),
        ("http://LOCALHOST/", "localhost"),
    ],
)
def test_seeds_at_private_addresses_are_refused_before_anything_starts(
    store: Store, seed: str, host: str
) -> None:
    compute = Compute(ComputeConfig())
    config = CrawlConfig(seeds=("https://a.example/", seed), contact="me@a.example")
    told = (
        f"seed {seed}: an address that is not on the open internet is not asked; if it is meant, "
        f'set crawl.private_hosts to ["{host}"]'
    )
    with pytest.raises(PrivateSeedError, match=re.escape(told)):
        crawl(store, None, config, compute)
    assert not store.storage.list("crawl")
    plan = PlanningStore(store.storage.address)
    crawl(plan, None, config.model_copy(update={"private_hosts": (host,)}), compute)
    crawl(plan, None, config, Compute(ComputeConfig(hosts={host: "127.0.0.1:80"})))


def test_only_what_may_pass_by_itself_is_worth_another_run() -> None:
    def error(*outcomes: str) -> StageError:
        lines = [
            {"url": f"http://{each}.example/", "outcome": each, "detail": "so", "status": None, "depth": 0}
            for each in outcomes
        ]
        return no_page_error(lines, "moinho/1", ["text/html"])

    refused = error("refused-address")
    assert isinstance(refused, RefusedAddressError)
    assert "http://refused-address.example/: refused-address (so). Name the hosts in crawl.private" in str(
        refused
    )
    both = error("refused-address", "timeout")
    assert isinstance(both, UnreachableError)
    assert "crawl.private_hosts" in str(both)
    assert error("robots-unreachable").passes
    assert error("broken-chunks", "tls-error").passes
    assert [each.passes for each in (refused, both, error("robots"), error("not-html"))] == [
        False,
        True,
        False,
        False,
    ]


def test_a_site_that_forbids_all_is_an_error_of_its_own_until_it_allows(
    store: Store, compute: Compute
) -> None:
    site = {"/": Answer(b"<html>x</html>"), "/robots.txt": Answer(b"User-agent: *\nDisallow: /")}
    with serve(site) as web:
        config = CrawlConfig(seeds=(web.url(),), **LOOPBACK)
        with pytest.raises(ForbiddenError, match=r"robots\.txt forbids"):
            crawl(store, None, config, compute)
        site["/robots.txt"] = Answer(b"")
        assert crawl(store, None, config, compute).record.counts["pages"] == 1


def test_seeds_without_a_page_are_an_error_that_tells_the_status(store: Store, compute: Compute) -> None:
    with serve({}) as web, pytest.raises(NoPagesError, match=r"status 404"):
        crawl(store, None, CrawlConfig(seeds=(web.url(),), **LOOPBACK), compute)


def test_no_seeds_and_no_site_are_refused_before_anything_starts(store: Store, compute: Compute) -> None:
    with pytest.raises(NoSeedsError, match=r"crawl\.seeds is empty"):
        crawl(store, None, CrawlConfig(), compute)


def test_a_plan_estimates_pages_and_fetches_nothing(tmp_path: Path, compute: Compute) -> None:
    store = PlanningStore(str(tmp_path))
    config = CrawlConfig(seeds=("https://example.org/",), contact="me@example.org")
    assert not crawl(store, None, config, compute).exists()


@pytest.mark.parametrize(
    ("seed", "advice"),
    [
        ("example.org/docs", "write https://example.org/docs"),
        ("ftp://example.org/", "write an http or https URL"),
        ("file:///etc/passwd", "write an http or https URL"),
        ("https://", "no host name"),
        ("https://me:secret@example.org/", "user name"),
        ("http://[::1/", "not a URL"),
    ],
)
def test_a_seed_that_is_no_web_page_is_refused_with_advice(seed: str, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        CrawlConfig(seeds=(seed,))


def test_the_snapshot_date_makes_another_crawl(tmp_path: Path, compute: Compute) -> None:
    store = PlanningStore(str(tmp_path))
    seeds = ("https://example.org/",)
    keys = {
        crawl(store, None, CrawlConfig(seeds=seeds, snapshot=date, contact="me@example.org"), compute).key
        for date in (None, datetime.date(2026, 1, 1), datetime.date(2026, 2, 1))
    }
    assert len(keys) == 3


def test_the_web_beyond_this_machine_is_not_crawled_without_a_contact(store: Store) -> None:
    config = CrawlConfig(seeds=("https://example.org/",))
    with pytest.raises(NoContactError, match=r"crawl\.contact is not set, and https://example\.org/"):
        crawl(store, None, config, Compute(ComputeConfig()))
    assert not store.storage.list("crawl"), "not even an attempt"


def test_the_user_agent_names_the_project_and_the_contact() -> None:
    agent = CrawlConfig(contact="https://example.org/moinho").full_user_agent()
    assert agent.startswith("moinho/")
    assert agent.endswith("(+https://example.org/moinho)")
    with pytest.raises(ValidationError, match="header"):
        CrawlConfig(contact="a\r\nCookie: b")


def test_the_default_user_agent_is_not_part_of_the_key() -> None:
    assert CrawlConfig().identity() == {}
    assert json.dumps(CrawlConfig(seeds=("https://example.org/",)).resolved())

"""The crawl of one partition: what is fetched, what is refused, and what a kill costs."""

import base64
import dataclasses
import gzip
import json
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from crawler.answers import FAILED_PAGES, TRIES
from crawler.child import SpiderDiedError, UnwritableCrawlError
from crawler.drain import DRAIN_SECONDS
from crawler.options import Options
from crawler.partition import COMMIT_PAGES
from crawler.progress import PARTITION
from pipeline.store import JournalReader, Storage
from tests.crawler.kills import kill_when
from tests.crawler.web import HTML, Answer, page, redirect, serve, small_site
from tests.machine import Clock

WELL_KNOWN = ("/robots.txt", "/.well-known/tdmrep.json")
Crawl = Callable[..., dict[str, dict[str, Any]]]


def outcomes(log: dict[str, dict[str, Any]]) -> Counter[str]:
    return Counter(line["outcome"] for line in log.values())


def archived(options: Options) -> list[tuple[str, bytes]]:
    """URL and body of every response, read by FastWARC."""
    found = []
    for path in sorted((Path(options.folder) / "warc").glob("*.warc.gz")):
        for record in ArchiveIterator(str(path), record_types=WarcRecordType.response, parse_http=False):
            assert record.verify_block_digest(consume=False)
            record.parse_http()
            found.append((record.headers["WARC-Target-URI"], record.reader.read()))
    return found


def test_every_page_of_a_site_is_fetched_and_stored_once(crawl_here: Crawl, options: Options) -> None:
    site = small_site()
    with serve(site) as web:
        log = crawl_here(web.url())
    assert web.times_asked() == Counter(dict.fromkeys([*site, "/missing.html", *WELL_KNOWN], 1))
    assert outcomes(log) == {"page": len(site), "http-error": 1}
    assert dict(archived(options)) == {web.url(path): answer.body for path, answer in site.items()}
    assert len(archived(options)) == len(site)
    assert log[web.url("/p1.html")]["depth"] == 1
    assert log[web.url("/missing.html")]["referrer"] == web.url()


@pytest.mark.everything
def test_a_clock_that_is_set_back_does_not_hold_up_a_crawl(
    crawl_here: Crawl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(tmp_path / "clock")
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    with serve(small_site(20)) as web:

        def set_back_in_the_middle() -> None:
            while len(web.asked) < 8:
                time.sleep(0.01)
            clock.set_back(36_000)
            changed.append(time.time())

        changed: list[float] = []
        thread = threading.Thread(target=set_back_in_the_middle)
        thread.start()
        log = crawl_here(web.url(), delay_seconds=0.4, requests_per_host=1)
        thread.join()
    assert outcomes(log)["page"] == 21
    lines = JournalReader(Storage(str(tmp_path)), "journal").read()
    told = [line for line in lines if line["kind"] == PARTITION and line["time"] > changed[0] + 1]
    assert len(told) >= 3, "nothing was told, and nothing made durable, after the clock was set back"


def test_each_record_lies_where_the_log_says(crawl_here: Crawl, options: Options) -> None:
    with serve(small_site()) as web:
        log = crawl_here(web.url())
    for line in log.values():
        if line["outcome"] == "page":
            data = (Path(options.folder) / line["warc"]).read_bytes()
            member = gzip.decompress(data[line["offset"] : line["offset"] + line["length"]])
            assert f"WARC-Target-URI: {line['url']}\r\n".encode() in member


def test_a_mapped_host_keeps_its_name_in_urls_and_headers(crawl_here: Crawl, options: Options) -> None:
    with serve(small_site(4)) as web:
        log = crawl_here("http://docs.moinho.test/", hosts={"docs.moinho.test": f"127.0.0.1:{web.port}"})
    assert outcomes(log)["page"] == 5
    assert set(web.hosts) == {"docs.moinho.test"}
    assert all(url.startswith("http://docs.moinho.test/") for url, _ in archived(options))


def test_other_hosts_schemes_and_types_are_not_stored(crawl_here: Crawl, tmp_path: Path) -> None:
    secret = tmp_path / "secret.html"
    secret.write_text("<html>secret</html>")
    site = {
        "/": page(
            secret.as_uri(), "ftp://127.0.0.1/x", "data:text/html,<p>x", "http://elsewhere.test/", "/i.png"
        ),
        "/i.png": Answer(b"\x89PNG" * 100_000, headers={"Content-Type": "image/png"}),
    }
    with serve(site) as web:
        log = crawl_here(web.url())
    assert log[secret.as_uri()]["outcome"] == "refused-scheme"
    assert log["ftp://127.0.0.1/x"]["outcome"] == "refused-scheme"
    assert log[web.url("/i.png")]["outcome"] == "not-html"
    assert outcomes(log) == {"page": 1, "refused-scheme": 2, "not-html": 1}


def test_private_addresses_are_refused_however_they_are_written(crawl_here: Crawl) -> None:
    spellings = ["127.0.0.1", "2130706433", "127.1", "[::1]", "[::ffff:7f00:1]", "localhost"]
    with serve({"/": page()}) as web:
        log = crawl_here(*(f"http://{host}:{web.port}/" for host in spellings), private_hosts=[])
    assert web.asked == []
    assert outcomes(log) == {"refused-address": len(spellings)}


def test_a_redirect_to_a_private_address_or_a_file_is_refused(crawl_here: Crawl) -> None:
    with serve({"/": page(text="inside")}) as inside:
        site = {
            "/": redirect(f"http://localhost:{inside.port}/"),
            "/file": redirect("file:///etc/passwd"),
        }
        with serve(site) as web:
            log = crawl_here(
                "http://outside.test/",
                "http://outside.test/file",
                hosts={"outside.test": f"127.0.0.1:{web.port}"},
                private_hosts=[],
            )
    assert inside.asked == []
    assert log[f"http://localhost:{inside.port}/"]["outcome"] == "refused-address"
    assert log["file:///etc/passwd"]["outcome"] == "refused-scheme"


def test_redirects_lead_to_their_page_and_loops_end(crawl_here: Crawl) -> None:
    site = {
        "/": page("/old", "/loop", "/hop0"),
        "/old": redirect("/new", 301),
        "/new": page(text="moved"),
        "/loop": redirect("/loop"),
    } | {f"/hop{number}": redirect(f"/hop{number + 1}") for number in range(40)}
    with serve(site) as web:
        log = crawl_here(web.url())
    assert log[web.url("/new")]["outcome"] == "page"
    assert log[web.url("/old")]["detail"] == web.url("/new")
    assert web.times_asked()["/loop"] == 1
    assert outcomes(log)["redirect-loop"] == 1
    assert "/hop39" not in web.times_asked()


def drip() -> Iterator[bytes]:
    for _ in range(60):
        yield b"<p>x</p>"
        time.sleep(0.1)


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65_536


def test_huge_endless_slow_and_compressed_bodies_are_counted_not_stored(crawl_here: Crawl) -> None:
    bomb = gzip.compress(b"<html>" + bytes(8 << 20))
    site = {
        "/": page("/huge", "/endless", "/slow", "/bomb", "/lie", "/silent", "/good"),
        "/huge": Answer(b"x" * (2 << 20)),
        "/endless": Answer(chunks=endless),
        "/slow": Answer(chunks=drip),
        "/bomb": Answer(bomb, headers=HTML | {"Content-Encoding": "gzip"}),
        "/lie": Answer(b"<html>not packed</html>" * 9, headers=HTML | {"Content-Encoding": "gzip"}),
        "/silent": Answer(status=None),
        "/good": Answer(gzip.compress(b"<html>good</html>"), headers=HTML | {"Content-Encoding": "gzip"}),
    }
    with serve(site) as web:
        log = crawl_here(web.url(), timeout_seconds=1.0)
    found = {url.removeprefix(web.origin): line["outcome"] for url, line in log.items()}
    assert found == {
        "/": "page",
        "/good": "page",
        "/huge": "too-large",
        "/endless": "too-large",
        "/bomb": "decompression-bomb",
        "/lie": "broken-compression",
        "/silent": "no-answer",
        "/slow": "timeout",
    }


def test_what_tdmrep_json_reserves_is_not_asked_for_though_its_page_would_say_otherwise(
    crawl_here: Crawl,
) -> None:
    """A page that the file frees may reserve itself: header over file, meta element over header."""
    free, reserved = HTML | {"TDM-Reservation": "0"}, HTML | {"TDM-Reservation": "1"}
    meta = b'<html><head><meta name="tdm-reservation" content="0"></head><body>meta</body></html>'
    policy = b'[{"location": "/shut", "tdm-reservation": 1}, {"location": "/", "tdm-reservation": 0}]'
    site = {
        "/": page("/shut", "/header", "/meta"),
        "/.well-known/tdmrep.json": Answer(policy, headers={"Content-Type": "application/json"}),
        "/shut": Answer(b"<html>shut</html>", headers=free),
        "/header": Answer(b"<html>header</html>", headers=reserved),
        "/meta": Answer(meta, headers=reserved),
    }
    with serve(site) as web:
        log = crawl_here(web.url())
    found = {url.removeprefix(web.origin): line["outcome"] for url, line in log.items()}
    assert found == {"/": "page", "/shut": "opt-out", "/header": "opt-out", "/meta": "page"}
    assert "/shut" not in web.times_asked()


def test_what_is_not_answered_on_a_kept_connection_is_asked_for_again_after_a_delay(
    crawl_here: Crawl,
) -> None:
    site = {"/": page("/nothing", "/z"), "/nothing": Answer(status=None), "/z": page(text="z")}
    with serve(site) as web:
        log = crawl_here(web.url(), delay_seconds=0.5, requests_per_host=1)
    assert outcomes(log) == {"page": 2, "no-answer": 1}
    assert web.times_asked()["/nothing"] == TRIES
    times = [at for at, _ in web.asked]
    assert min(after - before for before, after in pairwise(times)) >= 0.45


def silence() -> Iterator[bytes]:
    time.sleep(60)
    yield b""


@pytest.mark.everything
def test_a_round_does_not_wait_for_its_slowest_request_which_is_asked_for_once_more(
    crawl_here: Crawl,
) -> None:
    """It stays waiting, its host's delay holds, and the second time it is waited for to its end."""
    site = {"/": page("/slow", "/z"), "/slow": Answer(chunks=silence), "/z": page(text="z")}
    options = {"delay_seconds": 0.5, "requests_per_host": 1, "round_seconds": 3.0, "timeout_seconds": 18.0}
    with serve(site) as web:
        begun = time.monotonic()
        log = crawl_here(web.url(), round=0, **options)
        took = time.monotonic() - web.asked[-1][0]
        assert outcomes(log) == {"page": 1}
        assert took < DRAIN_SECONDS + 5.0, f"{took:.1f} s, {time.monotonic() - begun:.1f} in all"
        log = crawl_here(web.url(), round=1, **options)
        assert log[web.url("/slow")]["outcome"] == "timeout"
        log = crawl_here(web.url(), round=2, **options)
    assert outcomes(log) == {"page": 2, "timeout": 1}
    assert web.times_asked()["/slow"] == 2
    times = [at for at, _ in web.asked]
    assert min(after - before for before, after in pairwise(times)) > 0.45


def test_limits_of_pages_and_depth_hold_exactly(crawl_here: Crawl, tmp_path: Path) -> None:
    with serve(small_site(30)) as web:
        log = crawl_here(web.url(), max_pages=7)
        assert outcomes(log)["page"] == 7
        asked = len(web.asked)
        assert crawl_here(web.url(), max_pages=7) == log
        assert len(web.asked) == asked
        shallow = crawl_here(web.url(), max_depth=1, folder=str(tmp_path / "shallow"))
    assert {line["depth"] for line in shallow.values()} == {0, 1}
    assert outcomes(shallow)["page"] == 3


def test_a_failing_server_is_asked_again_once(crawl_here: Crawl) -> None:
    with serve({"/": page("/bad"), "/bad": Answer(b"", 503)}) as web:
        log = crawl_here(web.url())
    assert web.times_asked()["/bad"] == 2
    assert (log[web.url("/bad")]["outcome"], log[web.url("/bad")]["status"]) == ("http-error", 503)


def test_a_host_whose_every_page_fails_is_given_up(crawl_here: Crawl) -> None:
    failing = {f"/{number}": Answer(b"", 500) for number in range(60)}
    with serve({"/": page(*failing)} | failing) as web:
        log = crawl_here(web.url())
    assert outcomes(log)["given-up"] > 30, "also those that were not asked for any more"
    assert len(log) == 61
    assert web.times_asked().total() < FAILED_PAGES + 10


def test_a_killed_crawl_continues_without_losing_or_repeating_a_page(
    crawl_here: Crawl, options: Options
) -> None:
    site = small_site(150)
    with serve(site, pause_seconds=0.01) as web:
        for stop in (30, 80, 120):
            killer = threading.Thread(target=kill_when, args=(lambda stop=stop: len(web.asked) >= stop,))
            killer.start()
            with pytest.raises(SpiderDiedError, match="SIGKILL"):
                crawl_here(web.url())
            killer.join()
            newest = max((Path(options.folder) / "warc").glob("*.warc.gz"))
            newest.open("ab").write(b"\x1f\x8b torn")
        log = crawl_here(web.url())
    assert outcomes(log) == {"page": len(site), "http-error": 1}
    urls = [url for url, _ in archived(options)]
    assert sorted(urls) == sorted(web.url(path) for path in site)
    again = web.times_asked().total() - len(site) - 3
    assert again <= 3 * (options.requests_per_host + COMMIT_PAGES)


def test_rules_that_were_read_before_a_kill_are_not_asked_for_again(crawl_here: Crawl) -> None:
    """Though no page has come yet: the host's delay lies between."""
    with serve(small_site(1)) as web:
        read = threading.Thread(
            target=kill_when, args=(lambda: len(web.asked) == 2 and time.monotonic() > web.asked[1][0] + 0.7,)
        )
        read.start()
        with pytest.raises(SpiderDiedError, match="SIGKILL"):
            crawl_here(web.url(), delay_seconds=1.0)
        read.join()
        crawl_here(web.url(), delay_seconds=1.0)
    assert [path for _, path in web.asked[:3]] == [*WELL_KNOWN, "/"]
    assert web.times_asked()["/robots.txt"] == 1


@pytest.mark.parametrize(
    "elsewhere",
    [False, pytest.param(True, marks=pytest.mark.everything)],
    ids=["here", "on-a-machine-that-knows-nothing"],
)
def test_no_kill_lets_a_host_be_asked_before_its_delay(
    elsewhere: bool, crawl_here: Crawl, options: Options
) -> None:
    delay = 2.5
    with serve(small_site(2)) as web:
        killer = threading.Thread(target=kill_when, args=(lambda: len(web.asked) == 3,))
        killer.start()
        with pytest.raises(SpiderDiedError, match="SIGKILL"):
            crawl_here(web.url(), delay_seconds=delay)
        killer.join()
        if elsewhere:
            shutil.rmtree(options.folder)
        crawl_here(web.url(), delay_seconds=delay)
    times = [at for at, _ in web.asked]
    assert min(after - before for before, after in pairwise(times)) > delay - 0.05


@pytest.mark.everything
def test_a_delay_that_robots_txt_asks_for_outlives_a_kill_at_any_moment(crawl_here: Crawl) -> None:
    rules = {
        "/robots.txt": Answer(b"User-agent: *\nCrawl-delay: 3\n", headers={"Content-Type": "text/plain"})
    }
    with serve({"/": page()} | rules) as web:
        killer = threading.Thread(
            target=kill_when, args=(lambda: bool(web.asked) and time.monotonic() > web.asked[0][0] + 0.1,)
        )
        killer.start()
        with pytest.raises(SpiderDiedError, match="SIGKILL"):
            crawl_here(web.url())
        killer.join()
        crawl_here(web.url())
    times = [at for at, _ in web.asked]
    assert min(after - before for before, after in pairwise(times)) > 2.95


@pytest.mark.timeout(120)
def test_a_host_to_which_the_robots_txt_of_others_leads_is_asked_as_politely_as_ever(
    crawl_here: Crawl,
) -> None:
    """Also while it is served itself, and when two lead to each other; the rules there are obeyed."""
    rules = Answer(b"User-agent: *\nDisallow: /shut\n", headers={"Content-Type": "text/plain"})
    site = {"/": page("/p", "/shut"), "/p": page(text="p"), "/shut": page()}
    with serve(site | {"/robots.txt": redirect("http://b.test/rules"), "/rules": rules}) as web:
        hosts = {f"{name}.test": f"127.0.0.1:{web.port}" for name in "abcd"}
        log = crawl_here(*(f"http://{name}/" for name in hosts), hosts=hosts, delay_seconds=0.6)
    asked = [(at, path) for (at, path), host in zip(web.asked, web.hosts, strict=True) if host == "b.test"]
    assert min(after - before for (before, _), (after, _) in pairwise(asked)) > 0.55
    assert [path for _, path in asked].count("/rules") <= 5
    assert web.times_asked()["/shut"] == 0
    assert outcomes(log) == {"page": 8, "robots": 4}


def test_the_crawler_ends_when_its_standard_input_closes(options: Options) -> None:
    with serve(small_site(50), pause_seconds=0.2) as web:
        child = subprocess.Popen([sys.executable, "-m", "crawler.spider"], stdin=subprocess.PIPE)
        settings = dataclasses.asdict(
            dataclasses.replace(options, seeds=[web.url()], allowed_hosts=["127.0.0.1"])
        )
        assert child.stdin is not None
        child.stdin.write(json.dumps(settings).encode() + b"\n")
        child.stdin.flush()
        while len(web.asked) < 5:
            time.sleep(0.01)
        child.stdin.close()
        assert child.wait(timeout=5) != 0


def test_an_archive_that_cannot_be_written_ends_the_crawl_with_one_clear_error(crawl_here: Crawl) -> None:
    noise = base64.b64encode(random.Random(0).randbytes(700_000)).decode()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve({"/": page(text=noise)}) as web:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        try:
            with pytest.raises(UnwritableCrawlError, match=r"cannot be written: .*[Tt]oo large"):
                crawl_here(web.url())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

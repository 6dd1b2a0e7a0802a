"""What becomes of an answer, without a network: the real partition, window and rules in one process."""

import gzip
import re
from dataclasses import replace

import pytest
from OpenSSL import SSL
from scrapy import Request
from scrapy.exceptions import DownloadCancelledError, DownloadFailedError, ResponseDataLossError
from scrapy.http import HtmlResponse, Response
from scrapy.utils.test import get_crawler
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError, ResponseFailed
from twisted.web.http import _DataLoss, _MalformedChunkedDataError

from crawler import answers as module
from crawler.answers import Answers
from crawler.entries import Entry, Visit
from crawler.guard import GuardedResolver
from crawler.manners import Manners
from crawler.options import Options
from crawler.outcomes import ERROR, meaning_of
from crawler.partition import Partition
from crawler.politeness import RuleBook
from crawler.responses import classify
from crawler.unpacking import BombError, BrokenCompressionError, TooLargeError, Unpacking
from crawler.window import Window
from tests.crawler.testweb import bombs

SEED = "http://a.example/"


def answers_of(options: Options) -> tuple[Answers, Window, Partition]:
    partition = Partition(replace(options, seeds=[SEED], allowed_hosts=["a.example"], settled=True))
    window = Window(partition.frontier, Manners())
    rules = RuleBook(partition.frontier, options.user_agent)
    return Answers(partition, window, rules, GuardedResolver({}, [])), window, partition


@pytest.mark.parametrize(
    ("outcome", "errors"), [("robots", 0), ("trap-duplicates", 0), ("redirect", 0), ("timeout", 1)]
)
def test_a_hosts_errors_are_those_that_the_crawl_counts(options: Options, outcome: str, errors: int) -> None:
    answers, window, _ = answers_of(options)
    entry = window.next()
    assert entry is not None
    host = window.host_of(entry)
    answers.finish(entry, Visit(outcome, fetched="2026-01-01T00:00:00Z"))
    assert host.errors == errors


def test_a_page_is_read_for_its_words_once(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its language and its likeness to others are both found in them."""
    read: list[str] = []
    whole = module.visible_text

    def counted(html: str) -> str:
        read.append(html)
        return whole(html)

    monkeypatch.setattr(module, "visible_text", counted)
    answers, window, partition = answers_of(replace(options, languages=["pt"]))
    entry = window.next()
    assert entry is not None
    text = "<p>O moinho mói o trigo todas as manhãs, e o moleiro canta.</p>" * 4
    headers = {"Content-Type": "text/html; charset=utf-8"}
    body = f"<html><body>{text}<a href='/b'>b</a></body></html>".encode()
    answers.received(entry, HtmlResponse(SEED, headers=headers, body=body, request=Request(SEED)))
    assert partition.frontier.outcomes == {"page": 1}
    assert len(read) == 1


def test_what_is_refused_on_pages_whose_links_are_not_followed_counts_once_they_are(options: Options) -> None:
    answers, window, partition = answers_of(replace(options, max_depth=1))
    frontier, far, near = partition.frontier, f"{SEED}far", f"{SEED}near"

    def answer(links: list[str]) -> None:
        given = window.next()
        assert given is not None
        body = "".join(f"<a href='{link}'>x</a>" for link in links).encode()
        headers = {"Content-Type": "text/html"}
        response = HtmlResponse(given.url, headers=headers, body=body, request=Request(given.url))
        answers.received(given, response)

    def refused() -> list[str]:
        return sorted(line["url"] for line in frontier.log() if line["outcome"] != "page")

    long = f"https://a.example/{'x' * 9000}"
    answer(["file:///seen", far])
    assert refused() == ["file:///seen"]
    answer(["file:///etc/passwd", long, "http://b.example/", near])
    assert refused() == ["file:///seen"]
    assert frontier.known == 3
    frontier.add_seeds([Entry(far, "a.example", 0, 0)])
    answers.lower()
    assert refused() == ["file:///etc/passwd", "file:///seen", long[:500]]
    assert frontier.known == 6
    answer([])
    answers.lower()
    assert frontier.outcomes == {"page": 3, "refused-scheme": 2, "trap-url-length": 1}


def test_a_seed_that_is_denied_is_not_asked_for_but_allow_holds_for_no_seed(options: Options) -> None:
    denied, outside = "http://a.example/private/", "http://b.example/"
    scoped = replace(options, allow=["a.example/wiki/"], deny=["a.example/private/"])
    partition = Partition(replace(scoped, seeds=[SEED, denied, outside]))
    window = Window(partition.frontier, Manners(delay_seconds=0))
    taken = {entry.url for entry in iter(window.next, None)}
    assert taken == {SEED, outside}
    assert partition.frontier.db.execute("SELECT count(*) FROM out_of_scope").fetchone() == (1,)


def failed(kind: type[Exception], *reasons: Exception) -> Exception:
    """As Scrapy's handler raises it."""
    error = kind(str(reasons))
    error.__cause__ = ResponseFailed([Failure(each) for each in reasons])
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (failed(DownloadFailedError, ConnectionDone()), "no-answer"),
        (failed(DownloadFailedError, ConnectionLost()), "no-answer"),
        (failed(DownloadFailedError, ParseError("status line", b"garbage")), "broken-http"),
        (failed(DownloadFailedError, SSL.Error([("", "", "certificate verify failed")])), "tls-error"),
        (failed(ResponseDataLossError, ConnectionDone(), _DataLoss()), "wrong-length"),
        (
            failed(ResponseDataLossError, ConnectionDone(), _DataLoss("Chunked")),
            "broken-chunks",
        ),
        (failed(ResponseDataLossError, _MalformedChunkedDataError("no"), _DataLoss()), "broken-chunks"),
        (DownloadCancelledError(), "too-large"),
    ],
)
def test_an_answer_that_is_broken_counts_by_what_is_wrong_with_it_and_is_told_in_words(
    error: BaseException, outcome: str
) -> None:
    found, detail, _ = classify(error, None)
    assert (found, meaning_of(found).kind) == (outcome, ERROR)
    assert not re.search(r"Error|Failure|twisted|MAXSIZE", detail)


def unpacked(body: bytes, coding: str, most: int = 1 << 20) -> bytes:
    crawler = get_crawler(settings_dict={"DOWNLOAD_MAXSIZE": most})
    headers = {"Content-Encoding": coding, "Content-Type": "text/html"}
    response = Response(SEED, headers=headers, body=body)
    given = Unpacking.from_crawler(crawler).process_response(Request(SEED), response)
    assert isinstance(given, Response)
    return given.body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_packed_as_it_says_is_told_from_a_bomb(coding: str) -> None:
    with pytest.raises(BrokenCompressionError, match=f"not the {coding}"):
        unpacked(b"<html>not packed</html>" * 9, coding)


@pytest.mark.parametrize("coding", bombs.CODINGS)
def test_a_bomb_is_told_from_a_page_that_is_too_large(coding: str) -> None:
    with pytest.raises(BombError):
        unpacked(bombs.bomb(coding), coding)


def test_an_honest_page_over_max_bytes_is_no_bomb() -> None:
    page = gzip.compress(" ".join(map(str, range(300_000))).encode())
    with pytest.raises(TooLargeError, match=r"crawl\.max_bytes"):
        unpacked(page, "gzip")
    assert len(unpacked(page, "gzip", 4 << 20)) > 1 << 20

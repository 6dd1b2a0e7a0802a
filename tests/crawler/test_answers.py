"""What becomes of an answer, without a network: the real partition, window and rules in one process."""

from dataclasses import replace

import pytest
from scrapy import Request
from scrapy.http import HtmlResponse

from crawler import answers as module
from crawler.answers import Answers
from crawler.entries import Entry, Visit
from crawler.guard import GuardedResolver
from crawler.manners import Manners
from crawler.options import Options
from crawler.partition import Partition
from crawler.politeness import RuleBook
from crawler.window import Window

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

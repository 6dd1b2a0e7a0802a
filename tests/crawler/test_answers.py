"""What becomes of an answer, without a network: the real partition, window and rules in one process."""

from dataclasses import replace

import pytest
from scrapy import Request
from scrapy.http import HtmlResponse

from crawler import answers as module
from crawler.answers import Answers
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

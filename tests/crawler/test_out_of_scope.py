"""URLs that are not wanted: counted in bounded room, the same however they are found."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from scrapy import Request
from scrapy.http import HtmlResponse

from crawler.entries import Position
from crawler.frontier import Frontier
from crawler.inquiry import Frontiers
from crawler.options import Options
from crawler.out_of_scope import KEPT, OTHER_HOST, merged
from crawler.regrouping import regrouped
from tests.crawler.frontiers import entry
from tests.crawler.test_answers import SEED, answers_of


def unwanted_in(*paths: Path, examples: int = 0):
    with Frontiers(paths, finished=True) as frontiers:
        return frontiers.out_of_scope(examples)


def noted(path: Path, urls: range, partition: int = 0, partitions: int = 1) -> Path:
    frontier = Frontier(path, partition, partitions)
    for number in urls:
        frontier.out_of_scope.note(OTHER_HOST, f"http://b.example/{number}")
    frontier.commit(Position())
    frontier.close()
    return path


def test_a_few_are_counted_exactly_and_many_nearly_in_bounded_room(tmp_path: Path) -> None:
    path = noted(tmp_path / "00.sqlite", range(KEPT - 1))
    noted(path, range(KEPT - 1))  # as after a kill: the same once more
    assert unwanted_in(path)[OTHER_HOST].told == "999"
    noted(path, range(50_000))
    found = unwanted_in(path, examples=3)[OTHER_HOST]
    assert found.urls == pytest.approx(50_000, rel=0.1)
    assert (found.is_exact, len(set(found.examples))) == (False, 3)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM out_of_scope").fetchone() == (KEPT,)


def test_neither_partitions_nor_their_regrouping_change_the_count(tmp_path: Path) -> None:
    whole = noted(tmp_path / "whole.sqlite", range(6_000))
    parts = [
        noted(tmp_path / "0.sqlite", range(4_000), 0, 2),
        noted(tmp_path / "1.sqlite", range(3_000, 6_000), 1, 2),
    ]
    assert unwanted_in(*parts, examples=9) == unwanted_in(whole, examples=9)
    targets = [tmp_path / f"new{number}.sqlite" for number in range(3)]
    for number, target in enumerate(targets):
        regrouped(dict(enumerate(parts)), 2, target, 1, number, 3)
    assert unwanted_in(*targets, examples=9) == unwanted_in(whole, examples=9)


def test_a_frontier_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    path = noted(tmp_path / "00.sqlite", range(3))
    db = sqlite3.connect(path)
    db.execute("DROP TABLE out_of_scope")
    db.commit()
    db.close()
    assert unwanted_in(path) == {}
    assert merged((), 3) == {}


def test_links_that_patterns_or_hosts_rule_out_are_counted_by_name(options: Options) -> None:
    answers, window, partition = answers_of(replace(options, deny=["/login", "/never"]))
    given = window.next()
    assert given is not None
    links = ["/login", "/login?a", "/login", "/good", "http://b.example/x", "mailto:a@a.example"]
    body = "".join(f"<a href='{link}'>x</a>" for link in links).encode()
    headers = {"Content-Type": "text/html"}
    answers.received(given, HtmlResponse(SEED, headers=headers, body=body, request=Request(SEED)))
    partition.commit()
    frontier = partition.frontier
    found = merged(frontier.db.execute("SELECT * FROM out_of_scope").fetchall(), 5)
    assert {reason: sorted(each.examples) for reason, each in found.items()} == {
        "denied by '/login'": [f"{SEED}login", f"{SEED}login?a"],
        OTHER_HOST: ["http://b.example/x"],
    }
    assert frontier.known == 2, "they are no URLs of the frontier"


def test_what_was_kept_aside_and_is_not_wanted_is_counted(tmp_path: Path) -> None:
    frontier = Frontier(tmp_path / "00.sqlite")
    frontier.hosts.allow(["a.example"])
    urls = ["http://a.example/1", "http://b.example/1", "http://c.example/2"]
    frontier.add([entry(url) for url in urls], aside=True)
    frontier.settle()
    frontier.commit(Position())
    frontier.close()
    assert sorted(unwanted_in(tmp_path / "00.sqlite", examples=9)[OTHER_HOST].examples) == urls[1:]

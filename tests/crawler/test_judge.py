"""The judge of crawls finds what it is there for: each rule is fed a log or an artifact with one fault."""

from dataclasses import replace

import pytest

from tests.crawler.testweb.exchange import Request, digest, missing
from tests.crawler.testweb.hosts import GOOD, Host, outcomes
from tests.crawler.testweb.judge import (
    Crawled,
    Killed,
    Logged,
    Stored,
    at_once,
    by_address,
    fetched_again,
    forbidden,
    judge,
    pages_per_second,
    repeated,
    slowed,
    too_close,
    too_early,
    too_many,
    wrong_outcomes,
    wrong_pages,
)

BODY = digest(b"body")
HOST = Host(
    "a.example",
    GOOD,
    lambda asked: missing(),
    pages=frozenset({"/", "/b"}),
    may={"/old": outcomes("redirect")},
    never={"/private": "robots.txt disallows it"},
)
HOSTS = {"a.example": HOST}
SOUND = [
    Request("a.example", path, arrived, ended=arrived + 0.1, status=status, whole=True, sha256=BODY)
    for path, arrived, status in (("/robots.txt", 1, 200), ("/", 2, 200), ("/b", 3, 200), ("/old", 4, 301))
]
CRAWLED = Crawled(
    [Stored(f"http://a.example{path}", "response", BODY) for path in ("/", "/b")],
    [
        Logged("http://a.example/", "page"),
        Logged("http://a.example/b", "page"),
        Logged("http://a.example/old", "redirect"),
        Logged("http://a.example/private", "robots"),
    ],
)


def asked(path: str, arrived: float, host: str = "a.example", **fields: object) -> Request:
    plain = Request(host, path, arrived, ended=arrived + 0.1, status=200, whole=True, sha256=BODY)
    return replace(plain, **fields)  # type: ignore[arg-type]


def stored(*urls: str, sha256: str = BODY) -> list[Stored]:
    return [Stored(url, "response", sha256) for url in urls]


def test_a_faultless_crawl_has_no_fault() -> None:
    assert judge(HOSTS, SOUND, CRAWLED, delay_seconds=1) == []


@pytest.mark.parametrize(
    ("crawled", "told"),
    [
        (replace(CRAWLED, stored=CRAWLED.stored[1:]), "a.example/: 0 times in the archive"),
        (replace(CRAWLED, stored=[*CRAWLED.stored, CRAWLED.stored[0]]), "2 times in the archive"),
        (replace(CRAWLED, logged=CRAWLED.logged[1:]), "0 times a page in the log, which says nothing"),
        (replace(CRAWLED, logged=[*CRAWLED.logged, CRAWLED.logged[0]]), "2 lines in the log"),
        (replace(CRAWLED, stored=[*CRAWLED.stored, *stored("http://a.example/c")]), "stored, but no page"),
        (
            replace(CRAWLED, logged=[*CRAWLED.logged, Logged("http://a.example/c", "page")]),
            "a page in the log, but not stored",
        ),
        (
            replace(
                CRAWLED,
                stored=stored("http://a.example/") + stored("http://a.example/b", sha256=digest(b"a lie")),
            ),
            "other bytes are stored",
        ),
    ],
)
def test_pages_missing_doubled_or_changed_are_found(crawled: Crawled, told: str) -> None:
    assert any(told in fault for fault in wrong_pages([HOST], SOUND, crawled))


def test_a_log_that_calls_a_url_by_a_wrong_outcome_is_found() -> None:
    crawled = Crawled([], [Logged("http://a.example/old", "http-error")])
    assert list(wrong_outcomes([HOST], crawled)) == ["http://a.example/old: http-error, not redirect"]


def test_a_trap_that_is_not_counted_by_its_name_is_found() -> None:
    trap = replace(HOST, counted=outcomes("trap-path"))
    assert list(wrong_outcomes([trap], CRAWLED)) == [
        "a.example: counted as page, redirect, robots, not as trap-path"
    ]
    assert list(wrong_outcomes([trap], Crawled([], [Logged("http://a.example/x", "trap-path")]))) == []
    elsewhere = Logged("file:///etc/hostname", "trap-path", referrer="http://a.example/")
    assert list(wrong_outcomes([trap], Crawled([], [elsewhere]))) == []


@pytest.mark.parametrize(
    ("request_made", "told"),
    [
        (asked("/private", 5), "robots.txt disallows it"),
        (asked("/b?utm_source=x", 5), "no canonical URL is spelled so"),
        (asked("/", 5, "127.0.9.9", address="127.0.9.9"), "no host of this web"),
    ],
)
def test_requests_that_must_not_be_made_are_found(request_made: Request, told: str) -> None:
    assert list(forbidden(HOSTS, SOUND)) == []
    [fault] = forbidden(HOSTS, [*SOUND, request_made])
    assert told in fault


def test_one_look_at_how_a_host_says_that_there_is_no_such_page_is_allowed() -> None:
    probes = [asked(f"/{number}abcdef.html", 5 + number, status=404) for number in range(2)]
    assert list(forbidden(HOSTS, [*SOUND, probes[0]])) == []
    assert len(list(forbidden(HOSTS, [*SOUND, *probes]))) == 1


def test_of_a_closed_host_only_its_rules_may_be_asked_for() -> None:
    closed = {"a.example": replace(HOST, pages=frozenset(), closed="its robots.txt answers 500")}
    assert len(list(forbidden(closed, SOUND))) == len(SOUND) - 1


def test_an_endless_host_may_be_asked_for_anything_but_not_without_end() -> None:
    endless = {"a.example": replace(HOST, at_most=3)}
    assert list(forbidden(endless, [asked("/made/up", 5)])) == []
    assert list(too_many(endless, SOUND[:3])) == []
    assert list(too_many(endless, SOUND)) == ["a.example: 4 requests, 3 at most are worth it"]


def test_requests_closer_than_the_delay_are_found_less_a_tolerance() -> None:
    assert list(too_close(HOSTS, SOUND, 1.04)) == []
    assert len(list(too_close(HOSTS, SOUND, 1.06))) == 3
    slow = {"a.example": replace(HOST, delay_seconds=2.0)}
    assert len(list(too_close(slow, SOUND, 0.0))) == 3


def test_what_the_server_was_late_is_not_held_against_the_crawler() -> None:
    late = [asked("/", 1.3, late=0.3), asked("/b", 2.0)]
    assert list(too_close(HOSTS, late, 1.0)) == []
    assert len(list(too_close(HOSTS, [replace(late[0], late=0.0), late[1]], 1.0))) == 1


def test_other_hosts_do_not_count_as_too_close() -> None:
    assert list(too_close(HOSTS, [asked("/", 1), asked("/", 1.01, "b.example")], 1.0)) == []


def test_hosts_of_one_address_count_as_one_where_that_is_wanted() -> None:
    both = [asked("/", 1, address="127.0.1.1"), asked("/", 1.05, "b.example", address="127.0.1.1")]
    assert [*too_close(HOSTS, both, 1.0), *at_once(both)] == []
    assert len(list(too_close(HOSTS, both, 1.0, by_address))) == 1
    assert len(list(at_once(both, 1, by_address))) == 1


def test_a_host_asked_before_its_retry_after_is_found() -> None:
    busy = [asked("/", 1, status=429, not_before=3.1), asked("/b", 2), asked("/", 3.2)]
    assert list(too_early(busy)) == ["a.example: /b came 1.100 s before its Retry-After"]
    assert list(too_early([busy[0], busy[2]])) == []


def test_two_requests_to_a_host_at_once_are_found() -> None:
    slow = [asked("/", 1, ended=3.0), asked("/b", 2)]
    assert list(at_once(slow)) == ["a.example: /b made 2 requests at once, not 1"]
    assert list(at_once(slow, 2)) == []
    assert list(at_once([replace(slow[0], ended=None), asked("/b", 9)])) != []


def test_a_url_fetched_again_after_a_good_answer_is_found() -> None:
    again = [*SOUND, asked("/b", 9)]
    assert list(repeated(SOUND)) == []
    assert list(repeated(again)) == ["a.example/b: fetched again after a good answer (200)"]
    assert fetched_again(again) == {"not allowed": 1}


def test_broken_answers_may_be_asked_for_again_but_not_without_end() -> None:
    tries = [asked("/b", at, status=503) for at in range(12)]
    assert list(repeated(tries)) == []
    assert fetched_again(tries) == {"the answer was none": 11}
    assert len(list(repeated([*tries, asked("/b", 13)]))) == 1


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        (None, "in flight at a kill"),
        (5.5, "in flight at a kill"),
        (4.9, "not yet durable at a kill"),
        (4.7, "not allowed"),
    ],
)
def test_a_kill_excuses_what_was_in_flight_or_not_yet_durable(ended: float | None, why: str) -> None:
    twice = [asked("/b", 4.5, ended=ended), asked("/b", 9)]
    kills = [Killed(at=5.0, window_seconds=0.25)]
    assert fetched_again(twice, kills) == {why: 1}
    assert bool(list(repeated(twice, kills))) == (why == "not allowed")


def test_a_kill_before_or_after_both_requests_excuses_nothing() -> None:
    twice = [asked("/b", 4.5), asked("/b", 5.5)]
    for at in (4.0, 6.0):
        assert list(repeated(twice, [Killed(at, 9.0)])) != []


def test_what_crawlers_ask_for_until_they_notice_their_drivers_death_is_excused_as_well() -> None:
    twice = [asked("/b", 4.5), asked("/b", 9)]
    assert list(repeated(twice, [Killed(4.0, 0.25)])) != []
    assert list(repeated(twice, [Killed(4.0, 0.25, over=5.0)])) == []
    assert list(repeated(twice, [Killed(4.0, 0.25, over=9.5)])) != []


def test_the_good_hosts_speed_is_measured_and_its_loss_found() -> None:
    assert pages_per_second(HOSTS, SOUND) == pytest.approx(2 / 2.1)
    assert pages_per_second({}, SOUND) == 0.0
    assert list(slowed(10.0, 8.1, 0.8)) == []
    assert len(list(slowed(10.0, 7.9, 0.8))) == 1

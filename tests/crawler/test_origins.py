"""What an answer to robots.txt or tdmrep.json means (RFC 9309, section 2.3.1)."""

import asyncio
from collections.abc import Mapping

import pytest

from crawler.origins import (
    REDIRECTS,
    Forbidden,
    Reply,
    Rules,
    Unreachable,
    Unreadable,
    obtain_robots,
    obtain_tdmrep,
    rules_of,
)
from crawler.outcomes import REFUSED, meaning_of
from crawler.responses import classify
from crawler.robots_txt import PARSED_BYTES

FORBIDDING = b"User-agent: *\nDisallow: /a\n"


def obtained(answers: Mapping[str, Reply | Exception]) -> tuple[Rules, list[str]]:
    asked: list[str] = []

    async def get(url: str) -> Reply:
        asked.append(url)
        answer = answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asyncio.run(obtain_robots("http://a.org", "moinho", get)), asked


def robots(answer: Reply | Exception) -> Rules:
    return obtained({"http://a.org/robots.txt": answer})[0]


def test_a_file_is_read_and_kept() -> None:
    rules = robots(Reply(200, FORBIDDING))
    rules.check("http://a.org/b")
    with pytest.raises(Forbidden):
        rules.check("http://a.org/a")
    assert rules.keep is not None
    assert rules_of(rules.keep, "moinho") == rules


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 451])
def test_what_is_unavailable_allows_everything(status: int) -> None:
    rules = robots(Reply(status, b"" if status < 400 else FORBIDDING))
    rules.check("http://a.org/a")
    assert rules.keep == b""


@pytest.mark.parametrize("status", [429, 500, 502, 503, 599])
def test_a_server_that_fails_forbids_everything_and_is_asked_again(status: int) -> None:
    rules = robots(Reply(status, retry_after="7"))
    with pytest.raises(Unreadable, match=str(status)) as caught:
        rules.check("http://a.org/b")
    outcome, _, _ = classify(caught.value, None)
    assert (outcome, meaning_of(outcome).kind) == ("robots-unreachable", REFUSED)
    assert (rules.keep, rules.is_passing, rules.retry_after) == (None, True, "7")


def test_no_answer_forbids_everything() -> None:
    rules = robots(OSError("connection refused"))
    with pytest.raises(Unreachable, match="connection refused"):
        rules.check("http://a.org/b")
    assert rules.is_passing


def chain(length: int) -> dict[str, Reply | Exception]:
    steps: dict[str, Reply | Exception] = {"http://a.org/robots.txt": Reply(301, location="//b.org/0")}
    for step in range(length - 1):
        steps[f"http://b.org/{step}"] = Reply(302, location=f"/{step + 1}")
    return {**steps, f"http://b.org/{length - 1}": Reply(200, FORBIDDING)}


def test_redirects_are_followed_also_to_other_hosts() -> None:
    rules, asked = obtained(chain(REDIRECTS))
    assert len(asked) == REDIRECTS + 1
    with pytest.raises(Forbidden):
        rules.check("http://a.org/a")


def test_endless_redirects_and_those_to_no_web_page_allow_everything() -> None:
    rules, asked = obtained(chain(REDIRECTS + 1))
    assert len(asked) == REDIRECTS + 1
    rules.check("http://a.org/a")
    robots(Reply(302, location="file:///etc/passwd")).check("http://a.org/a")
    robots(Reply(302, location="http://[x")).check("http://a.org/a")


def test_a_long_file_is_cut() -> None:
    assert len(robots(Reply(200, FORBIDDING + b"#" * 3 * PARSED_BYTES)).keep or b"") == PARSED_BYTES + 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [(Reply(200, b"[]"), b"[]"), (Reply(404, b"x"), b""), (Reply(500), b""), (OSError(), b"")],
)
def test_a_tdmrep_file_that_cannot_be_had_says_nothing(answer: Reply | Exception, body: bytes) -> None:
    async def get(url: str) -> Reply:
        assert url == "http://a.org/.well-known/tdmrep.json"
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert asyncio.run(obtain_tdmrep("http://a.org", get)) == body

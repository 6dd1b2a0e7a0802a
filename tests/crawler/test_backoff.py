"""Retry-After and the schedule of a host that fails."""

import itertools
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.backoff import FAILURES, LONGEST_SECONDS, failed, retry_after, wait_seconds

NOW = datetime(1994, 11, 6, 8, 49, 7, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("1.5", 1.5),
        # The three forms of a date: RFC 9110, section 5.6.7.
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 30),
        ("Sun Nov  6 08:49:37 1994", 30),
        ("Sun, 06 Nov 1994 08:49:37 +0100", 0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ("", None),
        (None, None),
        ("-5", None),
        ("soon", None),
        ("9" * 5000, None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.one_of(st.text(), st.datetimes().map(format_datetime)))
def test_any_retry_after_is_read(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


def test_a_host_that_fails_is_asked_ever_more_seldom_and_then_given_up() -> None:
    waits = [wait_seconds(failures) for failures in range(1, FAILURES)]
    assert all(after == 2 * before for before, after in itertools.pairwise(waits))  # type: ignore[operator]
    assert wait_seconds(FAILURES) is None
    assert sum(filter(None, waits)) < 20 * 60


def test_a_host_is_never_asked_earlier_than_it_wishes() -> None:
    assert wait_seconds(1, 300.0) == 300.0
    assert wait_seconds(5, 1.0) == wait_seconds(5)
    assert wait_seconds(1, LONGEST_SECONDS + 1) is None


def test_what_puts_us_off() -> None:
    assert [status for status in range(200, 600) if failed(status)] == [429, 503]

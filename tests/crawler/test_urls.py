"""URLs: one spelling each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.urls import canonical


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG:80/a/../b#part", "http://example.org/b"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:8443/?b=2&a=1", "https://example.org:8443/?a=1&b=2"),
        ("https://example.org/código", "https://example.org/c%C3%B3digo"),
        ("mailto:me@example.org", None),
        ("file:///etc/passwd", None),
        ("https://user@example.org/", None),
        ("http://example.org:port/", None),
        ("/relative", None),
        ("https://example.org/" + "x" * 10_000, None),
    ],
)
def test_a_url_has_one_spelling(url: str, expected: str | None) -> None:
    assert canonical(url) == expected


@given(st.text(max_size=40))
def test_any_text_has_a_stable_spelling_or_none(text: str) -> None:
    for url in (text, f"http://example.org/{text}", f"http://{text}/"):
        spelled = canonical(url)
        assert spelled is None or canonical(spelled) == spelled

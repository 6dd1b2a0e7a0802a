"""What a page's links lead to."""

from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.frontier import canonical
from crawler.responses import resolve

BASES = ["http://a.org/", "http://a.org/x/y.html", "https://a.org:8443/x/y/?q=/z", "http://[::1]/x?a/b"]
LINKS = st.text(st.sampled_from("ab/.?=:&% é"), max_size=8)
BEGINNINGS = st.sampled_from(["", "/", "//", "?", "../", "http:", "http://", "https://b.org", "http://a.org"])


@given(base=st.sampled_from(BASES), beginning=BEGINNINGS, rest=LINKS)
@example(base=BASES[1], beginning="/", rest="../x/./y")
@example(base=BASES[1], beginning="https://b.org", rest="/../x")
def test_a_link_leads_where_it_leads_from_the_whole_address_of_its_page(
    base: str, beginning: str, rest: str
) -> None:
    link = (beginning + rest).strip()
    try:
        expected = canonical(urljoin(base, link))
    except ValueError:
        expected = None
    if link:
        assert resolve(base, link) == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("b.html", "http://a.org/x/b.html"),
        ("?p=2", "http://a.org/x/y.html?p=2"),
        ("/b.html", "http://a.org/b.html"),
        ("//b.org/c", "http://b.org/c"),
        ("https://b.org", "https://b.org/"),
        ("mailto:me@a.org", None),
        ("http://[::1", None),
    ],
)
def test_links_are_resolved(link: str, expected: str | None) -> None:
    assert resolve("http://a.org/x/y.html?q=1", link) == expected

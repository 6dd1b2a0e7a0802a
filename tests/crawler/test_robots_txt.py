"""robots.txt as text: RFC 9309's own examples and rules, and where Protego agrees and where not."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from protego import Protego

from crawler.robots_txt import PARSED_BYTES, parse, path_of


def allows(text: str | bytes, path: str, agent: str = "moinho") -> bool:
    body = text.encode() if isinstance(text, str) else text
    return parse(body, agent).allows(f"http://example.org{path}")


def protego_allows(text: str, path: str, agent: str = "moinho") -> bool:
    return Protego.parse(text).can_fetch(f"http://example.org{path}", agent)


SIMPLE = """User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot

EOF
"""
"""RFC 9309, section 5.1."""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("moinho", "/a.gif", False),
        ("moinho", "/a.gif?x", True),
        ("moinho", "/example/a", False),
        ("moinho", "/publications/a.html", True),
        ("moinho", "/", True),
        ("FooBot", "/", False),
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("foobot", "/example/", False),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/a.gif", True),
        ("quxbot", "/example/page.html", True),
    ],
)
def test_the_simple_example(agent: str, path: str, allowed: bool) -> None:
    assert allows(SIMPLE, path, agent) is allowed


def test_the_longest_match_wins() -> None:
    """RFC 9309, section 5.2."""
    text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
    assert allows(text, "/example/page/", "foobot")
    assert not allows(text, "/example/page/disallowed.gif", "foobot")


MERGED = (
    "User-Agent: a\nDisallow: /1\nUser-agent: b\nDisallow: /2\nUser-Agent: A\nUser-agent: c\nDisallow: /3"
)
"""Groups of one agent are one group, whatever stands between (section 2.2.1)."""


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        # Section 2.2.1: which group is ours.
        ("User-agent: moinho\nDisallow: /a\n\nUser-agent: *\nDisallow: /\n", "/b", True),
        ("User-agent: MOINHO\nDisallow: /a\n", "/a", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: moinho\n", "/a", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: moinho\nDisallow:\n", "/a", True),
        ("User-agent: moinho\n\nUser-agent: *\nDisallow: /a\n", "/a", False),
        ("User-agent: other\nDisallow: /\n", "/a", True),
        ("Disallow: /a\nUser-agent: *\nDisallow: /b\n", "/a", True),
        ("", "/a", True),
        # Section 2.2.2: equal lengths allow; rules in any order; case matters; no rule, no refusal.
        ("User-agent: *\nDisallow: /a\nAllow: /a\n", "/a", True),
        ("User-agent: *\nAllow: /a/b\nDisallow: /a\n", "/a/b", True),
        ("User-agent: *\nDisallow: /A\n", "/a", True),
        ("User-agent: *\nDisallow: /a\n", "/robots.txt", True),
        ("User-agent: *\nDisallow: /\n", "/robots.txt", True),
        # Section 2.2.2: the table of encodings.
        ("User-agent: *\nDisallow: /foo/bar?baz=quz\n", "/foo/bar?baz=quz", False),
        ("User-agent: *\nDisallow: /foo/bar?baz=http://foo.bar\n", "/foo/bar?baz=http://foo.bar", False),
        ("User-agent: *\nDisallow: /foo/bar/ツ\n", "/foo/bar/%E3%83%84", False),
        ("User-agent: *\nDisallow: /foo/bar/%E3%83%84\n", "/foo/bar/%E3%83%84", False),
        ("User-agent: *\nDisallow: /foo/bar/%62%61%7A\n", "/foo/bar/baz", False),
        ("User-agent: *\nDisallow: /a%2fb\n", "/a%2Fb", False),
        ("User-agent: *\nDisallow: /a%2Fb\n", "/a/b", True),
        # Section 2.2.3: special characters, and how to write them as themselves.
        ("User-agent: *\nDisallow: /this/path/exactly$\n", "/this/path/exactly", False),
        ("User-agent: *\nDisallow: /this/path/exactly$\n", "/this/path/exactly/not", True),
        ("User-agent: *\nDisallow: /this/*/exactly\n", "/this/one/is/exactly/it", False),
        ("User-agent: *\nDisallow: /path/file-with-a-%2A.html\n", "/path/file-with-a-*.html", False),
        ("User-agent: *\nDisallow: /path/file-with-a-%2A.html\n", "/path/file-with-a-b.html", True),
        ("User-agent: *\nDisallow: /path/foo-%24\n", "/path/foo-$", False),
        ("User-agent: *\nDisallow: /path/foo-%24\n", "/path/foo-", True),
        ("User-agent: *\nDisallow: /*.php$\nAllow: /**\n", "/a.php", False),
        ("User-agent: *\nDisallow: /*a*b$\n", "/xaxb", False),
        ("User-agent: *\nDisallow: /*ab*b$\n", "/ab", True),
        # Section 2.2: comments, blanks, line ends, a byte order mark.
        ("User-agent: * # all\nDisallow: /a # not this\n", "/a", False),
        ("  User-agent : *\n\tDisallow\t:\t/a\n", "/a", False),
        ("User-agent: *\r\nDisallow: /a\r\n", "/a", False),
        ("User-agent: *\rDisallow: /a\r", "/a", False),
        ("\ufeffUser-agent: *\nDisallow: /a\n", "/a", False),
        ("User-agent: *\nDisallow: /a", "/a", False),
        ("User-agent *\nDisallow /a\n", "/a", False),
        # Section 2.2.4: other records do not interfere.
        ("User-agent: *\nSitemap: https://example.org/s.xml\nDisallow: /a\n", "/a", False),
        ("User-agent: moinho\nSitemap: /s\nUser-agent: other\nDisallow: /\n", "/a", False),
        # No rule at all: neither begins with a slash or a wildcard.
        ("User-agent: *\nDisallow: a\n", "/a", True),
        # What is no UTF-8 is compared octet by octet.
        (b"User-agent: *\nDisallow: /caf\xe9\n", "/caf%E9", False),
    ],
)  # fmt: skip
def test_rules_of_the_rfc(text: str | bytes, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed


@pytest.mark.parametrize(("agent", "forbidden"), [("a", {1, 3}), ("b", {2}), ("c", {3}), ("d", set())])
def test_groups_of_one_agent_are_merged(agent: str, forbidden: set[int]) -> None:
    assert {number for number in range(1, 4) if not allows(MERGED, f"/{number}", agent)} == forbidden


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("User-agent: moin\nDisallow: /\n", "/a", True),
        ("User-agent: Moinho/2.0\nDisallow: /a\n", "/a", False),
        ("User-agent: moinho\nNoindex: /b\nUser-agent: other\nDisallow: /a\n", "/a", False),
        ("User-agent: *\nDisallow: /products\nAllow: /*?page=\n", "/products?page=2", False),
        ("User-agent: *\nDisallow: /a?b\n", "/a%3Fb", True),
        ("User-agent: *\nDisallow: /\nAllow: /index.html\n", "/", False),
        ("User-agent: *\nDisallow: /a$\n", "/a$b", True),
        ("User-agent: *\nDisallow: /a\x0cb\n", "/a", True),
    ],
)  # fmt: skip
def test_where_protego_decides_otherwise_than_the_rfc(text: str, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed
    assert protego_allows(text, path) is not allowed


VERBS = st.sampled_from(["Allow", "Disallow"])
PATHS = st.text(st.sampled_from("ab/*.-~"), max_size=8)


@given(rules=st.lists(st.tuples(VERBS, PATHS, st.sampled_from(["", "$"])), max_size=6), path=PATHS)
@example(rules=[("Disallow", "*a*", "$")], path="a")
def test_protego_agrees_where_it_follows_the_rfc(rules: list[tuple[str, str, str]], path: str) -> None:
    """Without reserved characters, of which it counts three octets each."""
    text = "User-agent: moinho\n" + "".join(f"{verb}: /{pattern}{end}\n" for verb, pattern, end in rules)
    path = path.replace("*", "")
    stars = max((pattern.count("**") for _, pattern, _ in rules), default=0)
    if not stars:  # of which it counts each
        assert allows(text, f"/{path}") is protego_allows(text, f"/{path}")


@given(st.binary(max_size=200), st.text(max_size=10))
@example(b"User-agent: *\nDisallow: /\xff\xfe$*\x00", "é")
def test_any_bytes_are_read(body: bytes, agent: str) -> None:
    for text in (body, b"user-agent:*\ndisallow:" + body, b"crawl-delay:" + body, b"request-rate:" + body):
        found = parse(b"User-agent: moinho\n" + text, "moinho")
        assert found.delay_seconds >= 0
        found.allows("http://example.org/%FF")
        parse(text, agent)


def test_half_a_mebibyte_of_rules_is_read() -> None:
    padding = b"# padding\n" * (500 * 1024 // 10)
    assert not allows(b"User-agent: *\n" + padding + b"Disallow: /late\n", "/late")
    assert parse(b"#" * (3 * PARSED_BYTES), "moinho").rules == ()
    late = b"User-agent: *\n" + b"# padding\n" * (PARSED_BYTES // 10) + b"Disallow: /\n"
    assert allows(late, "/a")


@pytest.mark.parametrize(
    "rules",
    [b"Disallow: /%d\n", b"Disallow: /*%d*a*b*c$\n", b"Disallow: /*a*a*a*a*a*a*a*a*a*a*b%d\n"],
)
def test_a_hostile_file_costs_little(rules: bytes) -> None:
    body = b"User-agent: *\n" + b"".join(rules % number for number in range(20_000))
    found = parse(body, "moinho")
    began = time.process_time()
    for _ in range(10):
        found.allows("http://example.org/" + "a" * 200)
    assert (time.process_time() - began) / 10 < 0.5


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("Crawl-delay: 2.5", 2.5),
        ("Crawl-delay: -1", 0),
        ("Crawl-delay: nan", 0),
        ("Crawl-delay: inf", 0),
        ("Crawl-delay: soon", 0),
        ("Request-rate: 2/10s", 5),
        ("Request-rate: 1/2m 0600-0845", 120),
        ("Request-rate: 0/5", 0),
        ("Request-rate: fast", 0),
        ("Crawl-delay: 1\nRequest-rate: 1/3", 3),
    ],
)
def test_delays(line: str, seconds: float) -> None:
    assert parse(f"User-agent: *\n{line}\n".encode(), "moinho").delay_seconds == seconds
    assert parse(f"User-agent: other\n{line}\n".encode(), "moinho").delay_seconds == 0


def test_sitemaps_belong_to_no_group() -> None:
    text = b"Sitemap: https://a.org/1\nUser-agent: other\nsitemap:/2\nDisallow: /\nSitemap: https://a.org/1\n"
    assert parse(text, "moinho").sitemaps == ("https://a.org/1", "/2")


PREFERENCES = b"""User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: train-ai=y
"""
"""draft-ietf-aipref-attach-05, section 3.5."""


@pytest.mark.parametrize(
    ("agent", "path", "statements"),
    [
        ("moinho", "/test", ["train-ai=n"]),
        ("moinho", "/ai-ok/test", ["train-ai=y"]),
        ("ExampleBot", "/test", ["train-ai=y"]),
    ],
)
def test_statements_of_preference(agent: str, path: str, statements: list[str]) -> None:
    assert parse(PREFERENCES, agent).statements(f"http://example.org{path}") == statements


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://a.org", "/"),
        ("http://a.org?b", "/?b"),
        ("http://a.org/b?c#d", "/b?c"),
        ("http://a/*$", "/%2A%24"),
    ],
)
def test_what_patterns_are_held_against(url: str, path: str) -> None:
    assert path_of(url) == path

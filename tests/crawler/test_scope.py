"""What the patterns of a scope want, and which pages' links come first."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.scope import Scope, language_of, priority_of, url_pattern, wants_type
from crawler.urls import canonical, host_of


def wants(url: str, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> bool:
    return Scope(allow, deny).refusal(url, host_of(url)) is None


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        ("example.org", "https://example.org:8080/a?b", True),
        ("Example.org", "https://example.org/", True),
        ("example.org", "https://www.example.org/", False),
        ("example.org", "https://example.org.evil.net/", False),
        ("*.example.org", "https://a.b.example.org/", True),
        ("*.example.org", "https://example.org/", False),
        ("*.example.org", "https://notexample.org/", False),
        ("example.*", "https://example.com.br/", True),
        ("example.org/wiki/", "https://example.org/wiki/A", True),
        ("example.org/wiki/", "https://example.org/wikis", False),
        ("/login", "https://any.net/login?next=1", True),
        ("*/login", "https://any.net/login", True),
        ("/login", "https://any.net/a/login", False),
        ("/*/login", "https://any.net/a/login", True),
        ("/*.pdf$", "https://any.net/a.pdf", True),
        ("/*.pdf$", "https://any.net/a.pdf?x", False),
        ("*?*sort=", "https://any.net/a?page=1&sort=2", True),
        ("/café", "https://any.net/caf%C3%A9", True),
        ("*", "https://any.net/", True),
        ("example.org/", "https://example.org/a", True),
        ("localhost", "http://localhost:8000/", True),
        ("wiki/", "http://wiki/a", True),
        ("*git*", "https://git-scm.com/", True),
        ("*.café.example/", "https://www.xn--caf-dma.example/", True),
    ],
)
def test_patterns(pattern: str, url: str, matches: bool) -> None:
    assert wants(url, allow=(pattern,)) is matches
    assert wants(url, deny=(pattern,)) is not matches


def test_what_is_denied_stays_so() -> None:
    allow, deny = ("example.org/wiki/", "*.example.net"), ("*/wiki/Special:", "/private")
    assert wants("https://example.org/wiki/A", allow, deny)
    assert not wants("https://example.org/wiki/Special:Log", allow, deny)
    assert not wants("https://www.example.net/private/", allow, deny)
    assert not wants("https://other.org/", allow, deny)
    assert wants("https://other.org/", (), deny)
    scope = Scope(allow, deny)
    assert scope.refusal("https://a.org/private", "a.org") == "denied by '/private'"
    assert scope.refusal("https://a.org/", "a.org") == "no allow pattern matches it"


def test_hosts_that_are_named() -> None:
    scope = Scope(("*.example.org", "/blog/", "*"))
    assert scope.names("www.example.org")
    assert not scope.names("example.org")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write `host/path`"),
        ("a b", "write `host/path`"),
        ("https://example.org", "write 'example.org'"),
        ("example.org:80/", "write 'example.org' or"),
        ("a?b", "begin with '/'"),
        ("user@a.org", "begin with '/'"),
        ("(", "'(' is not a host name (patterns are no regular expressions); write"),
        ("(www|docs).example.org/wiki", "no regular expressions"),
        (".*\\.example\\.org", "write '*' for any text"),
        (".example.org/wiki", "write '*.example.org/wiki'"),
        ("example.org./wiki", "write 'example.org/wiki'"),
        ("example..org", "is not a host name"),
        ("*ã.example.org", "is not a host name"),
        ("git-a", "write '/git-a' for paths that begin so on any host, '/*git-a' for those that have it"),
        ("git-*.html", "'/git-*.html'"),
        ("example.org/page#part", "'#'"),
    ],
)
def test_what_is_no_pattern_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        Scope(deny=(text,))


@given(st.text(), st.text())
def test_any_pattern_is_read_or_refused(text: str, path: str) -> None:
    url = canonical(f"http://example.org/{path}")
    try:
        url_pattern(text)
    except ValueError:
        return
    if url is not None:
        assert wants(url, allow=(text,)) is not wants(url, deny=(text,))


def test_content_types_may_have_wildcards() -> None:
    assert wants_type("text/plain", ["application/pdf", "text/*"])
    assert not wants_type("text/plain", ["text/html"])


PORTUGUESE = (
    "A casa amarela fica perto do rio, e quem passa por ali de manhã ouve os pássaros cantando alto. " * 3
)


@pytest.mark.parametrize(
    ("stated", "text", "language"),
    [
        ("pt-BR", "", "pt-br"),
        (" EN_us ", PORTUGUESE, "en-us"),
        (None, PORTUGUESE, "pt"),
        ("", PORTUGUESE, "pt"),
        ("{{ lang }}", PORTUGUESE, "pt"),
        ("und", PORTUGUESE.replace("ã", "&atilde;"), "pt"),
        (None, "olá", None),
    ],
)
def test_the_language_of_a_page(stated: str | None, text: str, language: str | None) -> None:
    assert language_of(stated, lambda: text) == language


def test_links_of_pages_in_a_wanted_language_come_first() -> None:
    wanted = ("pt", "en-GB")
    assert [priority_of(each, wanted) for each in ("pt", "pt-br", "en-gb", None, "en", "ptx")] == [
        0,
        0,
        0,
        1,
        2,
        2,
    ]
    assert priority_of("de", ()) == 0


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        (r"^https?://.*\.pdf$", "/*.pdf$"),
        (r"^https?://example\.org/.*", "example.org/*"),
        ("https://*.example.org", "*.example.org"),
        ("https://.*", "/*"),
    ],
)
def test_what_is_said_to_be_written_in_place_of_a_pattern_with_a_scheme_is_one(
    pattern: str, meant: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"write {meant!r}")):
        url_pattern(pattern)
    url_pattern(meant)

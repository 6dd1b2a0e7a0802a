"""URLs: one spelling each, different pages apart, links resolved, families and buckets that stay."""

import itertools
from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler import urls
from crawler.urls import bucket_of, canonical, domain_of, host_of, resolve, shape_of

CHARACTERS = st.one_of(
    st.sampled_from("ab/.?=:&%;#@[]\\+~-_ é\t\n\ud800ß$|{}2Ff"),
    st.sampled_from(
        ["%2e", "%2F", "%3b", "%25", "%41", "//", "/../", ";jsessionid=", "utm_x=", "xn--", "&", "?"]
    ),
    st.characters(),
)
TEXTS = st.lists(CHARACTERS, max_size=14).map("".join)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG:80/a/../b#part", "http://example.org/b"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:8443/?b=2&a=1", "https://example.org:8443/?a=1&b=2"),
        ("https://example.org/código", "https://example.org/c%C3%B3digo"),
        ("https://example.org./?", "https://example.org/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://faß.example/", "http://xn--fa-hia.example/"),
        ("http://[2001:DB8::0:1]:80/", "http://[2001:db8::1]/"),
        ("http://example.org\\a\\b?c\\d", "http://example.org/a/b?c%5Cd"),
        ("  http://example.org/a\nb ", "http://example.org/ab"),
        ("http://example.org/?/topic/1/", "http://example.org/?/topic/1/"),
        ("http://example.org/?q=a%2bb%26c+d%20e", "http://example.org/?q=a%2Bb%26c+d+e"),
        ("http://example.org/%E9t%e9?%e9=%E9", "http://example.org/%E9t%E9?%E9=%E9"),
        ("http://example.org/a;jsessionid=1A2b?x=1", "http://example.org/a?x=1"),
        ("http://example.org/..;%6Asessionid=1/a", "http://example.org/a"),
        ("http://example.org/(S(lit3py55t21z5v55vlm25s55))/a", "http://example.org/(S(lit3py55t21z5v55vlm25s55))/a"),
        ("mailto:me@example.org", None),
        ("file:///etc/passwd", None),
        ("https://user@example.org/", None),
        ("http://example.org:port/", None),
        ("http://example.org:65536/", None),
        ("http://exam ple.org/", None),
        ("http://a..b/", None),
        (f"http://{'a' * 64}.org/", None),
        (f"http://{'abc.' * 64}org/", None),
        ("http://[::1%25eth0]/", None),
        ("http:///path", None),
        ("/relative", None),
        ("https://example.org/" + "x" * 10_000, None),
        ("https://example.org/" + "é" * 2_000, None),
    ],
)  # fmt: skip
def test_a_url_has_one_spelling(url: str, expected: str | None) -> None:
    assert canonical(url) == expected


RFC_3986 = [
    # Section 6.2.2: an example that differs in case, encoding and dot segments.
    ("http://example.org/b/c/%7Bfoo%7D", "HTTP://example.org/./b/../b/%63/%7bfoo%7d"),
    # 6.2.2.1 and 6.2.2.2: case of scheme, host and escapes; escapes of what needs none.
    ("http://www.example.com/", "HTTP://www.EXAMPLE.com/"),
    ("http://example.com/~smith/home.html", "http://EXAMPLE.com/%7esmith/home.html"),
    ("http://example.com/%3Aq", "http://example.com/%3aq"),
    # 6.2.3: four spellings of one site.
    ("http://example.com", "http://example.com/"),
    ("http://example.com", "http://example.com:/"),
    ("http://example.com", "http://example.com:80/"),
    # 5.2.4 and 5.4: dot segments.
    ("http://a.org/a/g", "http://a.org/a/b/c/./../../g"),
    ("http://a.org/b/c/g/", "http://a.org/b/c/./g/."),
    ("http://a.org/g", "http://a.org/../../../g"),
    ("http://a.org/b/", "http://a.org/b/c/%2E%2e"),
]


@pytest.mark.parametrize(("one", "other"), RFC_3986)
def test_equivalent_spellings_are_one_url(one: str, other: str) -> None:
    assert canonical(one) == canonical(other) is not None


DIFFERENT = [
    "http://a.org/b", "http://a.org/b/", "http://a.org/B", "http://a.org//b", "https://a.org/b",
    "http://a.org:8080/b", "http://www.a.org/b", "http://a.org/%2Fb", "http://a.org/b%3Fc", "http://a.org/b?c",
    "http://a.org/b?c=1", "http://a.org/b?c=2", "http://a.org/b?c=1&c=2", "http://a.org/b?C=1", "http://a.org/b?c=+1",
    "http://a.org/b?c=%2B1", "http://a.org/b?c=%261", "http://a.org/b%3Bc", "http://a.org/b;c", "http://a.org/b%25",
    "http://a.org/b%2525", "http://a.org/b?sid=7", "http://a.org/b?ref=7", "http://a.org/b.html", "http://a.org/b?%3D",
]  # fmt: skip


def test_different_pages_stay_apart() -> None:
    spelled = {canonical(url) for url in DIFFERENT}
    assert None not in spelled
    assert len(spelled) == len(DIFFERENT)


@given(TEXTS)
@example("%2541")
@example("%%34%31;jsessionid=%3b")
def test_any_text_has_a_stable_spelling_or_none(text: str) -> None:
    for url in (text, f"http://example.org/{text}", f"http://{text}/", f"http://example.org/?{text}"):
        spelled = canonical(url)
        assert spelled is None or (canonical(spelled) == spelled and spelled.isascii() and host_of(spelled))


@given(
    path=st.lists(st.text(st.sampled_from("aZ0._~!$&'()*+,=:@-"), max_size=5), max_size=4),
    host=st.from_regex(r"[a-z0-9]{1,3}(\.[a-z0-9_-]{1,3}){0,2}", fullmatch=True),
)
@example(path=["."], host="a.org")
def test_what_looks_canonical_is_what_the_long_way_gives(path: list[str], host: str) -> None:
    url = f"http://{host}/{'/'.join(path)}"
    assert (urls.PLAIN.match(url) is None) or urls._spelled(url) == url


@given(
    pieces=st.lists(
        st.sampled_from(["a=1", "b=%E9", "a[]=2", "c", "utm_id=3", "UTM%5Fsource=x", "PHPSESSID=4"])
    )
)
def test_the_order_of_a_query_and_who_came_by_it_do_not_matter(pieces: list[str]) -> None:
    meant = [piece for piece in pieces if not piece.lower().startswith(("utm", "php"))]
    expected = canonical(f"http://a.org/?{'&'.join(meant)}")
    assert canonical(f"http://a.org/?{'&'.join(pieces)}") == expected
    assert canonical(f"http://a.org/?{'&&'.join(reversed(pieces))}") == expected


@pytest.mark.parametrize(
    "piece",
    [
        "fbclid=IwAR0",
        "GCLID=1",
        "mtm_campaign=x",
        "ASPSESSIONIDQQ=1",
        "sid=" + "0a" * 16,
        "hsa_acc=1",
        "_ga=2.1",
    ],
)
def test_tracking_and_sessions_are_removed(piece: str) -> None:
    assert canonical(f"http://a.org/b?{piece}&c=1") == "http://a.org/b?c=1"
    assert canonical(f"http://a.org/b?{piece}") == "http://a.org/b"


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


@given(base=st.sampled_from(BASES), link=TEXTS)
def test_no_link_raises(base: str, link: str) -> None:
    found = resolve(base, link)
    assert found is None or canonical(found) == found


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("b.html", "http://a.org/x/b.html"),
        ("?p=2", "http://a.org/x/y.html?p=2"),
        ("/b.html", "http://a.org/b.html"),
        ("//b.org/c", "http://b.org/c"),
        ("https://b.org", "https://b.org/"),
        ("..\\b\\c.html?d\\e", "http://a.org/b/c.html?d%5Ce"),
        ("\\b", "http://a.org/b"),
        ("mailto:me@a.org", None),
        ("http://[::1", None),
        ("x" * 100_000, None),
    ],
)
def test_links_are_resolved(link: str, expected: str | None) -> None:
    assert resolve("http://a.org/x/y.html?q=1", link) == expected


def test_the_caches_hold_no_long_urls() -> None:
    before = urls._remembered.cache_info().currsize, urls._resolved.cache_info().currsize
    for number in range(50):
        long = f"http://a.org/{number}/" + "x" * urls.REMEMBERED_CHARACTERS
        assert canonical(long) == long == resolve("http://a.org/", long)
    assert before == (urls._remembered.cache_info().currsize, urls._resolved.cache_info().currsize)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.org", "example.org"),
        ("example.org", "example.org"),
        ("news.bbc.co.uk", "bbc.co.uk"),
        ("www.prefeitura.sp.gov.br", "prefeitura.sp.gov.br"),
        ("someone.github.io", "someone.github.io"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_the_registrable_domain(host: str, domain: str) -> None:
    assert domain_of(host) == domain
    assert bucket_of(host) == bucket_of(domain)


def test_buckets_are_the_same_on_every_machine_and_about_equally_full() -> None:
    hosts = ["example.org", "www.example.org", "127.0.0.1", "localhost"]
    assert [bucket_of(host) for host in hosts] == [198, 198, 168, 178]
    counts = [0] * urls.BUCKETS
    for number in range(25_600):
        counts[bucket_of(f"host{number}.org")] += 1
    assert 50 < min(counts) <= max(counts) < 160


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("http://a.org/2024/05/01?page=3&x=1", "a.org/0/0/0?page&x"),
        ("https://a.org/2024/05/02?page=4&x=1", "a.org/0/0/0?page&x"),
        ("http://www2.a.org/t/deadbeef01.html", "www0.a.org/t/0.html"),
        ("http://a.org/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "a.org/0"),
        ("http://a.org/feedback/face", "a.org/feedback/face"),
        ("http://a.org/?a[1]=2&a[2]=3", "a.org/?a[0]"),
    ],
)
def test_the_pages_of_a_family_have_one_shape(url: str, shape: str) -> None:
    assert shape_of(url) == shape


def test_families_are_told_apart() -> None:
    pages = [
        "http://a.org/x/1",
        "http://a.org/y/1",
        "http://a.org/x/1?p=1",
        "http://a.org/x/1/",
        "http://b.org/x/1",
    ]
    assert all(shape_of(one) != shape_of(other) for one, other in itertools.combinations(pages, 2))

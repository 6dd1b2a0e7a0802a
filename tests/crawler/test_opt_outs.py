"""What pages, answers and sites say about being stored and followed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.markup import read_markup
from crawler.robots_txt import parse
from crawler.tdmrep import read_tdmrep, rule_for
from pipeline.corpus.opt_outs import TEXT_CHARACTERS, Honoured, OptOuts, opt_outs

ALL = Honoured()
NONE = Honoured(noindex=False, nofollow=False, noai=False, tdmrep=False, content_usage=False)
URL = "http://example.org/a/b.html"


def found(
    *headers: tuple[str, str], html: str = "", tdmrep: object = None, robots: str = "", url: str = URL
) -> OptOuts:
    rules = read_tdmrep(json.dumps(tdmrep).encode()) if tdmrep is not None else []
    statements = parse(f"User-agent: *\n{robots}".encode(), "moinho").statements(url)
    return opt_outs(headers, read_markup(html).metas, "moinho", url, rule_for(url, rules), statements)


def tag(value: str) -> str | None:
    return found(("X-Robots-Tag", value)).text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("noindex", "header:noindex"),
        ("NoIndex, NOFOLLOW", "header:nofollow header:noindex"),
        ("none", "header:nofollow header:noindex"),
        ("noai, noimageai", "header:noai header:noimageai"),
        ("all", None),
        ("index, follow", None),
        ("otherbot: noindex", None),
        ("moinho: noindex", "header:noindex"),
        ("Moinho : noindex, noai", "header:noai header:noindex"),
        ("googlebot: nofollow, otherbot: noindex, nofollow", None),
        ("googlebot: noindex, moinho: noai", "header:noai"),
        ("noindex, otherbot: noai", "header:noindex"),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", "header:noindex"),
        ("unavailable_after: Sunday, 25-Jun-10 15:00:00 PST", None),
        ("max-snippet: -1, max-image-preview:large, noai", "header:noai"),
        ("robots: noindex", "header:noindex"),
        ("noindexing", None),
        ("", None),
    ],
)
def test_x_robots_tag(value: str, text: str | None) -> None:
    assert tag(value) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<meta name=robots content=noindex>", "meta:noindex"),
        ("<META NAME=ROBOTS CONTENT='NOINDEX,NOFOLLOW'>", "meta:nofollow meta:noindex"),
        ("<meta name=robots content='noai noimageai'>", "meta:noai meta:noimageai"),
        ("<meta name=robots content=none>", "meta:nofollow meta:noindex"),
        ("<meta name=Moinho content=nofollow>", "meta:nofollow"),
        ("<meta name=googlebot content=noindex>", None),
        ("<meta name=robots content=all><meta name=moinho content=noai>", "meta:noai"),
        ("<meta name=description content=noindex>", None),
    ],
)
def test_meta_robots(html: str, text: str | None) -> None:
    assert found(html=html).text() == text


def test_each_opt_out_has_a_setting() -> None:
    for what, setting in [("noindex", "noindex"), ("noai", "noai"), ("noarchive", "noarchive")]:
        page = found(("X-Robots-Tag", what))
        assert page.forbids_storing(NONE) is None
        assert page.forbids_storing(Honoured(**{setting: True})) == f"{what} (header)"
        assert page.text() == f"header:{what}"
    images = found(("X-Robots-Tag", "noimageai"))
    assert images.forbids_storing(ALL) is None
    assert images.forbids_storing(Honoured(noimageai=True)) == "noimageai (header)"
    links = found(html="<meta name=robots content=nofollow>")
    assert links.forbids_following(ALL)
    assert not links.forbids_following(NONE)
    assert links.forbids_storing(ALL) is None
    for page in (found(("TDM-Reservation", "1")), found(("Content-Usage", "train-ai=n"))):
        assert page.forbids_storing(ALL)
        assert page.forbids_storing(NONE) is None


RULES = [
    {"location": "/a/*.pdf", "tdm-reservation": 1, "tdm-policy": "/policy.json"},
    {"location": "/a/open$", "tdm-reservation": 0},
    {"location": "/a/", "tdm-reservation": 1},
    {"location": "/", "tdm-reservation": 0},
]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "/a/x.pdf",
            "tdmrep.json:tdm-policy=http://example.org/policy.json tdmrep.json:tdm-reservation=1",
        ),
        ("/a/open", "tdmrep.json:tdm-reservation=0"),
        ("/a/open2", "tdmrep.json:tdm-reservation=1"),
        ("/b", "tdmrep.json:tdm-reservation=0"),
    ],
)
def test_the_first_rule_of_a_tdmrep_file_that_matches_counts(path: str, text: str) -> None:
    assert found(tdmrep=RULES, url=f"http://example.org{path}").text() == text


def test_a_page_goes_before_its_header_and_that_before_the_file() -> None:
    page = "<meta name=tdm-reservation content=0>"
    header = ("tdm-reservation", "1")
    assert found(header, html=page, tdmrep=RULES).text() == "meta:tdm-reservation=0"
    assert (
        found(header, tdmrep=[{"location": "/", "tdm-reservation": 0}]).text() == "header:tdm-reservation=1"
    )
    assert found(("tdm-reservation", "2"), tdmrep=RULES).text() == "tdmrep.json:tdm-reservation=1"
    policy = "<meta name=tdm-reservation content=1><meta name=tdm-policy content=' p q'>"
    expected = "meta:tdm-policy=http://example.org/a/p%20q meta:tdm-reservation=1"
    assert found(html=policy).text() == expected


UNREADABLE = [
    *(b"", b"{}", b"[1]", b"null", b"\xff", b"[" * 100_000, b"{" + b" " * (2 << 20)),
    b'[{"location": 1, "tdm-reservation": 1}]',
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_a_file_that_cannot_be_read_has_no_rules(body: bytes) -> None:
    assert read_tdmrep(body) == []


def test_a_lone_rule_and_a_text_for_a_number_are_read() -> None:
    assert len(read_tdmrep(b'{"location": "a", "tdm-reservation": "1"}')) == 1


@pytest.mark.parametrize(
    ("header", "robots", "text"),
    [
        ("train-ai=n", "", "header:train-ai=n"),
        ("train-ai=n;x=1, search=y", "", "header:search=y header:train-ai=n"),
        ("", "Content-Usage: train-ai=n", "robots.txt:train-ai=n"),
        ("", "Content-Signal: search=yes, ai-train=no", "robots.txt:ai-train=no robots.txt:search=yes"),
        ("", "Content-Usage: /b/ train-ai=n", None),
    ],
)  # fmt: skip
def test_preferences_about_use(header: str, robots: str, text: str | None) -> None:
    page = found(("Content-Usage", header), robots=robots)
    assert page.text() == text
    assert (page.forbids_storing(ALL) is not None) == (text is not None)


def test_leave_to_train_is_noted_and_forbids_nothing() -> None:
    page = found(("Content-Usage", "train-ai=y"), ("Content-Signal", "ai-train=yes"))
    assert page.text() == "header:ai-train=yes header:train-ai=y"
    assert page.forbids_storing(ALL) is None


NAMES = st.sampled_from(
    [
        "X-Robots-Tag",
        "TDM-Reservation",
        "TDM-Policy",
        "Content-Usage",
        "robots",
        "tdm-policy",
        "tdm-reservation",
    ]
)
WORDS = ["1", "none", "moinho:", "noai", "a=b", "http://[", ",", "unavailable_after: "]
VALUES = st.one_of(st.text(), st.sampled_from(WORDS))


@given(st.lists(st.tuples(NAMES, st.lists(VALUES).map("".join))), st.binary(), VALUES)
def test_any_statements_are_read(pairs: list[tuple[str, str]], body: bytes, location: str) -> None:
    rules = read_tdmrep(body) + read_tdmrep(
        json.dumps([{"location": location, "tdm-reservation": 1}]).encode()
    )
    page = opt_outs(pairs, pairs, "moinho", URL, rule_for(URL, rules), [value for _, value in pairs])
    assert len(page.text() or "") <= TEXT_CHARACTERS
    page.forbids_storing(ALL)

"""What is to be forgotten is found by host, page or place, and cleaning keeps none of it."""

import random
import re

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.compute import Compute
from pipeline.corpus.clean import CleanConfig, Documents, clean
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.forgotten import (
    Forgotten,
    NoRuleError,
    entries_in,
    forgotten_in,
    rules_of,
    write_entry,
)
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from tests.corpus.conftest import MakePages, WebPage
from tests.corpus.samples import ENGLISH, html

NAME = "Serafina Quintanilha"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("Example.ORG.", "example.org"),
        ("*.example.org", "example.org"),
        ("büro.example", "xn--bro-hoa.example"),
        ("localhost", "localhost"),
        ("127.0.0.1:8000", "https://127.0.0.1:8000/*"),
        ("http://example.org", "https://example.org/"),
        ("HTTP://Example.org:80/a/../b?y=2&x=1#top", "https://example.org/b?x=1&y=2"),
        ("https://example.org/~maria/*", "https://example.org/~maria/*"),
        ("example.org/~maria/*", "https://example.org/~maria/*"),
        ("http://[::1]:8000/a", "https://[::1]:8000/a"),
        ("letters/2019.jsonl#371", "letters/2019.jsonl#371"),
        ("letters/*", "letters/*"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("example.org/page#top", "https://example.org/page"),
        ("laws#urn://1/2", "laws#urn://1/2"),
        ("https://www.example.org./a", "https://www.example.org/a"),
        ("https://example.org/?author*", "https://example.org/?author*"),
    ],
)
def test_a_rule_has_one_spelling_and_keeps_it(written: str, rule: str) -> None:
    assert rules_of(written)[0] == rule == rules_of(rule)[0]


@pytest.mark.parametrize(
    "written",
    ["", " ", "?", "ftp://example.org/a", "https:///a", "two words", "a..b", "https://a.example/?b=1&c=*"],
)
def test_what_is_no_host_url_or_place_is_refused(written: str) -> None:
    with pytest.raises(NoRuleError, match=r"host|URL|query"):
        rules_of(written)


def test_what_may_be_a_url_or_a_place_is_both() -> None:
    assert rules_of("docs.v2/readme.md") == ("https://docs.v2/readme.md", "docs.v2/readme.md")
    assert rules_of("docs/readme.md") == ("docs/readme.md",)


@pytest.mark.parametrize(
    ("rule", "left_out", "kept"),
    [
        (
            "example.org",
            [
                "http://example.org/",
                "https://www.example.org:8443/a?b",
                "http://a.b.example.org/x",
                "http://example.org./",
                "https://ex%61mple.org/a",
                "rows#www.example.org/x",
                "rows#//example.org/x",
                "rows#HTTP://Example.org/x",
            ],
            ["http://example.org.br/", "http://notexample.org/", "http://org/", "example.org/notes.txt#3"],
        ),
        ("httpd/*", ["httpd/a.html"], ["http://httpd/a.html"]),
        ("https://example.org/?author*", ["http://example.org/?author_id=3"], ["http://example.org/?b=1"]),
        (
            "https://example.org/a",
            ["http://example.org/a", "https://example.org/a#b", "http://example.org:80/a"],
            ["http://example.org/a/", "http://example.org/ab", "http://www.example.org/a"],
        ),
        (
            "https://example.org/a*",
            ["http://example.org/a", "http://example.org/ab?c=1"],
            ["http://example.org/b", "http://example.org/"],
        ),
        ("letters/2019.jsonl#3", ["letters/2019.jsonl#3"], ["letters/2019.jsonl#37", "http://letters/"]),
        ("letters/*", ["letters/2019.jsonl#37"], ["other/letters/1", "http://letters/a"]),
    ],
)
def test_a_rule_is_about_its_own_and_no_more(rule: str, left_out: list[str], kept: list[str]) -> None:
    forgotten = Forgotten(frozenset(rules_of(rule)))
    assert [forgotten.rule_for(url) for url in left_out] == [rule] * len(left_out)
    assert [forgotten.rule_for(url) for url in kept] == [None] * len(kept)


LABEL = some.sampled_from(["a", "b", "org", "www"])
HOST = some.lists(LABEL, min_size=1, max_size=4).map(".".join)
URL = some.builds("http://{}/{}".format, HOST, some.text("ab/", max_size=4))
RULE = some.one_of(HOST, URL, URL.map("{}*".format))


@given(some.sets(RULE, max_size=6), URL)
def test_many_rules_are_each_rule_by_itself(written: set[str], url: str) -> None:
    rules = frozenset(rule for text in written for rule in rules_of(text))
    alone = {rule for rule in rules if Forgotten(frozenset({rule})).rule_for(url) is not None}
    found = Forgotten(rules).rule_for(url)
    assert found in alone if alone else found is None
    assert Forgotten(rules).only([url]).rules == ({found} if found else frozenset())


def test_what_was_taken_back_holds_no_longer_and_stays_written(store: Store) -> None:
    write_entry(store.storage, ["a.example", "b.example"], "by mail")
    write_entry(store.storage, ["a.example"], taken_back=True)
    assert forgotten_in(store.storage).rules == {"b.example"}
    write_entry(store.storage, ["a.example"])
    assert forgotten_in(store.storage).rules == {"a.example", "b.example"}
    assert [entry.taken_back for entry in entries_in(store.storage)] == [False, True, False]
    assert list(store.records()) == []


def pages_of(host: str, count: int, name: str) -> list[WebPage]:
    """Each with sentences of its own, or they would be duplicates."""
    pages = []
    for number in range(count):
        words = " ".join(ENGLISH).split()
        random.Random(f"{host} {number}").shuffle(words)
        lines = [" ".join(words[start : start + 12]) + "." for start in range(0, len(words), 12)]
        body = html((*lines, f"So says {name} of {lines[0]}"))
        pages.append(WebPage(f"http://{host}/{number}", body.encode()))
    return pages


def has(artifact: Documents, word: str) -> bool:
    """Whether a word stands anywhere in the artifact's tables."""
    tables = (pq.read_table(path) for path in artifact.paths("") if path.suffix == ".parquet")
    return any(word in str(value) for table in tables for row in table.to_pylist() for value in row.values())


def test_cleaning_keeps_nothing_of_what_is_forgotten_and_makes_nothing_else_anew(
    store: Store, make_pages: MakePages, here: Compute
) -> None:
    wanted, unwanted = pages_of("keep.example", 12, "Ana"), pages_of("leave.example", 12, NAME)
    unwanted.append(WebPage("http://leave.example/empty", f"<title>{NAME}</title>".encode()))
    mixed = extract(store, make_pages([*wanted, *unwanted]), None, ExtractConfig(shards=2), here)
    alone = extract(store, make_pages(wanted, name="alone"), None, ExtractConfig(shards=2), here)
    config = CleanConfig()
    before, other = clean(store, mixed, config, here), clean(store, alone, config, here)
    assert has(before, NAME)
    write_entry(store.storage, ["leave.example", "nobody.example"])
    after = clean(store, mixed, config, here)
    assert after.key != before.key
    assert clean(store, alone, config, here).key == other.key
    assert not has(after, NAME)
    rows = read_rows(after.paths("dropped/"))
    dropped = [row for row in rows if row["reason"] == "forgotten"]
    assert sorted(row["url"] for row in dropped) == sorted(page.url for page in unwanted)
    assert {row["detail"] for row in dropped} == {"leave.example"}
    assert {row["text"] + row["title"] for row in dropped} == {""}
    assert {row["url"] for row in read_rows(after.paths("kept/"))} == {
        row["url"] for row in read_rows(before.paths("kept/")) if "keep.example" in row["url"]
    }
    write_entry(store.storage, ["leave.example"], taken_back=True)
    assert clean(store, mixed, config, here).key == before.key


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("https:/docs.example/page", "write https://docs.example/page"),
        ("http:docs.example", "write http://docs.example"),
        ("https//docs.example/page", "write https://docs.example/page"),
        ("https://docs.example/*/page", "at the end alone"),
    ],
)
def test_what_is_nearly_a_url_is_no_place_in_a_file(written: str, told: str) -> None:
    with pytest.raises(NoRuleError, match=re.escape(told)):
        rules_of(written)

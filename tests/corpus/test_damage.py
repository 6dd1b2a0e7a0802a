"""What a wrong encoding, broken bytes and NULs do to documents is counted, and costs no clean copy."""

from typing import get_args

import pytest

from pipeline.corpus.charset import decode
from pipeline.corpus.clean import CleanConfig, Keeper, clean
from pipeline.corpus.damage import REPLACEMENT, replaced_share
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from tests.corpus.conftest import InThisProcess, MakePages, WebPage
from tests.corpus.samples import ENGLISH, GERMAN, PORTUGUESE, html
from tests.corpus.test_clean import raw_of, shuffled


@pytest.mark.parametrize("declared", [None, "utf-8", "iso-8859-1"])
@pytest.mark.parametrize("place", [10, 40, 300])
def test_utf8_with_a_broken_byte_is_still_utf8(place: int, declared: str | None) -> None:
    data = "\n".join(PORTUGUESE).encode()
    text = decode(data[:place] + b"\xff" + data[place:], declared)
    assert text.count(REPLACEMENT) == 1
    assert text.replace(REPLACEMENT, "").splitlines() == list(PORTUGUESE)


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252"])
def test_what_is_not_utf8_is_not_taken_for_damaged_utf8(encoding: str) -> None:
    assert PORTUGUESE[5] in decode("\n".join(PORTUGUESE).encode(encoding), "utf-8")
    chinese = "磨坊坐落在河流转弯的地方，它的轮子已经转动了两百年。" * 20
    assert decode(chinese.encode("gb18030"), "gb2312") == chinese


def test_the_share_of_lost_letters_is_what_a_wrong_encoding_makes_of_a_language() -> None:
    def wrong(sentences: tuple[str, ...]) -> float:
        return replaced_share("\n".join(sentences).encode("iso-8859-1").decode("utf-8", "replace"))

    assert replaced_share("") == replaced_share("mill") == 0
    assert replaced_share(REPLACEMENT) == 1
    assert replaced_share(f"m{REPLACEMENT}ll, 12 mills") == 1 / 9
    most = CleanConfig().replaced_letters
    assert wrong(ENGLISH) == 0
    assert wrong(PORTUGUESE) > most
    assert wrong(GERMAN) > most


def test_replaced_characters_and_removed_nuls_are_counted(
    store: Store, make_pages: MakePages, here: InThisProcess
) -> None:
    page = html(PORTUGUESE, language="pt").encode()
    pages = [
        WebPage("http://x/clean", page),
        WebPage("http://x/broken", page.replace("água".encode(), b"\xffgua").replace(b"escola", b"\xfe\xff")),
        WebPage("http://x/nul", page.replace(b"museu", b"mu\0seu\0")),
    ]
    counts = extract(store, make_pages(pages), None, ExtractConfig(shards=2), here).record.counts
    told = ("replaced-characters", "documents-with-replaced", "removed-nuls", "documents-with-nuls")
    assert [counts[name] for name in told] == [3, 1, 2, 1]
    alone = extract(store, make_pages(pages[:1], name="one"), None, ExtractConfig(), here).record.counts
    assert not set(told) & set(alone)


def test_a_document_that_lost_too_many_letters_is_dropped_as_damaged(
    store: Store, here: InThisProcess
) -> None:
    text = shuffled(PORTUGUESE, 1)
    damaged = text.encode("iso-8859-1").decode("utf-8", "replace")
    raw = raw_of(store, [("http://x/", damaged), ("http://y/", shuffled(ENGLISH, 2))], 0, 1, "raw")
    made = clean(store, raw, CleanConfig(), here)
    (dropped,) = read_rows(made.paths("dropped/"))
    assert (dropped["url"], dropped["reason"], dropped["threshold"]) == ("http://x/", "damaged", 0.005)
    assert dropped["value"] == pytest.approx(replaced_share(damaged), abs=1e-6)
    kept = clean(store, raw, CleanConfig(replaced_letters=1), here)
    assert "dropped.damaged" not in kept.record.counts


@pytest.mark.parametrize("keeper", get_args(Keeper))
def test_of_near_duplicates_the_damaged_one_goes_whatever_the_rule(
    store: Store, here: InThisProcess, keeper: Keeper
) -> None:
    text = shuffled(ENGLISH * 3, 1)
    damaged = text.removesuffix(".") + f" and the w{REPLACEMENT}eel turns on."
    # Each URL gives another id, so that by chance alone the damaged one would be the smallest of some.
    urls = [f"http://damaged/{number}" for number in range(5)]
    dates = dict.fromkeys(urls, "2024-01-01") | {"http://clean/": "2001-01-01"}
    documents = [("http://clean/", text), *((url, damaged) for url in urls)]
    made = clean(store, raw_of(store, documents, 0, 2, "raw", dates=dates), CleanConfig(keeper=keeper), here)
    assert [row["url"] for row in read_rows(made.paths("kept/"))] == ["http://clean/"]

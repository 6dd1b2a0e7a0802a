import pytest

from pipeline.compute import Compute
from pipeline.corpus.boilerplate import (
    PAGE,
    SAMPLED_PAGES,
    Choosing,
    Counting,
    Sizing,
    choose,
    count,
    line_hash,
    measure_sites,
    read_common,
    site_of,
    strip_lines,
)
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.forgotten import Forgotten
from pipeline.corpus.tables import RAW, read_rows, write_rows
from pipeline.shards import files_of
from pipeline.store import Attempt, Made, Store
from tests.corpus.conftest import Crawled
from tests.corpus.test_clean import raw_of


def test_common_lines_go_and_headings_tables_and_code_stay() -> None:
    text = "Menu\n\n# Menu\n\nOwn words.\n\n```\nMenu\n```\n\n| Menu |\n\n  Menu \n\nEnd."
    found = strip_lines(text, frozenset({line_hash("Menu"), line_hash("# Menu"), line_hash("| Menu |")}))
    assert found.text == "# Menu\n\nOwn words.\n\n```\nMenu\n```\n\n| Menu |\n\nEnd."
    assert found.removed == ("Menu", "Menu")


def test_a_text_without_common_lines_is_left_as_it_is() -> None:
    text = "\n\n\n\nOwn words.  \n"
    assert strip_lines(text, frozenset({line_hash("Menu")})).text == text


def test_neither_spaces_nor_numbers_make_another_line() -> None:
    assert line_hash("Page 3  of 17") == line_hash(" Page 12 of 17 ")
    assert line_hash("Page three") != line_hash("Page four")


@pytest.mark.parametrize(
    ("url", "kind", "site"),
    [
        ("https://example.org:8080/a/b", "web", "example.org:8080"),
        ("https://example.org/a/b", "article", "example.org"),
        ("https://example.org/a/b", "book", None),
        ("shelf/manuals/one.html", "documentation", "shelf"),
        ("shelf#17", "thread", "shelf"),
        ("file:///a/b", "web", "shelf"),
        ("shelf/one.pdf", "article", None),
        ("shelf/one.epub", "book", None),
    ],
)
def test_a_site_is_a_host_or_a_source_and_a_work_of_its_own_has_none(
    store: Store, here: Compute, url: str, kind: str, site: str | None
) -> None:
    row = {"id": "0" * 32, "source": "shelf", "url": url, "kind": kind}
    assert site_of(row) == site

    def build(attempt: Attempt) -> Made:
        many = dict.fromkeys(RAW.names) | row | {"text": "", "bytes": 0}
        write_rows(attempt.path("raw/00000.parquet"), [many] * (SAMPLED_PAGES + 1), RAW)
        return Made(files=attempt.publish_folder("raw"), counts={})

    def measure(attempt: Attempt) -> Made:
        sized = here.map_shards(attempt, "sites", {"all": Sizing(raw, Forgotten())}, measure_sites)
        return Made(files=files_of(sized), counts={})

    raw = store.make(RawDocuments, Crawled(name="raw"), {}, build)
    large = store.make(RawDocuments, Crawled(name="large"), {"raw": raw}, measure)
    assert [row["site"] for row in read_rows(large.paths("large"))] == [site] * (site is not None)


def letters(number: int) -> str:
    """A line that no other number has."""
    return f"Own {number:b}".replace("0", "x").replace("1", "y")


def test_of_a_large_site_a_sample_of_pages_decides(store: Store, here: Compute) -> None:
    pages = [
        (f"http://x/{number}", f"Often {number}\n\n{letters(number)}\n\n{'' if number % 20 else 'Seldom'}")
        for number in range(2 * SAMPLED_PAGES)
    ]
    raw = raw_of(store, [*pages, ("http://y/", "Often 1")], 0, 3, "raw")

    def build(attempt: Attempt) -> Made:
        sized = here.map_shards(attempt, "sites", {"all": Sizing(raw, Forgotten())}, measure_sites)
        shards = [name.removeprefix("raw/").removesuffix(".parquet") for name in raw.names("raw/")]
        counted = here.map_shards(
            attempt,
            "lines",
            {shard: Counting(raw, shard, attempt, sized[0], Forgotten()) for shard in shards},
            count,
        )
        chosen = here.map_shards(
            attempt, "boilerplate", {"all": Choosing(attempt, tuple(counted), 10, 0.3)}, choose
        )
        return Made(files=files_of(counted + chosen), counts={})

    made = store.make(RawDocuments, Crawled(name="chosen"), {}, build)
    assert read_common(made.paths("common.parquet")) == {"x": frozenset({line_hash("Often 7")})}
    sampled = sum((row["site"], row["hash"]) == ("x", PAGE) for row in read_rows(made.paths("lines/")))
    assert 0.8 * SAMPLED_PAGES < sampled < 1.2 * SAMPLED_PAGES

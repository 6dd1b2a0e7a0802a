import sys
from functools import partial
from pathlib import Path

import pytest

from pipeline.compute import Compute
from pipeline.corpus import candidates, extract_shards
from pipeline.corpus import extract as stage
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.extractor_process import ExtractorProcess
from pipeline.corpus.tables import PagesLostError, bucket_of, read_rows
from pipeline.shards import ShardOutput
from pipeline.store import Store
from tests.corpus.conftest import MakePages, WebPage
from tests.corpus.samples import ENGLISH, PORTUGUESE, html

HOSTILE = [sys.executable, str(Path(__file__).with_name("hostile_extractor.py"))]
PAGES = [
    *(WebPage(f"http://x/{n}", html((*ENGLISH, f"This is the page number {n}.")).encode()) for n in range(9)),
    WebPage(
        "http://x/pt", html(PORTUGUESE, language="pt").encode("iso-8859-1"), "text/html; charset=ISO-8859-1"
    ),
    WebPage("http://x/empty", b"<html><body></body></html>"),
    WebPage("http://x/deep", b"<div>" * 5_000 + b"deep"),
    WebPage("http://x/large", b"<p>large</p>" * 10_000),
]
CONFIG = ExtractConfig(shards=3, page_bytes=50_000)


def test_every_page_becomes_one_document_or_one_reason(
    store: Store, make_pages: MakePages, compute: Compute
) -> None:
    raw = extract(store, make_pages(PAGES), None, CONFIG, compute)
    documents, dropped = read_rows(raw.paths("raw/")), read_rows(raw.paths("dropped/"))
    assert sorted(row["url"] for row in documents + dropped) == sorted(page.url for page in PAGES)
    assert {row["url"][9:]: row["reason"] for row in dropped} == {
        "empty": "empty",
        "deep": "too-deep",
        "large": "too-large",
    }
    portuguese = next(row for row in documents if row["url"] == "http://x/pt")
    assert PORTUGUESE[5] in portuguese["text"]
    assert portuguese["html_language"] == "pt"
    counts = raw.record.counts
    assert counts["pages"] == len(PAGES)
    assert counts["pages"] == counts["raw"] + sum(
        n for name, n in counts.items() if name.startswith("dropped.")
    )


def test_a_page_that_is_lost_on_the_way_stops_the_stage(
    store: Store, make_pages: MakePages, here: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_parts = extract_shards.parts
    monkeypatch.setattr(extract_shards, "parts", lambda read, number: all_parts(read, number)[1:])
    with pytest.raises(PagesLostError, match=r"extract: 13 pages went in, \d+ came out"):
        extract(store, make_pages(PAGES), None, CONFIG, here)
    assert all(record.stage != "extract" for record in store.records())


def test_shards_are_sorted_by_id_and_hold_their_bucket(
    store: Store, make_pages: MakePages, here: Compute
) -> None:
    raw = extract(store, make_pages(PAGES), None, CONFIG, here)
    assert raw.names("raw/") == [f"raw/{n:05d}.parquet" for n in range(3)]
    for number, path in enumerate(raw.paths("raw/")):
        ids = [row["id"] for row in read_rows([path])]
        assert ids == sorted(ids)
        assert all(bucket_of(identity, 3) == number for identity in ids)


def test_bytes_do_not_depend_on_files_order_or_slices(
    store: Store, make_pages: MakePages, here: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = extract(store, make_pages(PAGES, name="one"), None, CONFIG, here)
    monkeypatch.setattr(stage, "PAGES_PER_SHARD", 2)
    other = extract(store, make_pages(PAGES[::-1], warcs=3, name="other"), None, CONFIG, here)
    assert one.key != other.key
    assert one.record.digest == other.record.digest
    assert one.record.counts == other.record.counts


def test_hostile_pages_are_dropped_with_their_reason_and_the_rest_goes_on(
    make_pages: MakePages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"SLEEP": "extractor-timeout", "CRASH": "extractor-crash", "RAISE": "extractor-error"}
    pages = make_pages(
        [PAGES[0], *(WebPage(f"http://x/{word}", f"<p>{word}</p>".encode()) for word in words), PAGES[1]]
    )
    monkeypatch.setattr(candidates, "ExtractorProcess", partial(ExtractorProcess, command=HOSTILE))
    config = ExtractConfig(shards=1, cpu_seconds=0.15)
    ((_, part),) = extract_shards.slices(pages, config, 100)
    extract_shards.read_slice(part, ShardOutput(tmp_path))
    dropped = read_rows([tmp_path / "00000/dropped/00000.parquet"])
    assert {row["url"].removeprefix("http://x/"): row["reason"] for row in dropped} == words
    assert len(read_rows([tmp_path / "00000/raw/00000.parquet"])) == 2


def test_a_damaged_record_costs_only_its_page(store: Store, make_pages: MakePages, here: Compute) -> None:
    pages = make_pages(PAGES[:3])
    damaged = sorted(pages.entries(), key=lambda entry: entry.offset)[1]
    with pages.path(damaged.warc).open("r+b") as file:
        file.seek(damaged.offset + 20)
        file.write(b"\xff" * (damaged.length - 40))
    raw = extract(store, pages, None, CONFIG, here)
    assert raw.record.counts["raw"] == 2
    (dropped,) = read_rows(raw.paths("dropped/"))
    assert (dropped["url"], dropped["reason"]) == (damaged.url, "broken-record")

"""A recrawl's documents are whole: the bodies of unchanged pages are read from the earlier crawls."""

import hashlib
import json
from pathlib import Path

import pytest

from crawler.recrawl import original_of
from crawler.warc import Archive, Exchange, Place
from pipeline.compute import Compute
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.pages import OriginalMissingError, Pages
from pipeline.corpus.tables import read_rows
from pipeline.store import Attempt, Made, Store
from pipeline.store.discard import leftovers
from tests.corpus.conftest import Crawled
from tests.corpus.samples import ENGLISH, html

CONFIG = ExtractConfig(extractor="resiliparse", shards=1)
Lines = dict[str, tuple[str, str | None]]
"""URL → outcome, and the text of its page where it was fetched."""


def body(text: str) -> bytes:
    return html((*ENGLISH, f"This page says {text}.")).encode()


def exchange(url: str, content: bytes, status: str = "200 OK") -> Exchange:
    return Exchange(
        url,
        "2026-01-01T00:00:00Z",
        None,
        [("Host", "x")],
        "HTTP/1.1",
        status,
        [("Content-Type", "text/html")],
        content,
    )


def crawled(store: Store, name: str, lines: Lines, earlier: Pages | None = None) -> Pages:
    """A crawl, in two partitions, that came to these outcomes."""

    def build(attempt: Attempt) -> Made:
        for partition in range(2):
            mine = {
                url: found
                for number, (url, found) in enumerate(sorted(lines.items()))
                if number % 2 == partition
            }
            log = write_partition(attempt, f"{partition:02d}", mine, earlier)
            path = attempt.path(f"crawl-log/{partition:02d}.jsonl")
            path.write_text("".join(json.dumps(line) + "\n" for line in log))
        kept = sum(outcome in ("page", "unchanged", "not-due") for outcome, _ in lines.values())
        unchanged = sum(outcome == "unchanged" for outcome, _ in lines.values())
        files = attempt.publish_folder("warc") | attempt.publish_folder("crawl-log")
        return Made(files, {"pages": kept, "outcome.unchanged": unchanged})

    return store.make(Pages, Crawled(name=name), {"earlier": earlier}, build)


def write_partition(
    attempt: Attempt, name: str, lines: Lines, earlier: Pages | None
) -> list[dict[str, object]]:
    archive = Archive(attempt.path("warc"), name, "moinho/test", file_bytes=4_000)
    log: list[dict[str, object]] = []
    for url, (outcome, text) in lines.items():
        content = body(text) if text is not None else b""
        place: Place | None = None
        if outcome == "page":
            place = archive.write(exchange(url, content))
        elif outcome == "unchanged":
            assert earlier is not None
            status = "200 OK" if text else "304 Not Modified"
            place = archive.write_revisit(exchange(url, content, status), original_of(stored(earlier, url)))
        told = {"warc": f"warc/{place.warc}", "offset": place.offset, "length": place.length} if place else {}
        digest = hashlib.sha256(content).hexdigest() if content else None
        kind = "text/html"
        log.append({"url": url, "outcome": outcome, "content_type": kind, "sha256": digest} | told)
    archive.close()
    return log


def stored(pages: Pages, url: str) -> dict[str, str]:
    """The WARC headers of what the crawl itself stored for the URL."""
    from fastwarc.warc import ArchiveIterator

    for path in pages.paths("warc/"):
        for record in ArchiveIterator(str(path), parse_http=False):
            if record.headers.get("WARC-Target-URI") == url and record.headers["WARC-Type"] in (
                "response",
                "revisit",
            ):
                found: dict[str, str] = record.headers.to_dict()
                return found
    raise KeyError(url)


FIRST: Lines = {f"http://x/{name}": ("page", name) for name in "abcdef"}
SECOND: Lines = {
    "http://x/a": ("unchanged", None),
    "http://x/b": ("unchanged", "b"),
    "http://x/c": ("page", "something new"),
    "http://x/d": ("gone", None),
    "http://x/e": ("not-due", None),
    "http://x/g": ("page", "g"),
    "http://x/h": ("robots", None),
}
THIRD: Lines = {
    **SECOND,
    "http://x/b": ("page", "b once more"),
    "http://x/c": ("unchanged", None),
    "http://x/g": ("not-due", None),
}
TEXTS = {"a": "a", "b": "b once more", "c": "something new", "e": "e", "g": "g"}


@pytest.fixture
def recrawls(store: Store) -> list[Pages]:
    first = crawled(store, "first", FIRST)
    second = crawled(store, "second", SECOND, first)
    return [first, second, crawled(store, "third", THIRD, second)]


def test_a_recrawl_gives_the_documents_of_a_crawl_of_all_pages(
    store: Store, recrawls: list[Pages], here: Compute
) -> None:
    third = recrawls[-1]
    whole = crawled(store, "whole", {f"http://x/{name}": ("page", text) for name, text in TEXTS.items()})
    raw, expected = (extract(store, pages, None, CONFIG, here) for pages in (third, whole))
    assert raw.record.digest == expected.record.digest
    assert raw.record.counts["raw"] == len(TEXTS)
    entries = {entry.url.removeprefix("http://x/"): entry.crawl for entry in third.entries()}
    first, second = (pages.key for pages in recrawls[:2])
    assert entries == {"a": first, "b": third.key, "c": second, "e": first, "g": second}


def test_the_earlier_crawls_are_kept_as_long_as_the_latest(store: Store, recrawls: list[Pages]) -> None:
    store.name("mine/pages", recrawls[-1])
    assert leftovers(store).artifacts == []
    store.name("mine/pages", recrawls[0])
    assert len(leftovers(store).artifacts) == 2


def test_a_body_that_is_not_the_one_that_was_logged_is_no_document(
    store: Store, recrawls: list[Pages], here: Compute
) -> None:
    first = recrawls[0]
    entry = next(entry for entry in first.entries() if entry.url == "http://x/a")
    archive = Archive(Path(store.storage.full("")) / "other", "00", "moinho/test")
    place = archive.write(exchange("http://x/a", html(ENGLISH[:3]).encode()))
    other = (archive.folder / place.warc).read_bytes()[place.offset : place.offset + place.length]
    archive.close()
    with first.path(entry.warc).open("r+b") as file:
        file.seek(entry.offset)
        assert len(other) <= entry.length
        file.write(other)
    raw = extract(store, recrawls[1], None, CONFIG, here)
    (dropped,) = read_rows(raw.paths("dropped/"))
    assert (dropped["url"], dropped["reason"]) == ("http://x/a", "broken-record")
    assert "not the body" in dropped["detail"]


def test_a_page_whose_original_is_nowhere_is_told(store: Store) -> None:
    first = crawled(store, "first", FIRST)
    second = crawled(store, "second", {"http://x/zz": ("not-due", None)}, first)
    with pytest.raises(
        OriginalMissingError, match=rf"http://x/zz is not-due, and has no page in {first.base}"
    ):
        list(second.entries())
    alone = crawled(store, "alone", {"http://x/a": ("not-due", None)})
    with pytest.raises(OriginalMissingError, match="there is no earlier crawl"):
        list(alone.entries())

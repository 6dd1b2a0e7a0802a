"""Archives that others wrote give the documents that a crawl of the same pages gives."""

import gzip
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

import crawler.ingest_shards
from crawler.crawl import CrawlConfig, crawl
from crawler.ingest import (
    ArchiveChangedError,
    ArchiveMissingError,
    DamagedArchiveError,
    IngestConfig,
    IngestedPages,
    NoArchiveError,
    NoPagesInArchivesError,
    ingest,
    sources_of,
)
from crawler.warc import NOT_MODIFIED, Archive, Original
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.pages import Pages
from pipeline.corpus.tables import read_rows
from pipeline.store import PlanningStore, Store
from tests.corpus.conftest import InThisProcess
from tests.corpus.samples import ENGLISH, html
from tests.crawler.file_server import serve_files
from tests.crawler.test_warc import exchange
from tests.crawler.web import Answer, serve

LOOPBACK = {"private_hosts": ("127.0.0.1",), "delay_seconds": 0, "requests_per_host": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def here() -> Compute:
    return InThisProcess(ComputeConfig())


def site() -> dict[str, Answer]:
    links = [f"/{number}" for number in range(12)]
    anchors = "".join(f'<a href="{link}">{link}</a> ' for link in [*links, "/gone", "/notes.txt"])
    pages = {"/": Answer((html(ENGLISH) + anchors).encode())}
    for link in links:
        pages[link] = Answer(html((*ENGLISH, f"This is the page {link}.")).encode())
    pages["/3"] = Answer(pages["/3"].body, headers={})
    pages["/4"] = Answer(
        gzip.compress(pages["/4"].body), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}
    )
    pages["/notes.txt"] = Answer(b"notes", headers={"Content-Type": "text/plain"})
    return pages


def documents(store: Store, pages: Pages, here: Compute) -> list[dict[str, Any]]:
    raw = extract(store, pages, None, ExtractConfig(extractor="resiliparse", shards=1), here)
    assert raw.record.counts["pages"] == pages.record.counts["pages"]
    return read_rows(raw.paths("raw/"))


def outcomes(pages: Pages) -> dict[str, str]:
    return {line["url"].removeprefix("http://example.org/"): line["outcome"] for line in pages.log()}


def test_a_crawls_archive_gives_the_crawls_documents(store: Store, compute: Compute, tmp_path: Path) -> None:
    """With another writer's archive of the same site beside it, if wget is here."""
    with serve(site()) as web:
        crawled = crawl(store, None, CrawlConfig(seeds=(web.url(),), **LOOPBACK), compute)
        wget = shutil.which("wget")
        if wget:
            command = [
                wget,
                "-q",
                "-r",
                "-l",
                "2",
                f"--warc-file={tmp_path}/wget",
                "-P",
                str(tmp_path / "got"),
                web.url(),
            ]
            subprocess.run(command, check=False, timeout=60)
    expected = documents(store, crawled, compute)
    warcs = tuple(str(path) for path in crawled.paths("warc/"))
    ingested = ingest(store, IngestConfig(archives=warcs), compute)
    assert documents(store, ingested, compute) == expected
    assert len(expected) == 13
    again = ingest(store, IngestConfig(archives=warcs[::-1]), compute)
    assert again.record == ingested.record
    if wget:
        others = ingest(store, IngestConfig(archives=(f"{tmp_path}/wget*.warc.gz",)), compute)
        assert documents(store, others, compute) == expected
        assert others.record.counts["outcome.http-error"] >= 1


def common_crawl(
    records: list[tuple[str, str, dict[str, str], list[tuple[str, str]] | None, bytes]],
) -> bytes:
    """A file as Common Crawl has them: WARC/1.0, a gzip member each. Type, URL, further WARC headers, HTTP
    status and headers, block."""
    target = io.BytesIO()
    writer = WARCWriter(target, gzip=True, warc_version="WARC/1.0")
    writer.write_record(writer.create_warcinfo_record("CC-MAIN-x.warc.gz", {"isPartOf": "CC-MAIN-2024-51"}))
    for kind, url, fields, http, block in records:
        headers = None
        if http is not None:
            status, *pairs = http
            headers = StatusAndHeaders(status[1], pairs, protocol="HTTP/1.1")
        about = {"WARC-Date": "2024-12-01T00:00:00Z"} | fields
        record = writer.create_warc_record(
            url, kind, payload=io.BytesIO(block), http_headers=headers, warc_headers_dict=about
        )
        writer.write_record(record)
    return target.getvalue()


def answer(status: str, **headers: str) -> list[tuple[str, str]]:
    return [("", status), *((name.replace("_", "-"), value) for name, value in headers.items())]


HTML = answer("200 OK", Content_Type="text/html; charset=utf-8")
PAGE = html(ENGLISH).encode()
CHUNKED = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (PAGE[:5], len(PAGE) - 5, PAGE[5:])
NOT_HTTP = gzip.compress(
    b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://example.org/raw\r\n"
    b"WARC-Date: 2024-12-01T00:00:00Z\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n"
    % (len(PAGE), PAGE)
)
MAIN = NOT_HTTP + common_crawl(
    [
        ("request", "http://example.org/a", {}, None, b"GET /a HTTP/1.1\r\n\r\n"),
        ("response", "http://example.org/a?utm_source=x", {}, HTML, PAGE),
        ("metadata", "http://example.org/a", {}, None, b"fetchTimeMs: 12\r\n"),
        ("response", "http://example.org/cut", {"WARC-Truncated": "length"}, HTML, PAGE[:1000]),
        ("response", "http://example.org/noai", {}, [*HTML, ("X-Robots-Tag", "noai")], PAGE),
        ("response", "<http://example.org/twice>", {}, HTML, PAGE + b"<p>first</p>"),
        ("response", "http://other.example/", {}, HTML, PAGE),
        ("response", "http://example.org/odd", {}, [*HTML, ("Transfer-Encoding", "chunked")], CHUNKED),
        ("response", "dns:example.org", {"Content-Type": "text/dns"}, None, b"example.org. 1 IN A 1.2.3.4"),
    ]
)  # fmt: skip
LATER = common_crawl(
    [
        (
            "response",
            "http://example.org/twice",
            {"WARC-Date": "2024-12-02T00:00:00Z"},
            HTML,
            PAGE + b"<p>second</p>",
        )
    ]
)
DIAGNOSTICS = common_crawl(
    [
        ("response", "http://example.org/moved", {}, answer("301 Moved", Location="/a"), b""),
        ("response", "http://example.org/lost", {}, answer("404 Not Found", Content_Type="text/html"), PAGE),
        ("revisit", "http://example.org/same", {"WARC-Profile": NOT_MODIFIED}, answer("304 Same"), b""),
    ]
)  # fmt: skip
ROBOTS = common_crawl(
    [
        (
            "response",
            "http://example.org/robots.txt",
            {},
            answer("200 OK", Content_Type="text/plain"),
            b"User-agent: *",
        )
    ]
)
WET = common_crawl([("conversion", "http://example.org/a", {"Content-Type": "text/plain"}, None, b"text")])


@pytest.fixture
def crawl_dump() -> Iterator[Any]:
    names = {"main": MAIN, "later": LATER, "crawldiagnostics": DIAGNOSTICS, "robotstxt": ROBOTS}
    with serve_files({f"/cc/{name}.warc.gz": data for name, data in names.items()}) as files:
        yield files


def test_common_crawls_files_are_fetched_by_their_list(
    store: Store, here: Compute, crawl_dump: Any, tmp_path: Path
) -> None:
    paths = tmp_path / "warc.paths.gz"
    paths.write_bytes(gzip.compress("".join(f"{path[1:]}\n" for path in crawl_dump.content).encode()))
    crawl_dump.faults = ["400", "300"]
    config = IngestConfig(list_file=str(paths), prefix=crawl_dump.url("/"), allow=("example.org",))
    pages = ingest(store, config, here)
    assert outcomes(pages) == {
        "a": "page",
        "twice": "page",
        "odd": "page",
        "cut": "truncated",
        "raw": "not-http",
        "noai": "opt-out",
        "http://other.example/": "out-of-scope",
        "dns:example.org": "refused-scheme",
        "moved": "redirect",
        "lost": "http-error",
        "same": "no-original",
        "robots.txt": "not-html",
    }
    counts = pages.record.counts
    assert (counts["archives"], counts["captures"], counts["pages"], counts["tried"]) == (4, 13, 3, 12)
    assert (counts["records.request"], counts["records.metadata"], counts["damaged"]) == (1, 1, 0)
    lines = {line["url"]: line for line in pages.log()}
    assert list(lines) == sorted(lines)
    assert lines["http://example.org/twice"]["fetched"] == "2024-12-02T00:00:00Z"
    assert lines["http://example.org/cut"]["archive"] == "main.warc.gz"
    texts = {row["url"]: row["text"] for row in documents(store, pages, here)}
    assert set(texts) == {f"http://example.org/{name}" for name in ("a", "twice", "odd")}
    assert texts["http://example.org/odd"] == texts["http://example.org/a"]
    archives = [json.loads(line) for line in pages.path("archives.jsonl").read_text().splitlines()]
    assert {told["place"] for told in archives} == {crawl_dump.url(path) for path in crawl_dump.content}
    assert sum(asked is not None for asked in crawl_dump.ranges) == 2
    assert not list(Path(store.storage.full(pages.base)).glob("scratch"))


def test_what_was_read_is_not_read_again_after_a_kill(
    store: Store, here: Compute, crawl_dump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IngestConfig(archives=tuple(map(crawl_dump.url, crawl_dump.content)))
    logged = crawler.ingest_shards.logged

    def killed(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(crawler.ingest_shards, "logged", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest(store, config, here)
    asked = len(crawl_dump.ranges)
    monkeypatch.setattr(crawler.ingest_shards, "logged", logged)
    assert ingest(store, config, here).record.counts["archives"] == 4
    assert len(crawl_dump.ranges) == asked


def test_a_revisit_has_the_body_that_it_refers_to(store: Store, here: Compute, tmp_path: Path) -> None:
    first = Archive(tmp_path / "first", "00", "moinho/test")
    second = Archive(tmp_path / "second", "00", "moinho/test")
    page = exchange("http://example.org/a", PAGE)
    stored = first.write(page)
    original = Original(page.url, page.fetched, stored.record_id, stored.digest)
    second.write_revisit(page, original)
    second.write_revisit(exchange("http://example.org/copy", PAGE), original)
    second.write_revisit(
        exchange("http://example.org/lost", b"x"), Original("http://example.org/z", page.fetched)
    )
    for archive in (first, second):
        archive.close()
    pages = ingest(store, IngestConfig(archives=(f"{tmp_path}/*/*.warc.gz",)), here)
    assert outcomes(pages) == {"a": "page", "copy": "page", "lost": "no-original"}
    assert [row["url"] for row in sorted(documents(store, pages, here), key=lambda row: row["url"])] == [
        "http://example.org/a",
        "http://example.org/copy",
    ]


def test_the_key_is_of_the_content_not_of_where_it_lies(store: Store, here: Compute, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.warc.gz").write_bytes(MAIN)
    planned = PlanningStore(str(tmp_path / "empty"))

    def key(**fields: Any) -> str:
        return ingest(planned, IngestConfig(**fields), here).key

    one = key(archives=(f"{tmp_path}/a/a.warc.gz",))
    assert key(archives=(f"{tmp_path}/b/*.gz", f"{tmp_path}/a/a.warc.gz")) == one
    assert key(archives=(f"{tmp_path}/a/a.warc.gz",), keep_truncated=True) != one
    (tmp_path / "a/a.warc.gz").write_bytes(LATER)
    assert key(archives=(f"{tmp_path}/a/a.warc.gz",)) != one
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (WET, NoArchiveError, r"x has 1 conversion records and no response \(it is a WET file"),
        (b"<!doctype html>", NoArchiveError, r"x, offset 0: found b'<!doctype html>', where a record"),
        (b"\x28\xb5\x2f\xfd....", NoArchiveError, r"x, offset 0: packed by zstd; unpack it"),
        (b"", NoArchiveError, r"x is empty"),
        (MAIN[:-20], DamagedArchiveError, r"x, offset [\d,]+: the file ends within a gzip member. 1 places"),
        (ROBOTS, NoPagesInArchivesError, r"1 archives have 1 captures and no page \(not-html 1\)"),
    ],
    ids=["wet", "html", "zstd", "empty", "torn", "robots"],
)  # fmt: skip
def test_a_file_that_is_no_archive_of_pages_is_told_with_its_place(
    store: Store, here: Compute, tmp_path: Path, data: bytes, error: type[Exception], message: str
) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(error, match=message):
        ingest(store, IngestConfig(archives=(str(tmp_path / "x"),)), here)


def test_damage_that_is_allowed_costs_what_is_damaged(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(MAIN[:-20])
    config = IngestConfig(archives=(str(path),))
    with pytest.raises(DamagedArchiveError, match=r"compute\.damaged_records=1"):
        ingest(store, config, InThisProcess(ComputeConfig()))
    pages = ingest(store, config, InThisProcess(ComputeConfig(damaged_records=1)))
    assert pages.record.counts["damaged"] == 1
    assert pages.record.counts["pages"] == 4
    (told,) = map(json.loads, pages.path("archives.jsonl").read_text().splitlines())
    assert told["damage"][0]["fault"] == "the file ends within a gzip member"


def test_a_file_that_changes_meanwhile_is_told(store: Store, here: Compute, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(MAIN)
    config = IngestConfig(archives=(str(path),))
    (source,) = sources_of(config)
    path.write_bytes(LATER)
    part = crawler.ingest_shards.Part(None, source, config, "moinho/test")  # type: ignore[arg-type]
    with pytest.raises(ArchiveChangedError, match=rf"{path} has changed"):
        crawler.ingest_shards.read_archive(part, None)  # type: ignore[arg-type]


def test_archives_that_are_not_there_are_told_before_anything_starts(tmp_path: Path) -> None:
    def told(**fields: Any) -> str:
        with pytest.raises(ArchiveMissingError) as caught:
            sources_of(IngestConfig(**fields))
        return str(caught.value)

    assert f"there is no file {tmp_path}/*.gz" in told(archives=(f"{tmp_path}/*.gz",))
    assert f"{tmp_path} is a folder; write {tmp_path}/*.warc.gz" in told(archives=(str(tmp_path),))
    assert "s3://bucket/a is not read" in told(archives=("s3://bucket/a",))
    assert "list_file" in told(list_file=str(tmp_path / "paths"))
    with pytest.raises(ValidationError, match="there is nothing to ingest"):
        IngestConfig()
    with pytest.raises(ValidationError, match="set list_file"):
        IngestConfig(archives=("a",), prefix="b")


def test_an_ingested_artifact_is_called_pages_too() -> None:
    assert (IngestedPages.stage, IngestedPages.role) == ("ingest", Pages.role)

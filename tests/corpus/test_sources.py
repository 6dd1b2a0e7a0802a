import gzip
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus import download, http_download, local_files
from pipeline.corpus.clean import CleanConfig, clean
from pipeline.corpus.download import UnreachableSourceError
from pipeline.corpus.extract import ExtractConfig, RawDocuments, extract
from pipeline.corpus.http_download import DownloadError
from pipeline.corpus.local_files import LocalFile, NoSuchSourceError
from pipeline.corpus.readers import files as parts
from pipeline.corpus.readers.unreadable import NoTextColumnError, UnreadableFileError
from pipeline.corpus.sources import SourceConfig, Sources, take_in
from pipeline.corpus.sources_shards import DatasetUnavailableError, SourceChangedError
from pipeline.corpus.tables import read_rows
from pipeline.errors import UnreadableShardError
from pipeline.shards import ShardUnreadableError
from pipeline.store import Store
from tests.corpus.conftest import MakePages, WebPage
from tests.corpus.samples import ENGLISH, PORTUGUESE, html

CONFIG = ExtractConfig(shards=2, page_bytes=20_000)


def taken(store: Store, compute: Compute, *sources: SourceConfig) -> Sources:
    found = take_in(store, sources, compute)
    assert found is not None
    return found


def raw_of(store: Store, compute: Compute, *sources: SourceConfig) -> RawDocuments:
    return extract(store, None, taken(store, compute, *sources), CONFIG, compute)


def rows_of(raw: RawDocuments) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """Raw documents by URL, and the reasons of those dropped."""
    documents, dropped = read_rows(raw.paths("raw/")), read_rows(raw.paths("dropped/"))
    assert raw.record.counts["pages"] == len(documents) + len(dropped)
    return {row["url"]: row for row in documents}, {row["url"]: row["reason"] for row in dropped}


def as_row(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("\n".join(ENGLISH))
    (folder / "deep/b.md").write_text(
        "---\ntitle: O moinho\nauthor: Ana Lima\ndate: 2021-03-04\nlicense: CC-BY-4.0\n---\n"
        "# O moinho\n\n" + "\n\n".join(PORTUGUESE)
    )
    (folder / "c.html").write_text(html(ENGLISH))
    (folder / ".hidden.txt").write_text("not seen")
    return folder


def test_a_file_that_changes_after_it_was_listed_is_not_taken_in(
    store: Store, here: Compute, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_local = local_files.list_local

    def list_and_change(source: SourceConfig) -> Sequence[LocalFile]:
        found = list_local(source)
        (corpus / "a.txt").write_text("Somebody still writes.")
        return found

    monkeypatch.setattr(local_files, "list_local", list_and_change)
    with pytest.raises(SourceChangedError, match=r"a\.txt changed after it was listed"):
        take_in(store, [SourceConfig(name="notes", path=str(corpus))], here)


def test_every_file_of_a_folder_becomes_a_document_with_its_provenance(
    store: Store, here: Compute, corpus: Path
) -> None:
    (corpus / "odd.bin").write_bytes(b"\x00\x01\x02" * 50)
    (corpus / "none.txt").touch()
    source = SourceConfig(name="notes", path=str(corpus), kind="article", licence="CC0-1.0", language="en")
    sources = taken(store, here, source)
    assert [file.path for file in sources.files.listing()] == [
        "a.txt", "c.html", "deep/b.md", "none.txt", "odd.bin",
    ]  # fmt: skip
    documents, dropped = rows_of(extract(store, None, sources, CONFIG, here))
    assert dropped == {"notes/none.txt": "empty", "notes/odd.bin": "unknown-format"}
    assert documents["notes/a.txt"]["text"] == "\n".join(ENGLISH)
    found = documents["notes/deep/b.md"]
    assert (found["source"], found["kind"], found["title"]) == ("notes", "article", "O moinho")
    assert (found["author"], found["date"]) == ("Ana Lima", "2021-03-04")
    assert found["licence"] == "CC-BY-4.0"
    assert documents["notes/a.txt"]["licence"] == "CC0-1.0"
    assert documents["notes/a.txt"]["html_language"] == "en"


def test_sources_are_identified_by_their_content(store: Store, here: Compute, corpus: Path) -> None:
    def key(path: Path, **given: str) -> str:
        return taken(store, here, SourceConfig(name="notes", path=str(path), **given)).files.key  # type: ignore[arg-type]

    first = key(corpus)
    moved = corpus.rename(corpus.with_name("moved"))
    assert key(moved) == first
    assert key(moved, kind="book") == first
    (moved / "a.txt").write_text("another text")
    assert key(moved) != first


def test_how_a_source_is_read_is_part_of_what_is_read(store: Store, here: Compute, corpus: Path) -> None:
    one = raw_of(store, here, SourceConfig(name="notes", path=str(corpus)))
    other = raw_of(store, here, SourceConfig(name="notes", path=str(corpus), kind="book"))
    assert one.key != other.key


def test_an_empty_folder_is_told_to_be_one(store: Store, here: Compute, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    source = SourceConfig(name="notes", path=str(folder))
    with pytest.raises(
        NoSuchSourceError, match=r"the folder '.*notes' is empty; looked for were files of any"
    ):
        take_in(store, [source], here)
    (folder / ".hidden").touch()
    with pytest.raises(NoSuchSourceError, match=r"notes' has no file but hidden ones, which are left out; "):
        take_in(store, [source], here)


def test_a_pattern_takes_the_files_that_it_fits(store: Store, here: Compute, corpus: Path) -> None:
    sources = taken(store, here, SourceConfig(name="notes", path=f"{corpus}/**/*.md"))
    assert [file.path for file in sources.files.listing()] == ["deep/b.md"]
    with pytest.raises(NoSuchSourceError, match=r"source 'notes': there is no file at .*\.rst"):
        taken(store, here, SourceConfig(name="notes", path=f"{corpus}/*.rst"))


def test_lines_are_documents_and_bad_ones_cost_only_themselves(
    store: Store, here: Compute, tmp_path: Path
) -> None:
    lines = [
        json.dumps({"text": ENGLISH[0], "url": "https://example.org/a", "author": ["Ana", "Bo"]}).encode(),
        json.dumps({"text": ENGLISH[1], "id": 7, "date": "2020-02-28T10:00:00"}).encode(),
        b'{"text": "torn',
        b"\xff\xfe not utf-8",
        b'{"text": "' + b"x" * 30_000 + b'"}',
        b'["no object"]',
        b'{"body": "no text"}',
        b"",
        json.dumps({"text": ENGLISH[2] + "\0", "license": "CC-BY-4.0"}).encode(),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines))
    documents, dropped = rows_of(raw_of(store, here, SourceConfig(name="rows", path=str(path))))
    assert documents["https://example.org/a"]["author"] == "Ana; Bo"
    assert documents["rows#7"]["date"] == "2020-02-28"
    assert len(documents) == 3
    (last,) = [row for url, row in documents.items() if url.startswith("rows/rows.jsonl#")]
    assert (last["text"], last["licence"]) == (ENGLISH[2], "CC-BY-4.0")
    assert sorted(dropped.values()) == [*["broken-record"] * 3, "no-text", "too-large"]
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    again, _ = rows_of(raw_of(store, here, SourceConfig(name="rows", path=str(packed))))
    assert sorted(row["text"] for row in again.values()) == sorted(row["text"] for row in documents.values())


def test_documents_do_not_depend_on_how_a_file_is_cut(
    store: Store, here: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Document {number}. {ENGLISH[number % 8]}" for number in range(100)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": texts}), table, row_group_size=10)
    for file in (path, table):
        source = SourceConfig(name="rows", path=str(file))
        whole = raw_of(store, here, source)
        assert whole.record.counts["raw"] == 100
        with monkeypatch.context() as patched:
            patched.setattr(parts, "BYTES_PER_PART", 2_500)
            other = Store(str(tmp_path / f"other-{file.suffix}"))
            cut = raw_of(other, here, source)
            assert len(list(other.storage.list(f"extract/{cut.key}/shards/read-sources"))) > 1
        assert cut.record.digest == whole.record.digest


def test_a_file_that_cannot_be_read_is_set_aside_and_named(
    store: Store, compute: Compute, tmp_path: Path
) -> None:
    path = tmp_path / "rows" / "torn.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": list(ENGLISH)}), path)
    path.write_bytes(path.read_bytes()[:-20])
    (path.parent / "whole.jsonl").write_text(json.dumps({"text": ENGLISH[0]}))
    source = SourceConfig(name="rows", path=str(path.parent))
    with pytest.raises(ShardUnreadableError) as told:
        raw_of(store, compute, source)
    assert str(told.value).count("magic bytes") == 1
    pattern = r"extract: source 'rows', file torn\.parquet: not a whole .*\. Replace .*compute\.lost_shards=1"
    assert re.fullmatch(pattern, str(told.value))
    within = Compute(ComputeConfig(lost_shards=1))
    compute.start()
    raw = raw_of(store, within, source)
    (line,) = raw.path("set-aside.jsonl").read_text().splitlines()
    assert json.loads(line)["shard"].startswith("rows-torn.parquet-")
    assert (raw.record.incomplete, raw.record.counts["raw"]) == (True, 1)


def test_of_a_torn_file_in_parts_one_shard_is_lost(
    store: Store, here: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "BYTES_PER_PART", 200)
    path = tmp_path / "torn.parquet"
    pq.write_table(pa.table({"text": list(ENGLISH)}), path)
    path.write_bytes(path.read_bytes()[:-20])
    taken = take_in(store, [SourceConfig(name="rows", path=str(path))], here)
    assert taken is not None
    stretches = parts.parts_of(taken, ExtractConfig()).values()
    assert len(stretches) > 1
    lost = 0
    for stretch in stretches:
        try:
            assert list(stretch.candidates()) == []
        except UnreadableFileError:
            lost += 1
    assert lost == 1


def test_of_a_local_data_set_a_torn_file_is_set_aside_and_told_by_its_place(
    store: Store, here: Compute, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"text": list(ENGLISH)}), folder / f"{name}.parquet")
    torn = folder / "b.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    source = SourceConfig(name="rows", dataset=str(folder))
    with pytest.raises(UnreadableShardError, match="file 2 of 2, as their names are sorted, cannot be read"):
        take_in(store, [source], here)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.binary(max_size=60) | st.text(max_size=60).map(as_row), max_size=12))
def test_no_line_leaves_without_a_reason(
    tmp_path_factory: pytest.TempPathFactory, here: Compute, lines: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    file = folder / "rows.jsonl"
    file.write_bytes(b"\n".join(lines))
    raw = raw_of(Store(str(folder / "store")), here, SourceConfig(name="rows", path=str(file)))
    found = len(read_rows(raw.paths("raw/"))) + len(read_rows(raw.paths("dropped/")))
    assert found == max(1, sum(bool(line.strip()) for line in file.read_bytes().split(b"\n")))


def test_a_damaged_row_group_costs_only_its_rows(store: Store, here: Compute, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": list(ENGLISH)}), path, row_group_size=2, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = group.data_page_offset
    data[start + 20 : start + group.total_compressed_size // 2] = b"\xff" * (
        group.total_compressed_size // 2 - 20
    )
    path.write_bytes(data)
    documents, dropped = rows_of(raw_of(store, here, SourceConfig(name="rows", path=str(path))))
    assert len(documents) == 6
    assert dropped == {"rows/rows.parquet#2": "broken-record", "rows/rows.parquet#3": "broken-record"}


def test_a_missing_text_column_is_told_with_those_there_are(
    store: Store, here: Compute, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "rows.parquet")
    with pytest.raises(NoTextColumnError, match=r"no column 'text', only content; set columns\.text"):
        raw_of(store, here, SourceConfig(name="rows", path=str(tmp_path)))


def test_a_data_set_in_a_local_folder_is_loaded(store: Store, here: Compute, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in ENGLISH))
    source = SourceConfig(name="set", dataset=str(tmp_path), columns={"text": "body"}, kind="book")  # type: ignore[arg-type]
    documents, dropped = rows_of(raw_of(store, here, source))
    assert sorted(str(row["text"]) for row in documents.values()) == sorted(ENGLISH)
    assert not dropped
    with pytest.raises(DatasetUnavailableError, match="split 'nowhere'"):
        taken(store, here, SourceConfig(name="set", dataset=str(tmp_path), split="nowhere"))


def test_a_data_set_of_the_hub_needs_its_commit() -> None:
    with pytest.raises(ValueError, match="revision is 'main'; set it to the data set's commit"):
        SourceConfig(name="set", dataset="somebody/something", revision="main")


def test_crawl_and_sources_feed_one_stage(
    store: Store, here: Compute, make_pages: MakePages, corpus: Path
) -> None:
    pages = make_pages([WebPage("http://x/1", html(ENGLISH).encode())])
    sources = taken(store, here, SourceConfig(name="notes", path=str(corpus), kind="book"))
    raw = extract(store, pages, sources, CONFIG, here)
    documents, _ = rows_of(raw)
    assert {row["source"] for row in documents.values()} == {"crawl", "notes"}
    assert len(documents) == 4
    kinds = {name: count for name, count in raw.record.counts.items() if name.startswith("raw.")}
    assert kinds == {"raw.web": 1, "raw.book": 3}
    assert raw.record.counts["bytes.book"] == sum(file.bytes for file in sources.files.listing())


class Breaking(http.server.BaseHTTPRequestHandler):
    """Serves one file, and cuts the first answer short."""

    data = b"".join(b"%07d\n" % number for number in range(60_000))
    asked: list[str | None]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.path != "/file.txt":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", '"one"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        self.send_header("Content-Length", str(len(self.data) - start))
        self.end_headers()
        self.wfile.write(self.data[start : 200_000 if not wanted else None])
        self.close_connection = not wanted

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Breaking.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_a_download_goes_on_where_it_was_cut(
    store: Store, here: Compute, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_download, "BLOCK_BYTES", 50_000)
    sources = taken(store, here, SourceConfig(name="remote", path=f"{server}/file.txt"))
    (file,) = sources.files.listing()
    assert (file.path, file.origin) == ("file.txt", f"{server}/file.txt")
    assert sources.files.path(file.name).read_bytes() == Breaking.data
    first, second = Breaking.asked
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) > 50_000


def test_an_address_without_a_file_is_told(store: Store, here: Compute, server: str) -> None:
    with pytest.raises(DownloadError, match=r"/other.txt answered 404 Not Found"):
        taken(store, here, SourceConfig(name="remote", path=f"{server}/other.txt"))


def test_objects_are_copied_whole_and_a_missing_one_is_told(
    store: Store, here: Compute, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what fsspec knows, here a folder; one block of each file fails once."""
    from fsspec.implementations.local import LocalFileSystem

    read, failed = LocalFileSystem.cat_file, set[tuple[str, int]]()

    def failing(files: LocalFileSystem, path: str, start: int, end: int) -> bytes:
        if start and (path, start) not in failed:
            failed.add((path, start))
            raise ConnectionResetError("the store went away")
        return bytes(read(files, path, start, end))

    monkeypatch.setattr(LocalFileSystem, "cat_file", failing)
    monkeypatch.setattr(download, "BLOCK_BYTES", 300)
    sources = taken(store, here, SourceConfig(name="remote", path=f"file://{corpus}"))
    found = {file.path: sources.files.path(file.name).read_bytes() for file in sources.files.listing()}
    assert found.keys() >= {"a.txt", "c.html", "deep/b.md"}
    assert all(data == (corpus / path).read_bytes() for path, data in found.items())
    assert failed
    with pytest.raises(UnreachableSourceError, match="there is no file; give a file, a folder or a pattern"):
        taken(store, here, SourceConfig(name="remote", path=f"file://{corpus}/nowhere"))


def test_documents_of_sources_are_cleaned_by_kind_and_accounted_for(
    store: Store, here: Compute, tmp_path: Path
) -> None:
    rows = [{"text": text} for text in ["\n\n".join(ENGLISH), "too short", "\n\n".join(PORTUGUESE)]]
    rows.append({"text": ""})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.txt").write_text("\n\n".join(ENGLISH))
    settings = SourceConfig(name="papers", path=str(tmp_path), kind="article", licence="CC-BY-4.0")
    raw = raw_of(store, here, settings)
    made = clean(store, raw, CleanConfig(), here)
    kept, dropped = read_rows(made.paths("kept/")), read_rows(made.paths("dropped/"))
    assert {(row["source"], row["kind"], row["licence"]) for row in kept} == {
        ("papers", "article", "CC-BY-4.0")
    }
    assert {row["source"] for row in dropped} == {"papers"}
    reasons = Counter(row["reason"] for row in dropped)
    assert (reasons["duplicate-exact"], reasons["empty"]) == (1, 1)
    counts = made.record.counts
    assert counts["pages"] == raw.record.counts["pages"] == len(kept) + len(dropped) == 5

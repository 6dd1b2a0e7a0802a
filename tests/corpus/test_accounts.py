"""No document leaves without a reason: anything at all goes in, from everywhere at once, and is counted."""

import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.corpus.canonical import canonical_url
from pipeline.corpus.clean import CleanConfig, Documents, clean
from pipeline.corpus.contamination import ContaminationConfig
from pipeline.corpus.extract import ExtractConfig, RawDocuments, extract
from pipeline.corpus.hold_out import Corpus, HoldOutConfig, hold_out
from pipeline.corpus.kinds import Kind
from pipeline.corpus.reasons import REASONS
from pipeline.corpus.sources import SourceConfig, take_in
from pipeline.corpus.tables import Row, read_rows
from pipeline.store import Store
from tests.corpus.books import epub, pdf
from tests.corpus.conftest import InThisProcess, WebPage, pages_in
from tests.corpus.personal_lines import labelled_lines
from tests.corpus.samples import ENGLISH, GERMAN, PORTUGUESE, html
from tests.corpus.test_clean import TEXTS, shuffled
from tests.corpus.test_contamination import QUESTIONS, write_questions

SURE = [shuffled(ENGLISH, 100 + number) for number in range(4)]
"""Documents that are kept whatever else there is, so that something is left to be held out."""
PDF, EPUB = pdf({"One": [ENGLISH[0]], "Two": list(PORTUGUESE)}), epub(["<h1>Um</h1><p>" + PORTUGUESE[0]])
LIMIT = 60_000
EXTRACT = ExtractConfig(shards=3, page_bytes=LIMIT, file_bytes=LIMIT, cpu_seconds=10)
HOLD_OUT = HoldOutConfig(document_bytes=1_000, minimum_documents=1, minimum_bytes=1)

personal = st.sampled_from([line.text for line in labelled_lines()])
texts = st.one_of(
    st.sampled_from([*TEXTS, *ENGLISH, *GERMAN]),
    st.text(max_size=200),
    st.integers(0, 9).map(lambda seed: shuffled(PORTUGUESE, seed)),
    st.lists(personal, min_size=1, max_size=5).map(lambda lines: "\n\n".join([TEXTS[0], *lines])),
    st.sampled_from([str(row["question"]) for row in QUESTIONS]).map(lambda text: f"{TEXTS[3]}\n\n{text}"),
    st.just("word " * LIMIT),
    st.text("\x00\ud800\ufffe\u202e\x1b\u0301a ", max_size=80),
)
encodings = st.sampled_from(["utf-8", "utf-16", "latin-1", "cp1252", "shift_jis"])
encoded = st.tuples(texts, encodings).map(lambda found: found[0].encode(found[1], "replace"))
bodies = st.one_of(
    texts.map(lambda text: html(tuple(text.split("\n\n"))).encode("utf-8", "surrogatepass")),
    st.tuples(texts, encodings).map(
        lambda found: html((found[0],), head='<meta charset="ascii">').encode(found[1], "replace")
    ),
    encoded,
    st.binary(max_size=300),
    st.integers(1, 3_000).map(lambda depth: b"<div>" * depth + b"deep"),
    st.sampled_from([PDF, EPUB]).flatmap(lambda whole: st.integers(0, len(whole)).map(lambda n: whole[:n])),
)
types = st.sampled_from(
    ["text/html", "text/html; charset=utf-16", "text/plain; charset=no-such", "application/pdf", "", "\xff/x"]
)
urls = st.one_of(
    st.integers(0, 9).map(lambda number: f"http://x/{number}"),
    st.sampled_from(["http://[x/", "http://x:port/", "http://ä.example/ \x00?q=%zz#f", "https://", "no url"]),
    st.text(max_size=20),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | urls | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
COLUMNS = ("text", "id", "url", "title", "author", "date", "license", "language")
rows = st.one_of(
    texts.map(lambda text: {"text": text}),
    st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, values)),
).map(lambda row: json.dumps(row).encode())
lines = st.one_of(rows, st.binary(max_size=60), encoded.map(lambda data: data.replace(b"\n", b" ")))
cells = st.one_of(st.none(), texts.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary())
ENDINGS = (".txt", ".md", ".html", ".pdf", ".epub", ".parquet.x", ".warc.x", "")


@dataclass(frozen=True)
class Given:
    """What goes in; lists of bytes are files or records."""

    pages: list[tuple[bytes, str]]
    lines: list[bytes]
    cells: list[bytes | None]
    records: list[tuple[str, str, bytes]]
    """URL, content type and body of an archive's responses."""
    torn: int | None
    """Bytes that are missing at the archive's end."""
    files: list[tuple[str, bytes]]
    kind: Kind


anything = st.builds(
    Given,
    pages=st.lists(st.tuples(bodies, types), max_size=8),
    lines=st.lists(lines, max_size=8),
    cells=st.lists(cells, max_size=6),
    records=st.lists(st.tuples(urls, types, bodies), max_size=6),
    torn=st.none() | st.integers(1, 200),
    files=st.lists(st.tuples(st.sampled_from(ENDINGS), bodies), max_size=8),
    kind=st.sampled_from(["web", "documentation", "article", "book", "thread"]),
)


def check(given: Given, folder: Path, here: InThisProcess) -> None:
    """Through all three stages; every count must be right."""
    store = Store(str(folder / "store"))
    pages = pages_in(store, [*_sure_pages(), *_pages(given)])
    raw = extract(store, pages, take_in(store, _written(given, folder), here), EXTRACT, here)
    entered = _check_extracted(given, raw)
    config = CleanConfig(contamination=ContaminationConfig(sets=(write_questions(folder),)))
    documents = clean(store, raw, config, here)
    kept = _check_cleaned(entered, documents)
    _check_divided(kept, hold_out(store, documents, HOLD_OUT, here))


def _sure_pages() -> list[WebPage]:
    return [
        WebPage(f"http://sure/{number}", html(tuple(text.split("\n\n"))).encode())
        for number, text in enumerate(SURE)
    ]


def _pages(given: Given) -> list[WebPage]:
    return [
        WebPage(f"http://pages/{n}", body, type or "text/html")
        for n, (body, type) in enumerate(given.pages)
        if type.isascii()
    ]


def _written(given: Given, folder: Path) -> list[SourceConfig]:
    """All that is given but the pages, in files of sources."""
    for name in ("lines", "cells", "records", "files"):
        (folder / name).mkdir()
    (folder / "lines/rows.jsonl").write_bytes(b"\n".join(given.lines))
    strings = pa.Array.from_buffers(
        pa.string(), len(given.cells), pa.array(given.cells, pa.binary()).buffers()
    )
    pq.write_table(pa.table({"text": strings}), folder / "cells/rows.parquet", row_group_size=4)
    archive = _archive(given)
    (folder / "records/a.warc").write_bytes(archive[: len(archive) - (given.torn or 0)])
    for number, (ending, data) in enumerate(given.files):
        (folder / f"files/{number}{ending}").write_bytes(data)
    names = [name for name in ("lines", "cells", "records", "files") if any((folder / name).iterdir())]
    return [SourceConfig(name=name, path=str(folder / name), kind=given.kind) for name in names]


def _archive(given: Given) -> bytes:
    data = io.BytesIO()
    writer = WARCWriter(data, gzip=False)
    for url, type, body in [("http://x/first", "text/html", b"<p>first"), *given.records]:
        headers = StatusAndHeaders("200 OK", [("Content-Type", type)], protocol="HTTP/1.1")
        written = url.encode("ascii", "backslashreplace").decode().replace("\r", "").replace("\n", "")
        record = writer.create_warc_record(written, "response", io.BytesIO(body), http_headers=headers)
        writer.write_record(record)
    return data.getvalue()


def _check_extracted(given: Given, raw: RawDocuments) -> list[Row]:
    """A row for each document that went in, with its reason if it is dropped."""
    documents, dropped = read_rows(raw.paths("raw/")), read_rows(raw.paths("dropped/"))
    _check_reasons(dropped, raw.record.counts)
    assert raw.record.counts["pages"] == len(documents) + len(dropped)
    found = Counter(row["source"] for row in [*documents, *dropped])
    records = found.pop("records")
    assert records >= len(given.records) + (given.torn is None)
    assert given.torn is not None or records == len(given.records) + 1
    file = b"\n".join(given.lines).split(b"\n")
    assert found == Counter(
        {
            "crawl": len(SURE) + len(_pages(given)),
            "lines": max(1, sum(bool(line.strip()) for line in file)),
            "cells": max(1, len(given.cells)),
            "files": len(given.files),
        }
    )
    return [*documents, *dropped]


def _check_cleaned(entered: list[Row], documents: Documents) -> list[Row]:
    kept, dropped = read_rows(documents.paths("kept/")), read_rows(documents.paths("dropped/"))
    _check_reasons(dropped, documents.record.counts)
    assert Counter(row["id"] for row in [*kept, *dropped]) == Counter(row["id"] for row in entered)
    assert len({row["id"] for row in kept}) == len(kept) == documents.record.counts["kept"]
    assert documents.record.counts["pages"] == len(entered)
    assert {row["url"] for row in kept} >= {f"http://sure/{number}" for number in range(len(SURE))}
    return kept


def _check_divided(kept: list[Row], corpus: Corpus) -> None:
    """Every page is cut without a gap, and each piece is in one split."""
    pieces = read_rows([*corpus.paths("train/"), *corpus.paths("held-out/")])
    assert len({row["id"] for row in pieces}) == len(pieces)
    joined: dict[str, bytes] = {}
    for row in sorted(pieces, key=lambda row: str(row["id"])):
        before = joined.get(row["page_id"], b"")
        assert len(before) == row["start"]
        joined[row["page_id"]] = before + row["text"].encode()
        assert len(joined[row["page_id"]]) == row["end"]
    assert joined == {row["id"]: row["text"].encode() for row in kept}


def _check_reasons(dropped: list[Row], counts: dict[str, int]) -> None:
    reasons = Counter(row["reason"] for row in dropped)
    assert reasons.keys() <= REASONS.keys()
    told = {name: count for name, count in counts.items() if name.startswith("dropped.")}
    assert told == {f"dropped.{reason}": count for reason, count in reasons.items()}


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("HTTP://x/b?q=2&a=1#c", "http://x/b?a=1&q=2"),
        ("http://[x/", "http://[x/"),
        ("half \ud800", "half ?"),
        ("http://[x/\ud800", "http://[x/?"),
    ],
)
def test_what_is_no_url_can_still_be_written(url: str, written: str) -> None:
    assert canonical_url(url) == written


FIXED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=6, phases=[Phase.explicit, Phase.generate], **FIXED)
@given(given=anything)
def test_no_document_leaves_without_a_reason(
    tmp_path_factory: pytest.TempPathFactory, here: InThisProcess, given: Given
) -> None:
    check(given, tmp_path_factory.mktemp("anything"), here)


@pytest.mark.everything
@pytest.mark.timeout(3600)
@settings(max_examples=100, **FIXED)
@given(given=anything)
def test_no_document_leaves_without_a_reason_whatever_there_is(
    tmp_path_factory: pytest.TempPathFactory, here: InThisProcess, given: Given
) -> None:
    check(given, tmp_path_factory.mktemp("anything"), here)

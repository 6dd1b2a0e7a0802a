"""Sources → corpus in a process of its own, on a Ray of its own: what tests kill, and run again.

python -m tests.corpus.whole FOLDER STORE
"""

import gzip
import io
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.clean import CleanConfig, Documents, clean
from pipeline.corpus.extract import ExtractConfig, RawDocuments, extract
from pipeline.corpus.hold_out import Corpus, HoldOutConfig, hold_out
from pipeline.corpus.sources import SourceConfig, take_in
from pipeline.store import Store
from tests.corpus.samples import ENGLISH, GERMAN, PORTUGUESE, html

EXTRACT = ExtractConfig(extractor="resiliparse", shards=3, page_bytes=50_000)
HOLD_OUT = HoldOutConfig(document_bytes=1_000, minimum_documents=2, minimum_bytes=2_000)
LONG = "word " * 9_950
"""No longer than `page_bytes` as a row, but as a page."""


def write_inputs(folder: Path, files: int) -> Path:
    """The same documents, spread by chance over so many files, in an order by chance: JSONL, in which half
    of the rows have no names, Parquet and WARC."""
    chance = random.Random(files)
    texts = list(_texts())
    rows = [{"text": text, "url": f"http://x/{number % 40}"} for number, text in enumerate(texts)]
    nameless = [{"text": text, "title": str(number % 7)} for number, text in enumerate(texts)]
    table = [{"text": text, "id": number} for number, text in enumerate(texts)]
    sources = (("rows", _write_rows, rows + nameless), ("table", _write_table, table))
    for place, (name, write, given) in enumerate((*sources, ("archive", _write_archive, rows))):
        (folder / name).mkdir(parents=True)
        shuffled = chance.sample(given, len(given))
        count = (files + place) // 3
        for number in range(count):
            write(folder / name / f"{chance.randrange(10**6):06}-{number}", shuffled[number::count])
    return folder


Rows = list[dict[str, Any]]


def _texts() -> Iterator[str]:
    """Good ones, copies, near copies, ones with personal data, and ones that are dropped for each reason."""
    for number in range(60):
        chance = random.Random(number % 45)
        words = " ".join(chance.choice([ENGLISH, PORTUGUESE])).split()
        chance.shuffle(words)
        text = "\n\n".join(" ".join(words[start : start + 12]) + "." for start in range(0, len(words), 12))
        match number % 10:
            case 1:
                text += "\n\nOne sentence more."
            case 2:
                text += f"\n\nWrite to ana{number}@example.org."
            case 3:
                text = "\n\n".join(GERMAN)
            case 4:
                text = "too short"
            case 5:
                text = LONG
        yield text


def _write_rows(path: Path, rows: Rows) -> None:
    path.with_suffix(".jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    )


def _write_table(path: Path, rows: Rows) -> None:
    schema = pa.schema([("text", pa.string()), ("id", pa.int64())])
    pq.write_table(pa.Table.from_pylist(rows, schema), path.with_suffix(".parquet"), row_group_size=5)


def _write_archive(path: Path, rows: Rows) -> None:
    data = io.BytesIO()
    writer = WARCWriter(data, gzip=True)
    for row in rows:
        body = html(tuple(row["text"].split("\n\n")), language=None).encode()
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        url = row["url"].replace("//x", "//y")
        writer.write_record(
            writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=headers)
        )
    path.with_suffix(".warc.gz").write_bytes(data.getvalue())


def corpus_of(folder: Path, store: Store, compute: Compute) -> tuple[RawDocuments, Documents, Corpus]:
    """What the stages make of the sources in the folder."""
    settings = [SourceConfig(name=path.name, path=str(path)) for path in sorted(folder.iterdir())]
    sources = take_in(store, settings, compute)
    raw = extract(store, None, sources, EXTRACT, compute)
    documents = clean(store, raw, CleanConfig(), compute)
    return raw, documents, hold_out(store, documents, HOLD_OUT, compute)


def main(folder: str, store: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as short:
        compute = Compute(ComputeConfig(), temp_dir=short)
        try:
            for made in corpus_of(Path(folder), Store(store), compute):
                print(made.stage, made.record.digest, flush=True)
        finally:
            compute.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])

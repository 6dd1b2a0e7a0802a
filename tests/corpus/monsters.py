"""Files with documents that no reader can or should take whole, each beside a good one.

    python -m tests.corpus.monsters FOLDER STORE MEMORY_BYTES

extracts them in this process, whose extractor may take so much memory, and tells as JSON what became of them
and how much memory that took.
"""

import gzip
import io
import json
import resource
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.compute_config import ComputeConfig
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.sources import SourceConfig, take_in
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from tests.corpus.books import epub
from tests.corpus.conftest import InThisProcess
from tests.corpus.samples import ENGLISH, PORTUGUESE, html

GOOD = "\n".join(ENGLISH)
BLOCK = b"all work and no play makes a long line " * 1_000


def write_monsters(folder: Path, size: int) -> None:
    """A folder for each source. `table` is apart: a row of a table is read whole, whatever its size."""
    for name in ("files", "rows", "archive", "table"):
        (folder / name).mkdir(parents=True)
    files = folder / "files"
    (files / "good.txt").write_text(GOOD)
    for name in ("long.txt", "long.html", "long.pdf"):
        _write(files / name, size)
    (files / "deep.html").write_bytes(b"<div>" * 100_000 + b"deep")
    (files / "deaths.pdf").write_bytes(pdf_bomb(size))
    (files / "bomb.epub").write_bytes(zip_bomb(max(size, 65_000_000)))
    (files / "nul.txt").write_bytes(GOOD.encode() + b"\0" * 10_000)
    (files / "latin.txt").write_bytes("\n".join(PORTUGUESE).encode("latin-1") + b"\x81\x8d\n")
    charset = '<meta http-equiv="Content-Type" content="text/html; charset=shift_jis">'
    (files / "charset.html").write_text(html(PORTUGUESE, head=charset), encoding="utf-8")
    (files / "empty.txt").touch()
    (files / "truncated.epub").write_bytes(epub(["<p>one</p>"])[:300])
    lines = [json.dumps({"text": GOOD, "id": "good"}).encode(), b'{"text": "\xff\xfe"}', b"\0" * 1_000, b""]
    with (
        (folder / "rows/plain.jsonl").open("wb") as plain,
        gzip.open(folder / "rows/p.jsonl.gz", "wb", 1) as packed,
    ):
        for file in (plain, packed):
            file.write(b"\n".join(lines) + b'{"text": "')
            for block in _blocks(size):
                file.write(block)
            file.write(b'"}\n' + lines[0].replace(b"good", b"last"))
    (folder / "rows/empty.jsonl").touch()
    (folder / "rows/blank.jsonl").write_bytes(b"\n\n")
    for name in ("packed", "plain"):
        _write_archive(folder / f"archive/{name}.warc", size)
    # Written as bytes and called text, as a table may be that something else has written.
    cells = pa.array([b"good", b"\xff\xfe", b"".join(_blocks(size)), GOOD.encode()], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(cells), cells.buffers())
    pq.write_table(pa.table({"text": texts}), folder / "table/cells.parquet", compression="zstd")


def _blocks(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(BLOCK)):
        yield BLOCK[: size - start]


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for block in _blocks(size):
            file.write(block)


def _write_archive(path: Path, size: int) -> None:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.stem == "packed")
        for number, data in enumerate(
            [html(ENGLISH).encode(), b"".join(_blocks(size)), html(PORTUGUESE).encode()]
        ):
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            url = f"http://{path.stem}/{number}"
            record = writer.create_warc_record(url, "response", io.BytesIO(data), http_headers=headers)
            writer.write_record(record)


def pdf_bomb(size: int) -> bytes:
    """A page whose content unpacks to so many bytes: pdfium ends its process where it gets no memory."""
    packer = zlib.compressobj(9)
    packed = packer.compress(b"BT /F 12 Tf (word) Tj ET\n")
    for _ in range(size // 1_000_000):
        packed += packer.compress(b"BT /F 12 Tf (word) Tj ET\n" * 40_000)
    packed += packer.flush()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>\nstream\n" % len(packed) + packed + b"\nendstream",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    written, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n" % number + each + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(written)
    return written + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def zip_bomb(size: int) -> bytes:
    """An EPUB of a chapter that unpacks to so many bytes."""
    return epub(["<p>" + "0" * size + "</p>"])


def _peak() -> int:
    """Bytes that this process held at most; what getrusage says of itself counts whoever started it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1_024


def main(folder: Path, store: str, memory_bytes: int) -> None:
    here = InThisProcess(ComputeConfig())
    config = ExtractConfig(shards=1, page_bytes=1_000_000, file_bytes=2_000_000, memory_bytes=memory_bytes)
    told = {}
    for names in (("files", "rows", "archive"), ("table",)):
        sources = take_in(
            Store(store), [SourceConfig(name=name, path=str(folder / name)) for name in names], here
        )
        raw = extract(Store(store), None, sources, config, here)
        told[names[0]] = {
            "kept": {row["url"]: row["text"] for row in read_rows(raw.paths("raw/"))},
            "dropped": {
                row["url"]: [row["reason"], row["detail"]] for row in read_rows(raw.paths("dropped/"))
            },
            "pages": raw.record.counts["pages"],
            "memory": [_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1_024],
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""MB of HTML per CPU-second made into raw documents, against the extractor's library alone."""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.corpus.extract import ExtractConfig
from pipeline.corpus.readers.files import SourcePart
from pipeline.corpus.sources import Files, SourceConfig, SourceFile
from pipeline.shards import ShardOutput
from pipeline.store import Store
from pipeline.store.storage import sha256_of
from tests.benchmarks.measure import Result, cpu_seconds, in_turn
from tests.benchmarks.reference_extraction import LIBRARIES
from tests.corpus.labelled_pages import DOCUMENTATION, SITES

PAGES = 300
LEAST_SHARE = 0.9
"""Of the pages, from which both must have text: so that neither is fast by doing nothing."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, default=PAGES, help="pages of installed documentation")
    parser.add_argument(
        "--extractor",
        choices=("trafilatura", "resiliparse", "fast-then-careful"),
        default="trafilatura",
        help="extract.extractor",
    )
    parser.add_argument(
        "--reference", choices=LIBRARIES, default="trafilatura-with-metadata", help="the library"
    )


def run(given: argparse.Namespace) -> Result:
    """Ours is what the stage's Ray task does with a WARC: read it, have a child process extract each page
    and what it says of itself, write Parquet. The reference does so in one process; its metadata are
    guessed from the text too, where ours are stated (`--reference trafilatura` leaves them out). The
    CPU time is that of all processes, from the interpreter's start to its end."""
    with tempfile.TemporaryDirectory(prefix="moinho-extraction-") as name:
        folder = Path(name)
        warc = folder / "pages.warc.gz"
        megabytes, pages = _write(warc, given.pages)
        least = LEAST_SHARE * pages

        def ours() -> float:
            command = [sys.executable, "-m", "tests.benchmarks.extraction", given.extractor, str(warc)]
            with tempfile.TemporaryDirectory(dir=folder) as output:
                with cpu_seconds() as took:
                    subprocess.run([*command, output], check=True)
                found = sum(pq.read_metadata(path).num_rows for path in Path(output).rglob("raw/*.parquet"))
            _check(found, least)
            return megabytes / took[0]

        def reference() -> float:
            output = folder / "reference.jsonl"
            command = [sys.executable, "-m", "tests.benchmarks.reference_extraction", given.reference]
            with cpu_seconds() as took:
                subprocess.run([*command, str(warc), str(output)], check=True)
            _check(sum(bool(json.loads(line)["text"]) for line in output.open()), least)
            return megabytes / took[0]

        pairs = in_turn(ours, reference, given.pairs)
        figures = {"megabytes": megabytes, "pages": pages, "extractor": given.extractor}
        return Result("extraction", "MB of HTML per CPU-second", 0.9, pairs, figures)


def _write(warc: Path, most: int) -> tuple[float, int]:
    """An archive of installed documentation; its megabytes of HTML and its pages."""
    found = sorted(
        {path for site in SITES.values() for name in site.files for path in DOCUMENTATION.glob(name)}
    )
    if not found:
        needed = ", ".join(site.package for site in SITES.values())
        raise SystemExit(f"there are no pages below {DOCUMENTATION}: install {needed}")
    chosen, size = found[:: max(1, len(found) // most)][:most], 0
    with warc.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for path in chosen:
            html = path.read_bytes()
            size += len(html)
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            url = f"http://documentation/{path.relative_to(DOCUMENTATION)}"
            record = writer.create_warc_record(url, "response", io.BytesIO(html), http_headers=headers)
            writer.write_record(record)
    return size / 1e6, len(chosen)


def _check(found: int, least: float) -> None:
    if found < least:
        raise RuntimeError(f"text came of {found} pages only, {least:.0f} at least should give some")


def extract_archive(extractor: str, warc: str, output: str) -> None:
    """What the stage's task does, in this process and its children."""
    from pipeline.corpus.candidates import write_documents

    path = Path(warc)

    class Archive(Files):
        def path(self, name: str) -> Path:
            return path

    entry = SourceFile("pages", path.name, path.name, warc, path.stat().st_size, sha256_of(path))
    files = Archive(Store(output).storage, "benchmark")
    config = ExtractConfig.model_validate({"extractor": extractor})
    settings = SourceConfig(name="pages", path=warc, kind="documentation")
    part = SourcePart(files, settings, (entry,), config)
    write_documents(part.candidates(), config, ShardOutput(Path(output)))


if __name__ == "__main__":
    extract_archive(*sys.argv[1:])

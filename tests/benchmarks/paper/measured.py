"""What one of a thing takes that a large run has many of: `python -m tests.benchmarks.paper.measured`.

Bytes of memory by tracemalloc, so without what the allocator adds; seconds are CPU seconds of one process on
this machine. Each is small: the whole takes some minutes on two cores. With a name only that one is measured.
"""

import gc
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crawler.entries import Entry, Position
from crawler.frontier import Frontier
from crawler.ingest_shards import logged
from crawler.line_sort import merge_lines
from pipeline.corpus.clean import CleanConfig
from pipeline.corpus.extract import PAGES_PER_SHARD, ExtractConfig
from pipeline.corpus.extract_shards import parts, slices_of
from pipeline.corpus.hold_out import HoldOutConfig
from pipeline.corpus.hold_out_shards import Choosing, choose
from pipeline.corpus.pages import Archive, entry_of
from pipeline.corpus.signatures import BANDS, write_signatures
from pipeline.corpus.tables import KEPT, read_documents, read_rows, write_rows, write_table
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, File, Record, ShardRecord, Storage, sha256_of

MODULE = "tests.benchmarks.paper.measured"
Figures = dict[str, float]
PAGES, SHARD_FILES, DOCUMENTS = 40_000, 20_000, 60_000
RECORD_TABLES = ("identity", "config", "inputs", "content", "counts", "figures", "compute", "versions")
ROW_GROUP_TEXTS, TEXT_CHARACTERS = 2_000, 5_000
"""Documents of two groups of rows, of which a reader has one at a time, and their length."""


@contextmanager
def held() -> Iterator[list[float]]:
    """Appends the bytes that are in memory at its end and were not at its beginning."""
    found: list[float] = []
    gc.collect()
    tracemalloc.start()
    yield found
    gc.collect()
    found.append(float(tracemalloc.get_traced_memory()[0]))
    tracemalloc.stop()


@contextmanager
def used() -> Iterator[list[float]]:
    """Appends the CPU seconds of this process."""
    found: list[float] = []
    start = time.process_time()
    yield found
    found.append(time.process_time() - start)


def log_line(number: int) -> dict[str, Any]:
    """A page's line in the crawl log, with a URL of usual length."""
    return {
        "url": f"https://www.site-{number % 997}.example.org/articles/2026/{number * 2654435761 % 2**32:08x}",
        "outcome": "page",
        "status": 200,
        "content_type": "text/html",
        "bytes": 60_000,
        "depth": 3,
        "referrer": f"https://www.site-{number % 997}.example.org/articles/",
        "warc": f"warc/moinho-{number % 4096:08x}-{number // 1260:05d}.warc.gz",
        "offset": number * 13_000 % (16 << 20),
        "length": 13_000,
        "sha256": f"{number * 0x9E3779B97F4A7C15 % 2**64:064x}",
        "fetched": "2026-01-01T00:00:00Z",
        "detail": None,
    }


def pages() -> Figures:
    """Of the list of pages that the driver makes before extraction, for each page."""
    lines = [json.dumps(log_line(number)) for number in range(PAGES)]
    file = File(path="warc/0", bytes=1, sha256="0" * 64)

    def entries() -> list[Any]:
        found = [entry_of(json.loads(line), "0" * 16) for line in lines]
        return sorted(found, key=lambda entry: (entry.crawl, entry.warc, entry.offset, entry.url))

    def sliced() -> dict[str, Any]:
        archive = Archive(Storage("/nowhere"), "crawl/0", file)
        return dict(slices_of("0", archive, entries(), ExtractConfig(), PAGES_PER_SHARD))

    with used() as took:
        sliced()
    with held() as kept:
        waiting = sliced()
    assert waiting
    return {"page_seconds": took[0] / PAGES, "page_bytes": kept[0] / PAGES}


def shard_record(count: int, folder: str = "raw") -> ShardRecord:
    """A shard's record with so many files, as extraction's are named."""
    files = {}
    for number in range(count):
        name = f"00000/{folder}/{number:05d}.parquet"
        sha256 = f"{number * 0x9E3779B97F4A7C15 % 2**64:064x}"
        files[name] = File(
            path=f"attempts/20260101-000000-abcdef/read/x-000001-0123abcd/{name}", bytes=number, sha256=sha256
        )
    return ShardRecord(identity="x", files=files, counts={"pages": count})


def records() -> Figures:
    """Of the records of shards, for each file that they name: memory on the driver, size and time as JSON,
    size and time on its way to a task, and looking for one bucket's files in them."""
    text = shard_record(SHARD_FILES).model_dump_json()
    with held() as kept:
        record = ShardRecord.model_validate_json(text)
    with used() as read:
        ShardRecord.model_validate_json(text)
    with used() as sent:
        data = pickle.dumps(record)
    with used() as looked:
        parts([record], 77)
    return {
        "file_bytes": kept[0] / SHARD_FILES,
        "file_json_bytes": len(text) / SHARD_FILES,
        "file_read_seconds": read[0] / SHARD_FILES,
        "file_sent_bytes": len(data) / SHARD_FILES,
        "file_sent_seconds": sent[0] / SHARD_FILES,
        "file_looked_at_seconds": looked[0] / SHARD_FILES,
    }


def artifact() -> Figures:
    """Of `artifact.json` with 100,000 names: seconds to write and to read, bytes, memory."""
    files = shard_record(100_000).files
    words: dict[str, Any] = dict.fromkeys(("stage", "key", "digest", "attempt", "started"), "x")
    tables: dict[str, Any] = {name: {} for name in RECORD_TABLES}
    record = Record(**words, **tables, files=files, revision=1, seconds=0.0, commit=None)
    with used() as wrote:
        text = record.model_dump_json(indent=2)
    with used() as read:
        Record.model_validate_json(text)
    return {"record_write_seconds": wrote[0], "record_read_seconds": read[0], "record_json_bytes": len(text)}


def captures() -> Figures:
    """Of the one task that writes an ingestion's log, for each capture: merging, then a line of the log."""

    class NoIndex:
        def captures(self, url: str) -> list[Any]:
            return []

    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number in range(16):
            lines = sorted(
                f"{line['url']} 20260101000000 {json.dumps(line)}\n".encode()
                for line in map(log_line, range(number, PAGES, 16))
            )
            found.append(Path(folder) / str(number))
            found[-1].write_bytes(b"".join(lines))
        with used() as merged:
            merge_lines(found, Path(folder) / "merged")
        with (Path(folder) / "merged").open("rb") as lines_of_all, used() as wrote:
            for line in logged(lines_of_all, NoIndex()):  # type: ignore[arg-type]
                json.dumps(line, ensure_ascii=False)
    return {
        "merge_seconds": merged[0] / PAGES,
        "log_seconds": wrote[0] / PAGES,
        "log_line_bytes": len(json.dumps(log_line(0))) + 1,
    }


def signatures() -> Figures:
    """Bytes on disk for each document's signature, near duplicates and all else that it is compared by."""
    chance = random.Random(0)
    words = [f"word{number}" for number in range(5_000)]
    rows = [
        dict.fromkeys(KEPT.names)
        | log_line(number)
        | {
            "id": f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}",
            "kind": "web",
            "source": "crawl",
            "text": " ".join(chance.choices(words, k=100)),
            "date": None,
            "quality": None,
        }
        for number in range(4_000)
    ]
    config = CleanConfig()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signatures.parquet"
        write_signatures(path, rows, config.duplicate_bands, config.duplicate_rows)
        in_memory = pq.read_table(path).nbytes
        return {
            "signature_bytes": path.stat().st_size / len(rows),
            "signature_table_bytes": in_memory / len(rows),
        }


def clusters() -> Figures:
    """Of the one task that chooses what is held out, for each document: seconds, memory at most; and of what
    each task that divides a shard reads of that choice."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for count in (DOCUMENTS, 3 * DOCUMENTS):
            command = [sys.executable, "-m", MODULE, "--choose", f"{folder}/{count}", str(count)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            peaks[count] = json.loads(told)
        few, many = peaks[DOCUMENTS], peaks[3 * DOCUMENTS]
        for name in few:
            figures[name] = (many[name] - few[name]) / (2 * DOCUMENTS)
    return figures


def choose_some(folder: Path, count: int) -> Figures:
    """In a process of its own: choose among so many documents, then read the choice as a task does."""
    chance = np.random.default_rng(0)
    ids = [f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}-0000" for number in range(count)]
    (folder / "hold-out/0/cut").mkdir(parents=True)
    (folder / "hold-out/0/bands").mkdir()
    table = pa.table({"id": ids, "language": ["pt"] * count, "bytes": [5_000] * count})
    write_table(folder / "hold-out/0/cut/0.parquet", table)
    bands = [list(map(int, row)) for row in chance.integers(-(2**62), 2**62, (count, 20))]
    write_table(folder / "hold-out/0/bands/0.parquet", pa.table({"id": ids, "bands": bands}, BANDS))
    del bands, table
    attempt = Attempt(Storage(str(folder)), "hold-out", "0", "a")
    files = {name: File(path=name, bytes=0, sha256="") for name in ("cut/0.parquet", "bands/0.parquet")}
    record = ShardRecord(identity="0", files=files, counts={})
    output = ShardOutput(folder / "out")
    gc.collect()
    before = resident()
    with used() as took:
        choose(Choosing(attempt, (record,), HoldOutConfig()), output)
    peak = peak_resident()
    with used() as read:
        choice = {row["id"]: row for row in read_rows([folder / "out/choice.parquet"])}
    del choice
    with held() as kept:
        choice = {row["id"]: row for row in read_rows([folder / "out/choice.parquet"])}
    assert len(choice) == count
    return {
        "choose_seconds": took[0],
        "choose_bytes": peak - before,
        "choice_seconds": read[0],
        "choice_bytes": kept[0],
    }


def resident() -> float:
    return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def peak_resident() -> float:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in each)
    return float(line.split()[1]) * 1024


def descriptors() -> int:
    """Files that this process has open."""
    return len(os.listdir("/proc/self/fd"))


def open_shards() -> Figures:
    """Of the vocabulary's sample, which has all shards of the corpus open at once: memory and file
    descriptors for each, and seconds for a byte of text that goes by."""
    chance = random.Random(0)
    words = [f"w{chance.randrange(10**6):x}" for _ in range(50_000)]
    row = dict.fromkeys(KEPT.names, "")
    rows = [
        row
        | {
            "id": f"{number:032x}",
            "language": "pt",
            "quality": 0.0,
            "language_score": 1.0,
            "text": " ".join(chance.choices(words, k=TEXT_CHARACTERS // 6)),
        }
        for number in range(ROW_GROUP_TEXTS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.parquet"
        write_rows(path, rows, KEPT)
        columns = ["id", "language", "text"]
        next(read_documents(path, columns))
        gc.collect()
        before, open_before = resident(), descriptors()
        shards = [read_documents(path, columns) for _ in range(40)]
        firsts = [list(islice(shard, 1)) for shard in shards]
        memory, files = resident() - before, descriptors() - open_before
        with used() as took:
            size = sum(len(each["text"].encode()) for each in read_documents(path, columns))
    assert firsts
    return {
        "open_shard_bytes": memory / 40,
        "open_shard_files": files / 40,
        "passing_text_seconds": took[0] / size,
    }


def mapped_tokens() -> Figures:
    """Of a training process: file descriptors that it keeps for each token file that it maps; seconds and
    bytes for each row that it could draw, before the first step."""
    from pipeline.tokens.rows import PIECE, Rows, open_tokens

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.npy"
        np.save(path, np.zeros(1_000, np.uint16))
        before = descriptors()
        opened = [open_tokens(path) for _ in range(50)]
        files = descriptors() - before
        count = 5_000_000
        pieces = np.zeros(count, PIECE)
        pieces["row"] = np.arange(count) * 4 // 5  # five pieces in four rows
        np.save(Path(folder) / "rows.npy", pieces)
        del pieces
        with used() as took:
            rows = Rows(Path(folder) / "rows.npy", [path], [path], 2_048, 0)
        kept = rows._first_piece.nbytes
    return {
        "token_file_descriptors": files / len(opened),
        "row_seconds": took[0] / len(rows),
        "row_bytes": kept / len(rows),
    }


def hashing() -> Figures:
    """SHA-256 of a file in the page cache, bytes a second."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(256 << 20))
        file.flush()
        with used() as took:
            sha256_of(Path(file.name))
    return {"sha256_bytes_per_second": (256 << 20) / took[0]}


def frontier() -> Figures:
    """Bytes of a frontier's file for each URL that it knows."""
    count = 300_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frontier.sqlite"
        known = Frontier(path)
        for start in range(0, count, 3_000):
            urls = (
                f"https://www.site-{number // 100}.example.org/articles/{number * 2654435761 % 2**32:08x}"
                for number in range(start, start + 3_000)
            )
            known.add([Entry(url, "", 3, 3) for url in urls])
            known.commit(Position())
        known.close()
        return {"frontier_url_bytes": path.stat().st_size / count}


def nothing(payload: Any, output: ShardOutput) -> dict[str, int]:
    """A shard of no work."""
    return {}


def tasks() -> Figures:
    """Ray tasks that do nothing, through map_shards: seconds of the driver and wall seconds for each."""
    from pipeline.compute import Compute
    from pipeline.compute_config import ComputeConfig

    count = 1_500
    with tempfile.TemporaryDirectory() as folder:
        compute = Compute(ComputeConfig(store=folder))
        attempt = Attempt(Storage(folder), "extract", "0", "a")
        compute.map_shards(attempt, "warm", {"0": None}, nothing)
        begun = time.perf_counter()
        with used() as took:
            compute.map_shards(attempt, "read", {f"{each:06d}": None for each in range(count)}, nothing)
        wall = time.perf_counter() - begun
        figures = {"task_driver_seconds": took[0] / count, "task_wall_seconds": wall / count}
        figures |= waiting()
        compute.stop()
    with tempfile.TemporaryDirectory() as folder, used() as took:
        attempt = Attempt(Storage(folder), "extract", "0", "a")
        for each in range(20_000):
            attempt.finished_shard("read", f"{each:06d}")
    return figures | {"unfinished_shard_seconds": took[0] / 20_000}


def waiting() -> Figures:
    """One call of ray.wait on tasks that do not end, by how many there are."""
    import ray

    @ray.remote(resources={"what-nobody-has": 1})
    def never() -> None: ...

    figures = {}
    for count in (1_000, 10_000):
        running = [never.remote() for _ in range(count)]
        with used() as took:
            for _ in range(5):
                ray.wait(running, timeout=0)
        figures[f"wait_seconds_{count}"] = took[0] / 5
        for reference in running:
            ray.cancel(reference, force=True)
    return figures


MEASURES: dict[str, Callable[[], Figures]] = {
    each.__name__: each
    for each in (
        pages,
        records,
        artifact,
        captures,
        signatures,
        clusters,
        open_shards,
        mapped_tokens,
        hashing,
        frontier,
        tasks,
    )
}


def main(words: list[str]) -> None:
    if words[:1] == ["--choose"]:
        sys.stdout.write(json.dumps(choose_some(Path(words[1]), int(words[2]))))
        return
    for name in words or MEASURES:
        for figure, value in MEASURES[name]().items():
            sys.stdout.write(f"{figure} {value:.4g}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Documents per CPU-second signed and compared, against bare shingling with rensa; memory and growth."""

import argparse
import math
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import rensa

from pipeline.corpus.clean import CleanConfig
from pipeline.corpus.duplicates import find_duplicates
from pipeline.corpus.signatures import SHINGLE_WORDS, write_signatures
from pipeline.corpus.tables import read_documents, write_table
from pipeline.corpus.word_runs import WORD
from tests.benchmarks.measure import Result, cpu_seconds, in_turn, note, wall_seconds
from tests.benchmarks.texts import texts

SHARD_DOCUMENTS = 20_000
DOCUMENT = pa.schema(
    [(name, pa.string()) for name in ("id", "url", "text", "date")] + [("quality", pa.float64())]
)
LINES = 12
"""Of a document, in the median."""
EXACT, NEAR = 0.05, 0.1
"""Shares of the documents that say again what another says."""
SMALL, LARGE = 100_000, 1_000_000
POLL_SECONDS = 0.05


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--documents", type=int, default=20_000, help="synthetic documents in a turn")
    parser.add_argument(
        "--scale",
        action="store_true",
        help=f"measure memory and growth too, with {SMALL:,} and {LARGE:,} documents (3 GB of disk)",
    )


def run(given: argparse.Namespace) -> Result:
    """Ours reads Parquet shards, writes their signatures, finds duplicates of all three kinds and writes
    who is one. The reference reads the same shards, cuts the words, joins five of them to each shingle,
    hands those to rensa and takes its digest; it compares nothing and writes nothing."""
    with tempfile.TemporaryDirectory(prefix="moinho-duplicates-") as name:
        folder = Path(name)
        shards = write_documents(folder / "documents", given.documents)

        def ours() -> float:
            with cpu_seconds() as took:
                find(shards, folder)
            return given.documents / took[0]

        def reference() -> float:
            with cpu_seconds() as took:
                for path in shards:
                    for row in read_documents(path, ["text"]):
                        bare_signature(row["text"])
            return given.documents / took[0]

        pairs = in_turn(ours, reference, given.pairs)
        figures = {
            "megabytes": sum(len(row["text"]) for path in shards for row in read_documents(path)) / 1e6,
            "duplicates": find(shards, folder),
            **(growth(folder) if given.scale else {}),
        }
        return Result("duplicates", "documents per CPU-second", 0.8, pairs, figures)


def find(shards: list[Path], folder: Path) -> int:
    """What the clean stage does with a shard's documents, and then with all of them; how many are dropped."""
    config, count = CleanConfig(), 0
    signed = {path.stem: folder / f"signatures-{path.name}" for path in shards}
    for path in shards:
        write_signatures(
            signed[path.stem], read_documents(path), config.duplicate_bands, config.duplicate_rows
        )
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for found in find_duplicates(signed, config.keeper, Path(scratch)):
            write_table(folder / f"duplicates-{found.shard}.parquet", found.duplicates)
            count += len(found.duplicates)
    return count


def bare_signature(text: str) -> None:
    words = WORD.findall(text.lower())
    signature = rensa.RMinHash(num_perm=112, seed=42)
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    signature.update([" ".join(words[start : start + SHINGLE_WORDS]) for start in range(count)])
    signature.digest()


def growth(folder: Path) -> dict[str, float]:
    """Seconds and peak memory for both sizes, each in a process of its own, and the exponent between."""
    figures: dict[str, float] = {}
    for count in (SMALL, LARGE):
        shards = write_documents(folder / str(count), count)
        with wall_seconds() as took, cpu_seconds() as used:
            peak = peak_memory(find, shards, folder)
        note(f"{count:,}: {used[0]:.1f} CPU-s, {took[0]:.1f} s, {peak / 2**20:,.0f} MiB at most")
        figures |= {f"cpu_seconds_{count}": used[0], f"resident_mib_{count}": peak / 2**20}
    times = [figures[f"cpu_seconds_{count}"] for count in (SMALL, LARGE)]
    return figures | {"exponent": math.log(times[1] / times[0], LARGE / SMALL)}


def peak_memory(function: Callable[..., object], *given: object) -> int:
    """Runs it in a process of its own: most resident bytes of that and all that it started, at one time."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=given)
    process.start()
    peak, root = 0, psutil.Process(process.pid)
    while process.is_alive():
        try:
            tree = [root, *root.children(recursive=True)]
            peak = max(peak, sum(each.memory_info().rss for each in tree))
        except psutil.NoSuchProcess:
            continue
        time.sleep(POLL_SECONDS)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the process ended with {process.exitcode}")
    return peak


def write_documents(folder: Path, count: int) -> list[Path]:
    """So many synthetic documents, the same at every call, in shards."""
    folder.mkdir(parents=True)
    found = {line for text in texts() for line in text.splitlines()}
    lines = sorted(line for line in found if len(line.split()) >= SHINGLE_WORDS)
    paths = []
    for start in range(0, count, SHARD_DOCUMENTS):
        numbers = range(start, min(count, start + SHARD_DOCUMENTS))
        rows = {
            "id": [f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}" for number in numbers],
            "url": [f"https://site{number % 997}.example/{number}" for number in numbers],
            "text": list(_synthetic(numbers, lines)),
        }
        table = pa.table(rows | {name: pa.nulls(len(numbers)) for name in ("date", "quality")})
        paths.append(folder / f"{start // SHARD_DOCUMENTS:05d}.parquet")
        pq.write_table(table.select(DOCUMENT.names).cast(DOCUMENT), paths[-1], compression="zstd")
    return paths


def _synthetic(numbers: range, lines: list[str]) -> Iterator[str]:
    """Lines of documentation put together by chance; some texts again, some with a line of another's more."""
    for number in numbers:
        chance = random.Random(number)
        what = chance.random()
        if number and what < EXACT + NEAR:
            other = chance.randrange(number)
            text = _lines_of(other, lines)
            yield "\n".join(text if what < EXACT else [*text, chance.choice(lines)])
        else:
            yield "\n".join(_lines_of(number, lines))


def _lines_of(number: int, lines: list[str]) -> list[str]:
    chance = random.Random(-number - 1)
    return chance.choices(lines, k=1 + round(chance.lognormvariate(math.log(LINES), 0.7)))

"""MB of text per CPU-second cleaned, against the sum of what cleaning is made of, each part by itself."""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import rensa
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline.compute_config import ComputeConfig
from pipeline.corpus.clean import CleanConfig, Documents, clean
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.kinds import Kind
from pipeline.corpus.language import passages
from pipeline.corpus.privacy import replace_personal
from pipeline.corpus.quality import first_fault, prose_of
from pipeline.corpus.rule_files import rules_of
from pipeline.corpus.signatures import SHINGLE_WORDS
from pipeline.corpus.tables import DROPPED, RAW, bucket_of, document_id, shard_name, write_rows
from pipeline.corpus.word_runs import WORD
from pipeline.store import Attempt, Made, Store
from tests.benchmarks.measure import Result, cpu_seconds, in_turn
from tests.benchmarks.texts import texts
from tests.corpus.conftest import Crawled, InThisProcess

SHARDS = 4
KIND: Kind = "documentation"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", type=int, default=1, help="take every n-th document only")


def run(given: argparse.Namespace) -> Result:
    """Ours is the clean stage as its Ray tasks do it, one after the other in this process: boilerplate
    counted and taken out, language, rules, duplicates, accounts, records, files with their hashes. The
    reference reads the same Parquet files, counts the pages of each line, asks py3langid for the language
    of the same passages, tries the rules until the first is broken, replaces personal data where none is,
    makes MinHash signatures with rensa from the words, and writes the documents back."""
    with tempfile.TemporaryDirectory(prefix="moinho-clean-") as name:
        folder = Path(name)
        store = Store(str(folder / "store"))
        documents = texts()[:: given.every]
        raw = _raw(store, documents)
        megabytes = sum(len(text.encode()) for text in documents) / 1e6
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        turns = iter(range(10**6))
        parts: dict[str, float] = {}

        def ours() -> float:
            own = Store(str(folder / f"turn{next(turns)}"))
            with cpu_seconds() as took:
                made: Documents = clean(own, raw, CleanConfig(), InThisProcess(ComputeConfig()))
            if made.counts()["pages"] != len(documents):
                raise RuntimeError(f"{made.counts()['pages']} pages came out of {len(documents)}")
            return megabytes / took[0]

        def reference() -> float:
            took = {}
            with cpu_seconds() as took["read"]:
                rows = [row for path in raw.paths("raw/") for row in pq.read_table(path).to_pylist()]
            with cpu_seconds() as took["lines"]:
                Counter(line for row in rows for line in set(map(str.strip, row["text"].splitlines())))
            with cpu_seconds() as took["prose"]:
                prose = [prose_of(row["text"], KIND) for row in rows]
            with cpu_seconds() as took["language"]:
                for each in prose:
                    for passage in passages(each.text):
                        identifier.classify(passage)
            with cpu_seconds() as took["rules"]:
                faults = [first_fault(each, rules_of("en"), KIND) for each in prose]
            with cpu_seconds() as took["personal data"]:
                for row, fault in zip(rows, faults, strict=True):
                    if fault is None:
                        replace_personal(row["text"], CleanConfig().privacy)
            with cpu_seconds() as took["signatures"]:
                for row in rows:
                    _signature(row["text"])
            with cpu_seconds() as took["write"]:
                table = pa.Table.from_pylist(rows, RAW)
                pq.write_table(table, folder / "written.parquet", compression="zstd")
            parts.update({part: seconds[0] for part, seconds in took.items()})
            return megabytes / sum(parts.values())

        pairs = in_turn(ours, reference, given.pairs)
        figures = {"megabytes": megabytes, "documents": len(documents), "reference_seconds": parts}
        return Result("clean", "MB of text per CPU-second", 0.8, pairs, figures)


def _signature(text: str) -> None:
    words = WORD.findall(text.lower())
    signature = rensa.RMinHash(num_perm=112, seed=42)
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    signature.update([" ".join(words[start : start + SHINGLE_WORDS]) for start in range(count)])
    signature.digest()


def _raw(store: Store, documents: list[str]) -> RawDocuments:
    def build(attempt: Attempt) -> Made:
        rows = [
            dict.fromkeys(RAW.names)
            | {
                "id": document_id(f"http://site/{number}", text),
                "source": "crawl",
                "url": f"http://site/{number}",
                "title": "",
                "text": text,
                "kind": KIND,
                "bytes": len(text),
            }
            for number, text in enumerate(documents)
        ]
        for number in range(SHARDS):
            inside = [row for row in rows if bucket_of(str(row["id"]), SHARDS) == number]
            write_rows(attempt.path(f"raw/{shard_name(number)}"), inside, RAW)
            write_rows(attempt.path(f"dropped/{shard_name(number)}"), [], DROPPED)
        files = attempt.publish_folder("raw") | attempt.publish_folder("dropped")
        return Made(files=files, counts={"pages": len(documents), "bytes": sum(map(len, documents))})

    return store.make(RawDocuments, Crawled(name="benchmark"), {}, build)

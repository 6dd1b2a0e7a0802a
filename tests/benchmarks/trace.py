"""Texts looked for in a large corpus: seconds for each, the index's size, and how fast it is made."""

import argparse
import random
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.tables import read_texts
from pipeline.corpus.text_index import TextIndex, TextIndexConfig, find_text
from pipeline.corpus.text_index_shards import Indexing, index
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, Made, Store
from tests.benchmarks.duplicates import write_documents
from tests.benchmarks.measure import Pair, Result, cpu_seconds, note, wall_seconds

LIMIT_SECONDS = 1.0
DOCUMENT_BYTES = 950
"""Of a synthetic document, in the mean."""
QUESTIONS = 20
"""In a turn."""
ASKED_CHARACTERS = 600
PASSAGE_WORDS = 20
SPANS = 1_000
"""That are compared with a plain search."""


@dataclass(frozen=True)
class Shards:
    """What the index reads of a corpus."""

    paths: dict[str, Path]

    def path(self, name: str) -> Path:
        return self.paths[name]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--megabytes", type=int, default=100, help="text of the corpus")


def run(given: argparse.Namespace) -> Result:
    """A question is a passage of a document between two of words that stand nowhere; the document must be
    named. A ratio is a second by the seconds of a question. The files lie in the page cache, as after the
    first question."""
    with tempfile.TemporaryDirectory(prefix="moinho-trace-") as name:
        folder = Path(name)
        paths = write_documents(folder / "documents", given.megabytes * 10**6 // DOCUMENT_BYTES)
        with cpu_seconds() as used:
            made = make_index(Store(str(folder / "store")), paths)
        size = made.record.counts["bytes"]
        files = sum(file.bytes for file in made.record.files.values())
        rate = size / 1e6 / used[0]
        note(
            f"{size / 1e6:.1f} MB indexed at {rate:.1f} MB per CPU-second; its files have {files / size:.2f} "
            "bytes for each of the text"
        )
        texts, chance, pairs = [text for path in paths for text in read_texts(path)], random.Random(0), []
        for _ in range(given.pairs):
            questions = [question_of(texts, chance) for _ in range(QUESTIONS)]
            with wall_seconds() as took:
                for asked, passage in questions:
                    found = find_text([made], asked.encode(), least_words=3)
                    assert any(passage in each.text for each in found), passage
            pairs.append(Pair(QUESTIONS / took[0], 1 / LIMIT_SECONDS))
            note(f"{took[0] / QUESTIONS * 1e3:,.0f} ms a question")
        wrong = wrong_spans(made, texts, chance)
        figures = {
            "megabytes": size / 1e6,
            "megabytes_per_cpu_second": rate,
            "index_bytes_per_text_byte": files / size,
            "wrong_of_1000_spans": wrong,
        }
        return Result("trace", "questions per second", 1.0, pairs, figures)


def make_index(store: Store, paths: list[Path]) -> TextIndex:
    """By the stage's own task, a shard after the other, without Ray."""
    corpus = cast(Corpus, Shards({f"train/{path.name}": path for path in paths}))

    def build(attempt: Attempt) -> Made:
        counts: dict[str, int] = {}
        for name in cast(Any, corpus).paths:
            output = ShardOutput(attempt.path("chunks/.").parent)
            for each, count in index(Indexing(corpus, name, TextIndexConfig().chunk_bytes), output).items():
                counts[each] = counts.get(each, 0) + count
        return Made(files=attempt.publish_folder("chunks"), counts=counts)

    return store.make(TextIndex, Config(), {}, build)


def question_of(texts: list[str], chance: random.Random) -> tuple[str, str]:
    """A text to look for, and the passage of it that stands in the corpus."""
    words: list[re.Match[str]] = []
    while len(words) < PASSAGE_WORDS:
        text = chance.choice(texts)
        words = list(re.finditer(r"\w+", text))
    first = chance.randrange(len(words) - PASSAGE_WORDS + 1)
    passage = text[words[first].start() : words[first + PASSAGE_WORDS - 1].end()]
    other = " ".join(chance.choice(chance.choice(texts).split(" ")) for _ in range(ASKED_CHARACTERS // 12))
    return f"{other} ¤{passage}¤ {other}", passage


def wrong_spans(made: TextIndex, texts: list[str], chance: random.Random) -> int:
    """Of random spans those that a plain search finds elsewhere, or another number of times."""
    chunks, wrong = list(made.chunks()), 0
    whole = [bytes(chunk.text.text) for chunk in chunks]
    for _ in range(SPANS):
        text = chance.choice(texts)
        first = chance.randrange(max(1, len(text) - 10))
        span = text[first : first + chance.randrange(5, 200)].encode()
        found = [chunk.text.places(span).tolist() for chunk in chunks]
        wrong += found != [_plainly(text, span) for text in whole]
    return wrong


def _plainly(text: bytes, span: bytes) -> list[int]:
    found, at = [], text.find(span)
    while at >= 0:
        found.append(at)
        at = text.find(span, at + 1)
    return found

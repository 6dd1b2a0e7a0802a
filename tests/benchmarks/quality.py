"""Held-out bytes per bit of a model of what a classifier chose, against as many tokens chosen at random."""

import argparse
import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.compute_config import ComputeConfig
from pipeline.corpus.classifier import ClassifierConfig, train_classifier
from pipeline.corpus.scoring import Score, scorer
from pipeline.models.ngram import NGramModel
from pipeline.store import Store
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from tests.benchmarks.measure import Result, in_turn
from tests.benchmarks.texts import texts
from tests.corpus.conftest import InThisProcess
from tests.tokens.conftest import processor_of, small_corpus
from tests.tokens.texts import documentation

PIECES = 4096
BEGIN = PIECES
"""Id that begins a document; SentencePiece's own are below."""
KEPT_SHARE = 0.5
HELD_OUT = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="another seed holds out other documents")


def run(given: argparse.Namespace) -> Result:
    """The classifier learns half of the chapters of Python's manual against docstrings of many modules.
    Of other docstrings it chooses the better half; a 5-gram model learns those, another as many tokens of
    documents chosen at random. Both are asked for a tenth of the docstrings that neither has seen: that is
    the ratio. The figures have the same for the other half of the chapters, which are what it was taught
    to look for. Above 1 the classifier helps."""
    with tempfile.TemporaryDirectory(prefix="moinho-quality-") as name:
        folder = Path(name)
        store = Store(str(folder / "store"))
        chapters = documentation()
        pool = sorted(set(texts()) - set(chapters))
        random.Random(given.seed).shuffle(pool)
        tenth = len(pool) // HELD_OUT
        held_out, examples, pool = pool[:tenth], pool[tenth : 3 * tenth], pool[3 * tenth :]
        score = _learned(store, folder, chapters[::2], examples)
        vocabulary = train_vocabulary(store, small_corpus(store, examples), VocabularyConfig(pieces=PIECES))
        processor = processor_of(vocabulary)

        def encoded(documents: Iterable[str]) -> NDArray[np.int64]:
            found = [[BEGIN, *processor.encode(document, num_threads=1)] for document in documents]
            return np.array([piece for document in found for piece in document], np.int64)

        tokens = int(KEPT_SHARE * len(encoded(pool)))
        better = sorted(pool, key=lambda document: (-score(document), document))
        asked = {"docstrings": held_out, "chapters": chapters[1::2]}
        figures: dict[str, dict[str, list[float]]] = {"with": {}, "without": {}}

        def bytes_per_bit(documents: Sequence[str], side: str) -> float:
            model = NGramModel.fit(encoded(documents)[:tokens], PIECES + 1, BEGIN)
            for what, wanted in asked.items():
                nats = -model.log_probabilities(encoded(wanted)).sum()
                size = sum(len(document.encode()) for document in wanted)
                figures[side].setdefault(what, []).append(float(nats / np.log(2) / size))
            return 1 / figures[side]["docstrings"][-1]

        def ours() -> float:
            return bytes_per_bit(better, "with")

        turns = iter(range(10**6))

        def reference() -> float:
            shuffled = list(pool)
            random.Random(f"{given.seed} {next(turns)}").shuffle(shuffled)
            return bytes_per_bit(shuffled, "without")

        pairs = in_turn(ours, reference, given.pairs)
        return Result(
            "quality", "held-out bytes per bit", 1.0, pairs, {"tokens": tokens, "bits_per_byte": figures}
        )


def _learned(store: Store, folder: Path, good: Sequence[str], bad: Sequence[str]) -> Score:
    for side, found in (("good", good), ("bad", bad)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in found)
        (folder / f"{side}.jsonl").write_text(lines, encoding="utf-8")
    config = ClassifierConfig(good=(str(folder / "good.jsonl"),), bad=(str(folder / "bad.jsonl"),))
    made = train_classifier(store, config, InThisProcess(ComputeConfig()))
    assert made is not None
    return scorer(made.path("model.safetensors"))

"""What is measured of each kind of vocabulary."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.corpus.hold_out import Corpus
from pipeline.tokens.comparison import BY_LANGUAGE, ComparisonConfig
from pipeline.tokens.encoders import Encoder, FastEncoder, open_encoder
from pipeline.tokens.figures import WORD
from pipeline.tokens.foreign import local_tokenizer
from pipeline.tokens.learn import Counted, learn_pieces, pieces_of
from pipeline.tokens.markers import MARKERS, neutralise, restore
from pipeline.tokens.misspell import misspelt
from pipeline.tokens.sample import Sample, luck, rows_by_id
from pipeline.tokens.take_over import take_over
from pipeline.tokens.transformers_files import write_folder
from pipeline.tokens.vocabulary import Kind

Texts = Mapping[str, Sequence[str]]
"""Language → held-out texts."""
BYTE_IDS = range(len(MARKERS), len(MARKERS) + 256)
"""SentencePiece puts the bytes right behind the markers."""


def held_out_texts(corpus: Corpus, config: ComparisonConfig) -> Texts:
    """About `measured_bytes` of them; which, hangs on their ids alone."""
    rate = config.measured_bytes / max(1, corpus.record.counts.get("held-out.bytes", 0))
    found: dict[str, list[str]] = {}
    for row in rows_by_id(corpus, "held-out"):
        if row["text"] and luck(config.seed, row["id"]) < rate:
            found.setdefault(row["language"], []).append(row["text"])
    return dict(sorted(found.items()))


def measured(corpus: Corpus, model: Kind, texts: Texts, config: ComparisonConfig) -> dict[str, Any]:
    """Learn a vocabulary and measure it: the figures of TOLD, and `languages` with those of BY_LANGUAGE."""
    settings = config.vocabulary.model_copy(update={"model": model, "tokenizer": None, "extend": 0})
    sample = Counted(map(neutralise, Sample(corpus, settings)))
    wall, cpu = time.perf_counter(), time.process_time()
    learned = learn_pieces(sample, settings)
    times = {
        "learning_seconds": time.perf_counter() - wall,
        "learning_cpu_seconds": time.process_time() - cpu,
    }
    with tempfile.TemporaryDirectory() as name:
        write_folder(learned, model, Path(name))
        encoder = open_encoder(Path(name))
        return {**tried(encoder, pieces_of(learned), texts, config), **times}


def measured_foreign(corpus: Corpus, texts: Texts, config: ComparisonConfig) -> dict[str, Any]:
    """The same of the tokenizer that is taken over; one that loses text is measured all the same."""
    settings = config.vocabulary
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        sample = Sample(corpus, settings)
        pieces = take_over(local_tokenizer(settings), Path(name), sample, settings.extend)
        times = {
            "learning_seconds": time.perf_counter() - wall,
            "learning_cpu_seconds": time.process_time() - cpu,
        }
        found = tried(FastEncoder(Path(name)), pieces, texts, config)
    return {**found, **times, "byte_share": None}


def tried(encoder: Encoder, pieces: int, texts: Texts, config: ComparisonConfig) -> dict[str, Any]:
    """All figures but those of learning."""
    totals: Counter[str] = Counter()
    used: set[int] = set()
    languages = {}
    for language, own in texts.items():
        counts = _counts(encoder, own, used) + _of_mistakes(encoder, own, config)
        languages[language] = _figures(counts, BY_LANGUAGE)
        totals += counts
    return {
        **_figures(totals, [*BY_LANGUAGE, "round_trip", "byte_share", "encoding_mb_per_second"]),
        "pieces": pieces,
        "used_share": len(used) / pieces,
        "languages": languages,
    }


def _counts(encoder: Encoder, texts: Iterable[str], used: set[int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in texts:
        harmless = neutralise(text, encoder.markers)
        begin = time.process_time_ns()
        ids = encoder.encode([harmless])[0].tolist()
        found["encoding_ns"] += time.process_time_ns() - begin
        words = WORD.findall(text)
        used.update(ids)
        found.update(
            documents=1,
            exact=restore(encoder.decode(ids), encoder.markers) == text,
            bytes=len(text.encode()),
            letters=sum(map(len, words)),
            words=len(words),
            tokens=len(ids),
            byte_tokens=sum(token in BYTE_IDS for token in ids),
        )
    return found


def _of_mistakes(encoder: Encoder, texts: Iterable[str], config: ComparisonConfig) -> Counter[str]:
    """Tokens of words that were misspelt, each with a space before it: right, wrong, and in both."""
    found: Counter[str] = Counter()
    for place, text in enumerate(texts):
        changed = misspelt(text, config.misspelt_share, random.Random(f"{config.seed} {place}"))
        if not changed:
            continue
        right, wrong = zip(*changed, strict=True)
        for before, after in zip(
            encoder.encode([f" {word}" for word in right]),
            encoder.encode([f" {word}" for word in wrong]),
            strict=True,
        ):
            kept = Counter(before.tolist()) & Counter(after.tolist())
            found.update(right_tokens=len(before), wrong_tokens=len(after), kept_tokens=kept.total())
    return found


def _figures(counts: Counter[str], names: Iterable[str]) -> dict[str, float | None]:
    """By the names of TOLD; None where there was nothing to measure, such as no word that was misspelt."""
    sums = {
        "bytes_per_token": (counts["bytes"], counts["tokens"]),
        "letters_per_token": (counts["letters"], counts["tokens"]),
        "words_per_token": (counts["words"], counts["tokens"]),
        "round_trip": (counts["exact"], counts["documents"]),
        "kept_pieces": (counts["kept_tokens"], counts["right_tokens"]),
        "misspelt_growth": (counts["wrong_tokens"], counts["right_tokens"]),
        "byte_share": (counts["byte_tokens"], counts["tokens"]),
        "encoding_mb_per_second": (1000 * counts["bytes"], counts["encoding_ns"]),
    }
    return {name: sums[name][0] / sums[name][1] if sums[name][1] else None for name in names}

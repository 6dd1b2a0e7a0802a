"""Rules for a language that has no file of them, measured on its own documents.

After FineWeb-2 (Penedo et al., 2025, arXiv:2506.20920, section 4), which keeps the rules of English and
takes from each language's statistics what hangs on the language:

- its stop words are its commonest words, those of at least 0.8 % of all, and eight at least;
- a document's language counts as sure from the median of the scores less their standard deviation,
  between 0.3 and 0.9;
- where English's range would drop more of the language's documents than a tenth, it is widened until
  it drops that tenth. It is never narrowed: documents of chosen sites are better than those of the web,
  on which FineWeb-2 measured.

The documents measured are those of smallest id, so they are the same however they lie in files.
"""

import heapq
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from pipeline.corpus.kinds import Kind
from pipeline.corpus.language import identify
from pipeline.corpus.prose import LETTER, Prose, of_documentation
from pipeline.corpus.quality import RULES, prose_of
from pipeline.corpus.rule_files import ANY, LanguageRules, Profile, Threshold, rules_of
from pipeline.corpus.tables import outputs_of, read_rows, write_rows
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord

SAMPLE_DOCUMENTS = 2_000
TAIL = 0.1
STOP_WORD_SHARE = 0.008
LEAST_STOP_WORDS = 8
MOST_STOP_WORDS = 40
LOWEST_SCORE, HIGHEST_SCORE = 0.3, 0.9
ENGLISH, SHAPE = "en", "pt"
"""English's ranges, of the rules that FineWeb-2 keeps for other languages, such as Portuguese."""
MEASURED = (
    *("mean-word-length", "words-with-letter", "punctuated-lines", "newlines-per-word", "duplicate-lines"),
    *(f"top-{size}-gram-characters" for size in (2, 3, 4)),
    *(f"duplicate-{size}-gram-characters" for size in (5, 6, 7, 8, 9, 10)),
)
"""Rules whose range hangs on the language."""
VIEWS: tuple[Kind, ...] = ("web", "documentation")
"""The two ways in which the rules look at a document."""
SAMPLE = pa.schema(
    [("language", pa.string()), ("id", pa.string()), ("score", pa.float64()), ("text", pa.string())]
)


@dataclass(frozen=True)
class Measuring:
    """The samples of all shards, to be measured for one language."""

    attempt: Attempt
    sampled: tuple[ShardRecord, ...]
    language: str


def write_sample(
    documents: Iterable[dict[str, Any]], languages: Sequence[str], output: ShardOutput, name: str
) -> dict[str, int]:
    """Write the documents of smallest id in each language. `documents` have id and text."""
    heaps: dict[str, list[tuple[int, str, float, str]]] = {language: [] for language in languages}
    for document in documents:
        found = identify(document["text"], of_documentation(document["text"]))
        if found.code in heaps:
            heap = heaps[found.code]
            heapq.heappush(heap, (-int(document["id"], 16), document["id"], found.score, document["text"]))
            if len(heap) > SAMPLE_DOCUMENTS:
                heapq.heappop(heap)
    rows = [
        {"language": language, "id": identity, "score": score, "text": text}
        for language, heap in heaps.items()
        for _, identity, score, text in heap
    ]
    write_rows(output.path(f"sample/{name}"), rows, SAMPLE)
    return {"sampled": len(rows)}


def measure(work: Measuring, output: ShardOutput) -> dict[str, int]:
    """Write rules/<language>.toml, where there is any document in that language."""
    paths = outputs_of(work.attempt, work.sampled)
    rows = [row for path in paths for row in read_rows([path]) if row["language"] == work.language]
    sample = sorted(rows, key=lambda row: str(row["id"]))[:SAMPLE_DOCUMENTS]
    if sample:
        rules = rules_from(work.language, [(row["score"], row["text"]) for row in sample])
        text = as_toml(rules, len(sample))
        output.path(f"rules/{work.language}.toml").write_text(text, encoding="utf-8")
    return {f"measured.{work.language}": len(sample)}


def rules_from(language: str, documents: Sequence[tuple[float, str]]) -> LanguageRules:
    """The rules for a language by its documents, each the score of its language and its text."""
    prose = {kind: [prose_of(text, kind) for _, text in documents] for kind in VIEWS}
    values = {kind: [_values(each) for each in found] for kind, found in prose.items()}
    profiles = {
        kind: _profile(kind, values["web" if kind == "web" else "documentation"]) for kind in get_args(Kind)
    }
    return LanguageRules.model_validate(
        {
            "language": language,
            "language_score": _sure([score for score, _ in documents]),
            "stop_words": _stop_words(prose["web"]),
            **profiles,
        }
    )


def as_toml(rules: LanguageRules, documents: int) -> str:
    """The rules as a file says them, which may be laid into rules/ or named in clean.rule_files."""
    words = ", ".join(f'"{word}"' for word in rules.stop_words)
    lines = [
        f"# Measured on {documents:,} documents in this language, after FineWeb-2: see measured_rules.py.",
        f'extends = "{ANY}"',
        f"language_score = {rules.language_score:g}",
        f"stop_words = [{words}]",
    ]
    for kind in get_args(Kind):
        lines += ["", f"[{kind}]"]
        lines += [f"{name} = {_range(range_)}" for name, range_ in rules.profile(kind).items()]
    return "\n".join(lines) + "\n"


def _profile(kind: Kind, values: Sequence[dict[str, float]]) -> Profile:
    english = rules_of(ENGLISH).profile(kind)
    return {
        name: _widened(english[name], [each[name] for each in values]) if name in MEASURED else threshold
        for name, threshold in rules_of(SHAPE).profile(kind).items()
    }


def _values(prose: Prose) -> dict[str, float]:
    return {name: RULES[name].measure(prose, ()) for name in MEASURED}


def _widened(threshold: Threshold, values: Sequence[float]) -> Threshold:
    """The range, made as wide as is needed to drop no more than a tenth at either end."""
    low, high = (float(value) for value in np.quantile(values, (TAIL, 1 - TAIL)))
    return Threshold(
        at_least=None if threshold.at_least is None else min(threshold.at_least, _three_digits(low)),
        at_most=None if threshold.at_most is None else max(threshold.at_most, _three_digits(high)),
    )


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _sure(scores: Sequence[float]) -> float:
    wanted = statistics.median(scores) - statistics.pstdev(scores)
    return round(max(LOWEST_SCORE, min(HIGHEST_SCORE, wanted)), 3)


def _stop_words(documents: Sequence[Prose]) -> tuple[str, ...]:
    """The commonest words with nothing but letters."""
    counts: Counter[str] = Counter()
    total = 0
    for prose in documents:
        tokens = prose.tokens
        total += tokens.words
        for kind, count in zip(tokens.kinds, tokens.counts.tolist(), strict=True):
            if kind.isalpha() and LETTER.match(kind):
                counts[kind.lower()] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_STOP_WORDS]
    common = [word for word, count in ordered if count >= STOP_WORD_SHARE * total]
    return tuple(
        common if len(common) >= LEAST_STOP_WORDS else [word for word, _ in ordered[:LEAST_STOP_WORDS]]
    )


def _range(threshold: Threshold) -> str:
    ends = threshold.model_dump(exclude_none=True)
    return "{ " + ", ".join(f"{end} = {value:g}" for end, value in ends.items()) + " }" if ends else "{}"

"""Is a document worth learning from? Published rules, chosen by language and by kind of document.

Each rule is a function from text to one number; thresholds lie in rules/<language>.toml, one
table per profile. Sources: Gopher (Rae et al., 2021, arXiv:2112.11446, A.1), C4 (Raffel et al.,
2020, arXiv:1910.10683, 2.2), FineWeb (Penedo et al., 2024, arXiv:2406.17557), FineWeb-2 (Penedo et
al., 2025, arXiv:2506.20920), as in datatrove's filters.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.config import Config
from pipeline.corpus.prose import LETTER, Prose, of_documentation, of_web

BULLETS = ("•", "-", "*", "‣", "◦")
ELLIPSES = ("...", "…")
SENTENCE_ENDS = (
    ".",
    "!",
    "?",
    "…",
    "。",
    "！",
    "？",
    ":",
    ";",
    '."',
    '?"',
    '!"',
    ".”",
    "?”",
    "!”",
    ".)",
    "?)",
    "!)",
)
SENTENCE = re.compile(r"[^.!?…]{2,}[.!?…]+(?=[\s\"”')\]]|$)")
SHORT_LINE_CHARACTERS = 30
POLICY = re.compile(
    r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
    r"|termos de uso|política de privacidade|política de cookies|usa cookies|utiliza cookies|javascript",
    re.IGNORECASE,
)


class Threshold(Config):
    """The range in which a rule's value must lie; either end may be open."""

    at_least: float | None = None
    at_most: float | None = None


class LanguageRules(Config):
    """What rules/<language>.toml holds."""

    language_score: float = Field(ge=0, le=1)
    """Documents whose language is less sure than this are dropped."""
    stop_words: tuple[str, ...]
    web: dict[str, Threshold]
    """Rule → range, for web pages."""
    documentation: dict[str, Threshold]
    """Rule → range, for technical documentation, measured on its prose."""


@dataclass(frozen=True)
class Fault:
    """The rule that a document breaks first."""

    reason: str
    value: float
    threshold: float
    detail: str


@dataclass(frozen=True)
class Rule:
    """A measure with the reasons that too little or too much of it gives."""

    measure: Callable[[Prose, Sequence[str]], float]
    """Prose and the language's stop words → the value."""
    too_low: str
    too_high: str


@cache
def rules_of(language: str) -> LanguageRules:
    """The rules for a language. Raises FileNotFoundError if there are none."""
    source = files("pipeline.corpus") / "rules" / f"{language}.toml"
    return LanguageRules.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))


def known_languages() -> list[str]:
    """Languages that there are rules for, sorted."""
    entries = (files("pipeline.corpus") / "rules").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))


def first_fault(text: str, language: str, kind: str) -> Fault | None:
    """The first rule that the document breaks, in the order of RULES, or None if it is good."""
    rules = rules_of(language)
    prose, thresholds = (
        (of_documentation(text), rules.documentation)
        if kind == "documentation"
        else (of_web(text), rules.web)
    )
    for name, rule in RULES.items():
        threshold = thresholds.get(name)
        if threshold is None:
            continue
        value = rule.measure(prose, rules.stop_words)
        if threshold.at_least is not None and value < threshold.at_least:
            return Fault(rule.too_low, round(value, 6), threshold.at_least, f"{name}, {language}, {kind}")
        if threshold.at_most is not None and value > threshold.at_most:
            return Fault(rule.too_high, round(value, 6), threshold.at_most, f"{name}, {language}, {kind}")
    return None


def measures(text: str, language: str, kind: str) -> dict[str, float]:
    """Every rule's value, for looking at a corpus."""
    prose = of_documentation(text) if kind == "documentation" else of_web(text)
    return {name: rule.measure(prose, rules_of(language).stop_words) for name, rule in RULES.items()}


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def mean_word_length(prose: Prose) -> float:
    """Characters (Gopher)."""
    return share(sum(map(len, prose.words)), len(prose.words))


def hashes_per_word(prose: Prose) -> float:
    """Signs `#` per token (Gopher)."""
    return share(prose.text.count("#"), len(prose.tokens))


def ellipses_per_word(prose: Prose) -> float:
    """Signs `...` and `…` per token (Gopher)."""
    return share(sum(prose.text.count(sign) for sign in ELLIPSES), len(prose.tokens))


def bullet_lines(prose: Prose) -> float:
    """Share of lines that begin with a bullet (Gopher)."""
    return share(sum(line.lstrip().startswith(BULLETS) for line in prose.lines), len(prose.lines))


def ellipsis_lines(prose: Prose) -> float:
    """Share of lines that end in `...` or `…` (Gopher)."""
    return share(sum(line.rstrip().endswith(ELLIPSES) for line in prose.lines), len(prose.lines))


def words_with_letter(prose: Prose) -> float:
    """Share of tokens with a letter in them (Gopher)."""
    return share(sum(LETTER.search(token) is not None for token in prose.tokens), len(prose.tokens))


def stop_words_found(prose: Prose, stop_words: Sequence[str]) -> float:
    """How many of the language's stop words occur (Gopher)."""
    return float(len({word.lower() for word in prose.words}.intersection(stop_words)))


def duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    """Number of pieces that occurred before, and of the characters in them."""
    counts = Counter(pieces)
    repeated = [(piece, count - 1) for piece, count in counts.items() if count > 1]
    return sum(count for _, count in repeated), sum(len(piece) * count for piece, count in repeated)


def duplicate_lines(prose: Prose) -> float:
    """Share of lines that occurred before (Gopher)."""
    return share(duplicates(prose.lines)[0], len(prose.lines))


def duplicate_paragraphs(prose: Prose) -> float:
    """Share of paragraphs that occurred before (Gopher)."""
    return share(duplicates(prose.paragraphs)[0], len(prose.paragraphs))


def duplicate_line_characters(prose: Prose) -> float:
    """Share of the characters that are in lines that occurred before (Gopher)."""
    return share(duplicates(prose.lines)[1], len(prose.text))


def duplicate_paragraph_characters(prose: Prose) -> float:
    """Share of the characters that are in paragraphs that occurred before (Gopher)."""
    return share(duplicates(prose.paragraphs)[1], len(prose.text))


def top_gram_characters(prose: Prose, size: int) -> float:
    """Share of the characters that are in the most frequent n-gram of tokens (Gopher)."""
    codes, starts = _grams(prose.tokens, size)
    if not len(codes):
        return 0.0
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    # Of n-grams that are equally frequent the first in the text counts.
    most = counts.max()
    index = int(first[counts == most].min())
    characters = int(starts[index + size] - starts[index]) + size - 1
    return share(characters * int(most), len(prose.text))


def duplicate_gram_characters(prose: Prose, size: int) -> float:
    """Share of the characters in n-grams of tokens that occurred before, overlaps counted once (Gopher)."""
    codes, starts = _grams(prose.tokens, size)
    unique = len(np.unique(codes))
    if unique == len(codes):
        return 0.0
    seen: set[int] = set()
    characters, index, sequence = 0, 0, codes.tolist()
    while index < len(sequence):
        if sequence[index] in seen:
            characters += int(starts[index + size] - starts[index])
            index += size
        else:
            seen.add(sequence[index])
            index += 1
    return share(characters, len(prose.text))


def _grams(tokens: Sequence[str], size: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A 64-bit code for every n-gram, and the tokens' cumulative lengths (one more than tokens)."""
    numbers: dict[str, int] = {}
    ids = np.fromiter((numbers.setdefault(token, len(numbers)) for token in tokens), np.uint64, len(tokens))
    starts = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, tokens), np.int64, len(tokens)), out=starts[1:])
    count = max(0, len(tokens) - size + 1)
    codes = np.zeros(count, np.uint64)
    for shift in range(size):
        # Multiplying by odd constants and folding the high bits down mixes as well as is needed.
        codes = (codes ^ ids[shift : shift + count]) * np.uint64(0x9E3779B97F4A7C15)
        codes ^= codes >> np.uint64(32)
    return codes, starts


def punctuated_lines(prose: Prose) -> float:
    """Share of lines that end in punctuation (FineWeb)."""
    return share(sum(line.rstrip().endswith(SENTENCE_ENDS) for line in prose.lines), len(prose.lines))


def short_lines(prose: Prose) -> float:
    """Share of lines of at most 30 characters (FineWeb)."""
    return share(sum(len(line) <= SHORT_LINE_CHARACTERS for line in prose.lines), len(prose.lines))


def duplicated_characters(prose: Prose) -> float:
    """Share of the characters, newlines aside, in lines that occurred before (FineWeb)."""
    return share(duplicates(prose.lines)[1], len(prose.text.replace("\n", "")))


def newlines_per_word(prose: Prose) -> float:
    """Newlines per token (FineWeb)."""
    return share(prose.text.count("\n"), len(prose.tokens))


def sentences(prose: Prose) -> float:
    """Number of sentences (C4)."""
    return float(sum(len(SENTENCE.findall(line)) for line in prose.lines))


def curly_brackets(prose: Prose) -> float:
    """Number of `{`, a sign of program code (C4)."""
    return float(prose.text.count("{"))


def lorem_ipsum(prose: Prose) -> float:
    """Number of times that the filler text occurs (C4)."""
    return float(prose.text.lower().count("lorem ipsum"))


def policy_lines(prose: Prose) -> float:
    """Share of lines about cookies, terms and JavaScript (after C4, which removes the lines)."""
    return share(sum(POLICY.search(line) is not None for line in prose.lines), len(prose.lines))


def _plain(measure: Callable[[Prose], float], too_low: str, too_high: str | None = None) -> Rule:
    """A rule that needs no stop words."""
    return Rule(lambda prose, _: measure(prose), too_low, too_high or too_low)


RULES: Mapping[str, Rule] = {
    "words": _plain(lambda prose: float(len(prose.words)), "few-words", "many-words"),
    "mean-word-length": _plain(mean_word_length, "short-words", "long-words"),
    "hashes-per-word": _plain(hashes_per_word, "hashes"),
    "ellipses-per-word": _plain(ellipses_per_word, "ellipses"),
    "bullet-lines": _plain(bullet_lines, "bullet-lines"),
    "ellipsis-lines": _plain(ellipsis_lines, "ellipsis-lines"),
    "words-with-letter": _plain(words_with_letter, "few-letters"),
    "stop-words": Rule(stop_words_found, "few-stop-words", "many-stop-words"),
    "duplicate-lines": _plain(duplicate_lines, "duplicate-lines"),
    "duplicate-paragraphs": _plain(duplicate_paragraphs, "duplicate-paragraphs"),
    "duplicate-line-characters": _plain(duplicate_line_characters, "duplicate-lines"),
    "duplicate-paragraph-characters": _plain(duplicate_paragraph_characters, "duplicate-paragraphs"),
    **{
        f"top-{size}-gram-characters": _plain(
            partial(top_gram_characters, size=size), f"frequent-{size}-gram"
        )
        for size in (2, 3, 4)
    },
    **{
        f"duplicate-{size}-gram-characters": _plain(
            partial(duplicate_gram_characters, size=size), f"duplicate-{size}-grams"
        )
        for size in (5, 6, 7, 8, 9, 10)
    },
    "punctuated-lines": _plain(punctuated_lines, "few-punctuated-lines"),
    "short-lines": _plain(short_lines, "short-lines"),
    "duplicated-characters": _plain(duplicated_characters, "duplicated-characters"),
    "newlines-per-word": _plain(newlines_per_word, "many-newlines"),
    "sentences": _plain(sentences, "few-sentences"),
    "curly-brackets": _plain(curly_brackets, "curly-brackets"),
    "lorem-ipsum": _plain(lorem_ipsum, "lorem-ipsum"),
    "policy-lines": _plain(policy_lines, "policy-lines"),
}


def rules_identity(languages: Sequence[str]) -> dict[str, Any]:
    """What the languages' rule files say, apart from how they are written."""
    return {language: rules_of(language).model_dump(mode="json") for language in languages}

"""Is a document worth learning from? Published rules, chosen by language and by kind of document.

A rule is a measure (measures/, a module per paper) with the reasons that too little or too much of it
gives; the ranges lie in rules/<language>.toml, one table per kind. Sources: Gopher (Rae et al., 2021,
arXiv:2112.11446), C4 (Raffel et al., 2020, arXiv:1910.10683), mC4 (Xue et al., 2021,
arXiv:2010.11934), FineWeb (Penedo et al., 2024, arXiv:2406.17557), FineWeb-2 (Penedo et al., 2025,
arXiv:2506.20920).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.corpus.kinds import Kind
from pipeline.corpus.measures import c4, fineweb, gopher, repetition
from pipeline.corpus.prose import Prose, of_documentation, of_web
from pipeline.corpus.rule_files import LanguageRules


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


def prose_of(text: str, kind: Kind) -> Prose:
    """What the rules judge: all of a web page; else the prose between headings, tables and code."""
    return of_web(text) if kind == "web" else of_documentation(text)


def first_fault(prose: Prose, rules: LanguageRules, kind: Kind) -> Fault | None:
    """The first rule that the document breaks, in the order of RULES, or None if it is good."""
    thresholds = rules.profile(kind)
    for name, rule in RULES.items():
        threshold = thresholds.get(name)
        if threshold is None:
            continue
        value = rule.measure(prose, rules.stop_words)
        detail = f"{name}, {rules.language}, {kind}"
        if threshold.at_least is not None and value < threshold.at_least:
            return Fault(rule.too_low, round(value, 6), threshold.at_least, detail)
        if threshold.at_most is not None and value > threshold.at_most:
            return Fault(rule.too_high, round(value, 6), threshold.at_most, detail)
    return None


def measured(prose: Prose, stop_words: Sequence[str]) -> dict[str, float]:
    """Every rule's value, for looking at a corpus."""
    return {name: rule.measure(prose, stop_words) for name, rule in RULES.items()}


def _plain(measure: Callable[[Prose], float], too_low: str, too_high: str | None = None) -> Rule:
    """A rule that needs no stop words."""
    return Rule(lambda prose, _: measure(prose), too_low, too_high or too_low)


RULES: Mapping[str, Rule] = {
    "words": _plain(gopher.words, "few-words", "many-words"),
    "mean-word-length": _plain(gopher.mean_word_length, "short-words", "long-words"),
    "hashes-per-word": _plain(gopher.hashes_per_word, "hashes"),
    "ellipses-per-word": _plain(gopher.ellipses_per_word, "ellipses"),
    "bullet-lines": _plain(gopher.bullet_lines, "bullet-lines"),
    "ellipsis-lines": _plain(gopher.ellipsis_lines, "ellipsis-lines"),
    "words-with-letter": _plain(gopher.words_with_letter, "few-letters"),
    "stop-words": Rule(gopher.stop_words, "few-stop-words", "many-stop-words"),
    "duplicate-lines": _plain(repetition.duplicate_lines, "duplicate-lines"),
    "duplicate-paragraphs": _plain(repetition.duplicate_paragraphs, "duplicate-paragraphs"),
    "duplicate-line-characters": _plain(repetition.duplicate_line_characters, "duplicate-lines"),
    "duplicate-paragraph-characters": _plain(
        repetition.duplicate_paragraph_characters, "duplicate-paragraphs"
    ),
    **{
        f"top-{size}-gram-characters": _plain(
            partial(repetition.top_gram_characters, size=size), f"frequent-{size}-gram"
        )
        for size in (2, 3, 4)
    },
    **{
        f"duplicate-{size}-gram-characters": _plain(
            partial(repetition.duplicate_gram_characters, size=size), f"duplicate-{size}-grams"
        )
        for size in (5, 6, 7, 8, 9, 10)
    },
    "punctuated-lines": _plain(fineweb.punctuated_lines, "few-punctuated-lines"),
    "short-lines": _plain(fineweb.short_lines, "short-lines"),
    "duplicated-characters": _plain(fineweb.duplicated_characters, "duplicated-characters"),
    "newlines-per-word": _plain(fineweb.newlines_per_word, "many-newlines"),
    "sentences": _plain(c4.sentences, "few-sentences"),
    "terminal-lines": _plain(c4.terminal_lines, "few-terminal-lines"),
    "few-word-lines": _plain(c4.few_word_lines, "few-word-lines"),
    "giant-words": _plain(c4.giant_words, "giant-words"),
    "curly-brackets": _plain(c4.curly_brackets, "curly-brackets"),
    "lorem-ipsum": _plain(c4.lorem_ipsum, "lorem-ipsum"),
    "policy-lines": _plain(c4.policy_lines, "policy-lines"),
    "long-lines": _plain(c4.long_lines, "few-long-lines"),
}

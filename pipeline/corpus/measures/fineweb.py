"""FineWeb's own rules (Penedo et al., 2024, arXiv:2406.17557, 3.6).

FineWeb-2 (Penedo et al., 2025, arXiv:2506.20920) measures the same, with other thresholds for each
language: see measured_rules.py.
"""

from pipeline.corpus.measures import Prose, share

SENTENCE_ENDS = (
    *(".", "!", "?", "…", "。", "！", "？", ":", ";"),
    *('."', '?"', '!"', ".”", "?”", "!”", ".)", "?)", "!)"),
)
SHORT_LINE_CHARACTERS = 30


def punctuated_lines(prose: Prose) -> float:
    """Share of lines that end in punctuation."""
    return share(sum(line.rstrip().endswith(SENTENCE_ENDS) for line in prose.lines), len(prose.lines))


def short_lines(prose: Prose) -> float:
    """Share of lines of at most 30 characters."""
    return share(sum(len(line) <= SHORT_LINE_CHARACTERS for line in prose.lines), len(prose.lines))


def duplicated_characters(prose: Prose) -> float:
    """Share of the characters, newlines aside, in lines that occurred before."""
    return share(prose.repeated_lines.characters, len(prose.text) - prose.text.count("\n"))


def newlines_per_word(prose: Prose) -> float:
    """Newlines per token."""
    return share(prose.text.count("\n"), len(prose.tokens))

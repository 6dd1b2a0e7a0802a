"""C4's rules (Raffel et al., 2020, arXiv:1910.10683, 2.2), and mC4's (Xue et al., 2021, arXiv:2010.11934).

C4 takes single lines out and then counts what is left; here a document is kept or dropped as a whole,
so what it says of lines is measured as their share. Left out are its list of bad words, which drops
whole subjects with them (health, law, minorities: Dodge et al., 2021, arXiv:2104.08758) and of which
there is no list with a clear licence, and its removal of repeated spans of three sentences, since
duplicates have a step of their own.
"""

import re

from pipeline.corpus.measures import Prose, share

SENTENCE_END = re.compile(r"[.!?…](?<=[^.!?…\n]{2}.)[.!?…]*(?=[\s\"”')\]]|\Z)")
TERMINAL = (".", "!", "?", '"', "'", "”", "’", "。", "！", "？")
WORD_CHARACTERS = 1_000
FEW_WORDS = 3
LONG_LINE_CHARACTERS = 200
POLICIES = (
    *("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
    *("termos de uso", "termos de utilização", "política de privacidade", "política de cookies"),
    *("usa cookies", "utiliza cookies", "uso de cookies", "javascript"),
)


def sentences(prose: Prose) -> float:
    """Number of sentences."""
    return float(len(SENTENCE_END.findall(prose.text)))


def terminal_lines(prose: Prose) -> float:
    """Share of lines that end in a terminal mark, an ellipsis being none."""
    ended = sum((end := line.rstrip()).endswith(TERMINAL) and not end.endswith("...") for line in prose.lines)
    return share(ended, len(prose.lines))


def few_word_lines(prose: Prose) -> float:
    """Share of lines of fewer than three words."""
    return share(sum(len(line.split(None, FEW_WORDS)) < FEW_WORDS for line in prose.lines), len(prose.lines))


def giant_words(prose: Prose) -> float:
    """Number of words of more than 1,000 characters."""
    return float(
        sum(
            len(word) > WORD_CHARACTERS
            for line in prose.lines
            if len(line) > WORD_CHARACTERS
            for word in line.split()
        )
    )


def curly_brackets(prose: Prose) -> float:
    """Number of `{`, a sign of program code."""
    return float(prose.text.count("{"))


def lorem_ipsum(prose: Prose) -> float:
    """Number of times that the filler text occurs."""
    return float(prose.lower.count("lorem ipsum"))


def policy_lines(prose: Prose) -> float:
    """Share of lines about cookies, terms and JavaScript."""
    found = [policy for policy in POLICIES if policy in prose.lower]
    if not found:
        return 0.0
    lines = [line.lower() for line in prose.lines]
    return share(sum(any(policy in line for policy in found) for line in lines), len(lines))


def long_lines(prose: Prose) -> float:
    """Number of lines of at least 200 characters (mC4)."""
    return float(sum(len(line) >= LONG_LINE_CHARACTERS for line in prose.lines))

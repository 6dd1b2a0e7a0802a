"""Gopher's rules for quality (Rae et al., 2021, arXiv:2112.11446, A.1.1)."""

from collections.abc import Sequence

import numpy as np

from pipeline.corpus.measures import Prose, share
from pipeline.corpus.prose import LETTER

BULLETS = ("•", "-", "*", "‣", "◦")
ELLIPSES = ("...", "…")


def words(prose: Prose) -> float:
    """Number of words."""
    return float(prose.tokens.words)


def mean_word_length(prose: Prose) -> float:
    """Characters."""
    tokens = prose.tokens
    return share(float((tokens.lengths * tokens.counts)[tokens.are_words].sum()), tokens.words)


def hashes_per_word(prose: Prose) -> float:
    """Signs `#` per token."""
    return share(prose.text.count("#"), len(prose.tokens))


def ellipses_per_word(prose: Prose) -> float:
    """Signs `...` and `…` per token."""
    return share(sum(prose.text.count(sign) for sign in ELLIPSES), len(prose.tokens))


def bullet_lines(prose: Prose) -> float:
    """Share of lines that begin with a bullet."""
    return share(sum(line.lstrip().startswith(BULLETS) for line in prose.lines), len(prose.lines))


def ellipsis_lines(prose: Prose) -> float:
    """Share of lines that end in `...` or `…`."""
    if not any(sign in prose.text for sign in ELLIPSES):
        return 0.0
    return share(sum(line.rstrip().endswith(ELLIPSES) for line in prose.lines), len(prose.lines))


def words_with_letter(prose: Prose) -> float:
    """Share of tokens with a letter in them."""
    kinds = prose.tokens.kinds
    lettered = np.fromiter((LETTER.search(kind) is not None for kind in kinds), np.bool_, len(kinds))
    return share(float(prose.tokens.counts[lettered].sum()), len(prose.tokens))


def stop_words(prose: Prose, wanted: Sequence[str]) -> float:
    """How many of the language's stop words occur."""
    return float(len({kind.lower() for kind in prose.tokens.kinds}.intersection(wanted)))

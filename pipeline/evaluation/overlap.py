"""Passages of held-out text that training text repeats.

A passage is a paragraph: what stands between blank lines. What is repeated is a run of 13 words.
"""

import re

import numpy as np

from pipeline.corpus.word_runs import WORDS_IN_A_ROW, Hashes, text_grams, words_of

_PASSAGE = re.compile(r"(?:[^\n]|\n(?![^\S\n]*\n))+(?:\n(?:[^\S\n]*\n)+)?|\n(?:[^\S\n]*\n)*")


def passages(text: str) -> list[str]:
    """The paragraphs of a text, each with the blank lines after it; joined, they are the text."""
    return _PASSAGE.findall(text)


def unshared_passages(text: str, shared: Hashes) -> list[tuple[str, bool]]:
    """Every passage of the text, and whether it may stay.

    One goes that has any word of a shared run, also of a run that crosses into it. `shared` is sorted.
    """
    cut = passages(text)
    counts = [len(words_of(passage)) for passage in cut]
    grams = text_grams(text)
    words = np.zeros(sum(counts) + 1, np.int64)
    for begin in np.flatnonzero(np.isin(grams, shared)):
        words[begin] += 1
        words[begin + WORDS_IN_A_ROW] -= 1
    covered = np.concatenate([[0], np.cumsum(np.cumsum(words)[:-1] > 0)])
    ends = np.cumsum([0, *counts])
    return [(passage, bool(covered[ends[at]] == covered[ends[at + 1]])) for at, passage in enumerate(cut)]

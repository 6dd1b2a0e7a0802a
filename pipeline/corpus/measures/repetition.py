"""Gopher's rules for repetition (Rae et al., 2021, arXiv:2112.11446, A.1.1, table A1)."""

import numpy as np

from pipeline.corpus.measures import Prose, share


def duplicate_lines(prose: Prose) -> float:
    """Share of lines that occurred before."""
    return share(prose.repeated_lines.pieces, len(prose.lines))


def duplicate_paragraphs(prose: Prose) -> float:
    """Share of paragraphs that occurred before."""
    return share(prose.repeated_paragraphs.pieces, len(prose.paragraphs))


def duplicate_line_characters(prose: Prose) -> float:
    """Share of the characters that are in lines that occurred before."""
    return share(prose.repeated_lines.characters, len(prose.text))


def duplicate_paragraph_characters(prose: Prose) -> float:
    """Share of the characters that are in paragraphs that occurred before."""
    return share(prose.repeated_paragraphs.characters, len(prose.text))


def top_gram_characters(prose: Prose, size: int) -> float:
    """Share of the characters that are in the most frequent n-gram; of equally frequent ones the first's."""
    tokens = prose.tokens
    if len(tokens) < size:
        return 0.0
    grams, first, most = prose.grams(size), 0, 1
    if len(grams.places):
        most = int(grams.counts.max())
        first = int(grams.places[np.argmax(grams.counts[grams.ranks] == most)])
    characters = int(tokens.starts[first + size] - tokens.starts[first]) + size - 1
    return share(characters * most, len(prose.text))


def duplicate_gram_characters(prose: Prose, size: int) -> float:
    """Share of the characters in n-grams that occurred before, overlaps counted once."""
    grams = prose.grams(size)
    seen: set[int] = set()
    found: list[int] = []
    free = 0
    for place, rank in zip(grams.places.tolist(), grams.ranks.tolist(), strict=True):
        if place < free:
            continue
        if rank in seen:
            found.append(place)
            free = place + size
        else:
            seen.add(rank)
    places = np.array(found, np.int64)
    starts = prose.tokens.starts
    return share(float((starts[places + size] - starts[places]).sum()), len(prose.text))

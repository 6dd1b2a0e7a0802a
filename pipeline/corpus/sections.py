"""Cuts a long page into documents at its headings. Nothing is lost: the sections joined are the page."""

import re
from collections.abc import Callable, Sequence

from pipeline.corpus.prose import HEADING, lines_with_code

PARAGRAPH = re.compile(r"(?<=\n\n)(?=[^\n])")
LINE = re.compile(r"(?<=\n)")
SENTENCE = re.compile(r"(?<=[.!?] )")
WORD = re.compile(r"(?<=\s)(?=\S)")
LOWEST_HEADING = 6


def cut_into_sections(text: str, limit_bytes: int) -> list[str]:
    """Sections of at most `limit_bytes` UTF-8 bytes (at least 4) whose concatenation is `text`.

    Cut at headings, the highest first; where a part between headings is still too long, at
    paragraphs, then lines, sentences, words, and at last between characters. Neighbours are
    put together again as long as they fit, so that sections are few.
    """
    return _cut(text, limit_bytes, _cutters())


def _cut(text: str, limit: int, cutters: Sequence[Callable[[str], list[str]]]) -> list[str]:
    if len(text.encode()) <= limit:
        return [text]
    if not cutters:
        return _cut_between_characters(text, limit)
    pieces: list[str] = []
    for part in cutters[0](text):
        pieces += _cut(part, limit, cutters[1:])
    return _joined(pieces, limit)


def _joined(pieces: Sequence[str], limit: int) -> list[str]:
    """Neighbours put together as long as they fit."""
    joined: list[list[str]] = []
    size = limit + 1
    for piece in pieces:
        length = len(piece.encode())
        if size + length > limit:
            joined.append([])
            size = 0
        joined[-1].append(piece)
        size += length
    return ["".join(parts) for parts in joined]


def _cutters() -> list[Callable[[str], list[str]]]:
    def at_heading(level: int) -> Callable[[str], list[str]]:
        return lambda text: _cut_at_headings(text, level)

    def at(place: re.Pattern[str]) -> Callable[[str], list[str]]:
        return lambda text: [part for part in place.split(text) if part]

    headings = [at_heading(level) for level in range(1, LOWEST_HEADING + 1)]
    return [*headings, at(PARAGRAPH), at(LINE), at(SENTENCE), at(WORD)]


def _cut_at_headings(text: str, level: int) -> list[str]:
    """Parts that begin at a heading of this level (a `#` line inside fenced code is none)."""
    parts: list[list[str]] = [[]]
    for line, code in lines_with_code(text):
        marks = HEADING.match(line)
        if marks and not code and len(marks[0].rstrip()) == level and parts[-1]:
            parts.append([])
        parts[-1].append(line)
    # Every line but the text's last had a newline behind it.
    return [part for part in ("".join(f"{line}\n" for line in lines) for lines in parts[:-1])] + [
        "\n".join(parts[-1])
    ]


def _cut_between_characters(text: str, limit: int) -> list[str]:
    pieces: list[str] = []
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + limit, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end].decode())
        start = end
    return pieces

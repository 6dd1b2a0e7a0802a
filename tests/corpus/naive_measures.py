"""The rules' measures as their papers say them, word by word: the oracle for the fast ones."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

WORD = re.compile(r"\w+(?:[-'’]\w+)*|\.(?: ?\.)*|-+|=+|\*+|~+|\++|[^\w\s]")
SENTENCE = re.compile(r"[^.!?…]{2,}[.!?…]+(?=[\s\"”')\]]|$)")


def tokens(text: str) -> list[str]:
    return WORD.findall(text)


def words(text: str) -> list[str]:
    return [token for token in tokens(text) if token[0].isalnum() or token[0] == "_"]


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def paragraphs(text: str) -> list[str]:
    return re.split(r"\n{2,}", text.strip())


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def repeated(pieces: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    found = []
    for piece in pieces:
        if piece in seen:
            found.append(piece)
        seen.add(piece)
    return found


def characters(pieces: Sequence[str]) -> int:
    return sum(map(len, pieces))


def top_gram(text: str, size: int) -> float:
    found = tokens(text)
    grams = [tuple(found[start : start + size]) for start in range(len(found) - size + 1)]
    if not grams:
        return 0.0
    gram, count = Counter(grams).most_common(1)[0]
    return share((characters(gram) + size - 1) * count, len(text))


def duplicate_grams(text: str, size: int) -> float:
    found = tokens(text)
    seen: set[tuple[str, ...]] = set()
    total = start = 0
    while start + size <= len(found):
        gram = tuple(found[start : start + size])
        if gram in seen:
            total += characters(gram)
            start += size
        else:
            seen.add(gram)
            start += 1
    return share(total, len(text))


def lines_with(text: str, holds: Callable[[str], bool]) -> float:
    return share(sum(map(holds, lines(text))), len(lines(text)))


NAIVE: dict[str, Callable[[str], float]] = {
    "words": lambda text: len(words(text)),
    "mean-word-length": lambda text: share(characters(words(text)), len(words(text))),
    "hashes-per-word": lambda text: share(text.count("#"), len(tokens(text))),
    "ellipses-per-word": lambda text: share(text.count("...") + text.count("…"), len(tokens(text))),
    "ellipsis-lines": lambda text: lines_with(text, lambda line: line.rstrip().endswith(("...", "…"))),
    "words-with-letter": lambda text: share(
        sum(any(sign.isalpha() for sign in token) for token in tokens(text)), len(tokens(text))
    ),
    "duplicate-lines": lambda text: share(len(repeated(lines(text))), len(lines(text))),
    "duplicate-line-characters": lambda text: share(characters(repeated(lines(text))), len(text)),
    "duplicate-paragraphs": lambda text: share(len(repeated(paragraphs(text))), len(paragraphs(text))),
    "duplicate-paragraph-characters": lambda text: share(characters(repeated(paragraphs(text))), len(text)),
    "duplicated-characters": lambda text: share(
        characters(repeated(lines(text))), len(text.replace("\n", ""))
    ),
    **{f"top-{size}-gram-characters": partial(top_gram, size=size) for size in (2, 3, 4)},
    **{f"duplicate-{size}-gram-characters": partial(duplicate_grams, size=size) for size in range(5, 11)},
    "sentences": lambda text: sum(len(SENTENCE.findall(line)) for line in lines(text)),
    "newlines-per-word": lambda text: share(text.count("\n"), len(tokens(text))),
}

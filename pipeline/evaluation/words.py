"""Does the true next word stand among the likeliest ones? And do the commonest words do as well?"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Place = Literal["last", "middle"]
"""Which word of a sentence is asked for: its last (as in LAMBADA, Paperno et al., 2016,
arXiv:1606.06031), or any in its middle, where many are articles and prepositions."""

FENCED = re.compile(r"^(```|~~~).*?(^\1|\Z)", re.MULTILINE | re.DOTALL)
PARAGRAPH = re.compile(r"\n\s*\n")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_])")
SPACED_WORD = re.compile(r"(?<=[^\s] )[^\W\d_]+(?!\w)")
"""A word of letters alone, after a single space."""
LEAST_WORDS, MOST_WORDS = 8, 60
WORDS_BEFORE = 4
LEAST_LETTERS = 0.75
"""Share of letters and spaces that makes a line prose rather than code or a table."""
KINDS_KEPT = 20_000


@dataclass(frozen=True)
class Question:
    """A sentence up to one of its words, and that word."""

    document: str
    language: str
    before: str
    """Ends without the space that stands before the word."""
    word: str


def count_words(texts: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """(language, text) pairs → language → word → how often it stands after a space.

    Counted are just such words as are asked for. Each language keeps its 20,000 commonest.
    """
    counts: dict[str, Counter[str]] = {}
    for language, text in texts:
        counts.setdefault(language, Counter()).update(SPACED_WORD.findall(text))
    return {
        language: dict(sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:KINDS_KEPT])
        for language, counter in sorted(counts.items())
    }


def commonest(counts: Iterable[dict[str, dict[str, int]]], top: int) -> dict[str, list[str]]:
    """Language → its `top` most frequent words over several counts; equals by alphabet."""
    totals: dict[str, Counter[str]] = {}
    for part in counts:
        for language, words in part.items():
            totals.setdefault(language, Counter()).update(words)
    return {
        language: sorted(counter, key=lambda word: (-counter[word], word))[:top]
        for language, counter in sorted(totals.items())
    }


def sentences(text: str) -> list[str]:
    """Whole sentences of running prose, as they stand in the text. Code, headings and tables are left out."""
    found = []
    for paragraph in PARAGRAPH.split(FENCED.sub("\n", text)):
        for sentence in SENTENCE_END.split(paragraph.strip()):
            if _is_prose(sentence):
                found.append(sentence)
    return found


def _is_prose(sentence: str) -> bool:
    plain = sum(character.isalpha() or character.isspace() for character in sentence)
    return (
        LEAST_WORDS <= len(sentence.split()) <= MOST_WORDS
        and sentence[:1].isupper()
        and sentence[-1:] in ".!?"
        and plain >= LEAST_LETTERS * len(sentence)
    )


def draw_questions(
    documents: Iterable[tuple[str, str, str]], count: int, seed: int, place: Place
) -> list[Question]:
    """`count` different sentences (all, if there are fewer), with a word of each.

    `documents` are (id, language, text). Sentences are drawn by a hash of seed and sentence, and
    the word by the same hash, so the order of the documents does not matter.
    """
    drawn: dict[int, Question] = {}
    for document, language, text in documents:
        for sentence in sentences(text):
            found = [
                match
                for match in SPACED_WORD.finditer(sentence)
                if len(sentence[: match.start()].split()) >= WORDS_BEFORE
                and (match.end() == len(sentence) - 1) == (place == "last")
            ]
            if found:
                ticket = draw_number(seed, sentence)
                match = found[ticket % len(found)]
                before = sentence[: match.start() - 1]
                drawn.setdefault(ticket, Question(document, language, before, match.group()))
    return [drawn[ticket] for ticket in sorted(drawn)[:count]]


def draw_number(seed: int, text: str) -> int:
    """A 64-bit number that depends on both alone: the order in which samples are drawn."""
    digest = hashlib.blake2b(f"{seed}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def share_found(questions: Sequence[Question], answers: Sequence[Sequence[str]]) -> float:
    """Share of questions whose word is among its answers (same letters, same case)."""
    hits = sum(question.word in answer for question, answer in zip(questions, answers, strict=True))
    return hits / len(questions)

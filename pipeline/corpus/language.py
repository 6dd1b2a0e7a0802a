"""Which language a document is written in, how sure that is, and whether it is one at all.

py3langid looks at passages spread over the document's prose. Their votes say what language the
document is in, and how much of it is in another one: a translation that stops half way, a page that
says everything twice.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.corpus.prose import Prose

PASSAGES = 8
PASSAGE_CHARACTERS = 400
"""Of 8 passages at most: some 3,000 characters in all make py3langid as accurate as more would."""
SHORTEST_PASSAGE = 200
"""Paragraphs are joined until they are that long: of 60 characters py3langid tells 5 % wrong."""
ENOUGH_CHARACTERS = 200
"""With less prose than this, headings, tables and code are looked at too."""
NO_LANGUAGE = "zxx"
"""What py3langid calls text that is in none: code, names, numbers."""
SURE = 0.8
"""A passage speaks against the document's language where another is that likely."""


@dataclass(frozen=True)
class Language:
    """What a document is written in."""

    code: str
    """ISO 639-1 code of the likeliest of the 130 languages that py3langid knows."""
    score: float
    """Its probability (0 to 1), by the passages that are not surely in another language."""
    second: str | None
    """The language of most of the passages that surely are in another one."""
    second_share: float
    """Share of the text (0 to 1) that is surely in the second language."""


def identify(text: str, prose: Prose) -> Language:
    """The language of a document, of which `prose` is what lies between headings, tables and code."""
    return of_passages(passages(prose.text if len(prose.text) >= ENOUGH_CHARACTERS else text))


def passages(text: str) -> list[str]:
    """At most 8 pieces of the text, of some 200 to 400 characters, from its beginning to its end."""
    if len(text) <= SHORTEST_PASSAGE:
        return [text]
    found, start = [], 0
    while start < len(text):
        end = _end_of_passage(text, start)
        found.append(text[start : min(end, start + PASSAGE_CHARACTERS)])
        start = end
    if len(found) > 1 and len(found[-1]) < SHORTEST_PASSAGE:
        found.pop()
    if len(found) <= PASSAGES:
        return found
    return [found[round(number * (len(found) - 1) / (PASSAGES - 1))] for number in range(PASSAGES)]


def of_passages(found: Sequence[str]) -> Language:
    """The language that passages of one document vote for, each with its length and probability.

    A list of commands is in no language, which py3langid says by a low probability of some language:
    such a passage has little say.
    """
    votes = [(*_identifier().classify(passage), len(passage)) for passage in found]
    weights: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for code, probability, length in votes:
        weights[str(code)] += probability * length
    first = min(weights, key=lambda code: (-weights[code], code))
    own = said = 0.0
    for code, probability, length in votes:
        if code == first:
            own += probability * probability * length
        elif probability >= SURE and code != NO_LANGUAGE:
            others[str(code)] += length
            continue
        said += probability * length
    second = min(others, key=lambda code: (-others[code], code), default=None)
    share = others[second] / sum(length for *_, length in votes) if second else 0.0
    return Language(first, round(own / said, 6) if said else 0.0, second, round(share, 6))


def _end_of_passage(text: str, start: int) -> int:
    """Where the paragraph or line ends that makes the passage long enough; else the text's end.

    A paragraph is a passage by itself, however long, but for one without an end: there the next begins
    after so many characters as passages could ever be taken from.
    """
    end = text.find("\n", start + SHORTEST_PASSAGE)
    limit = start + max(PASSAGE_CHARACTERS, len(text) // PASSAGES)
    return min(len(text) if end < 0 else end + 1, limit)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

"""Which variety of a language a document is in: pt-BR or pt-PT.

Each variety's file of rules lists what only its writers write. A document is of the variety whose marks
stand in it clearly more often; where there are few marks, or marks of both, it stays undecided, and its
language is then the language alone: pt.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache

from pipeline.corpus.rule_files import Variety, rules_of, varieties_of

LEAST_MARKS = 2
"""One word may be a quotation."""
LEAST_SHARE = 0.75
"""Of the marks found, those of the variety that is chosen."""
CHARACTERS = 20_000
"""Read from the document's beginning; more marks than stand there decide nothing more."""


def variety_of(text: str, language: str) -> str:
    """The variety's tag, such as pt-BR; the language itself where it has none, or is undecided."""
    marks = marks_in(text, language)
    total = marks.total()
    if total < LEAST_MARKS:
        return language
    likeliest, count = max(marks.items(), key=lambda item: (item[1], item[0]))
    return likeliest if count >= LEAST_SHARE * total else language


def marks_in(text: str, language: str) -> Counter[str]:
    """Variety → how many of its marks stand in the text."""
    expressions = _expressions(language)
    lower = text[:CHARACTERS].lower() if expressions else ""
    return Counter({name: len(marks.findall(lower)) for name, marks in expressions.items()})


def expression(variety: Variety) -> re.Pattern[str]:
    """Matches each mark of a variety in lower-case text."""
    words = "|".join(re.escape(word).replace(r"\*", r"\w*").replace(r"\ ", r"\s+") for word in variety.words)
    return re.compile("|".join([rf"\b(?:{words})\b", *variety.patterns]))


@cache
def _expressions(language: str) -> Mapping[str, re.Pattern[str]]:
    return {name: expression(rules_of(name).variety) for name in varieties_of(language)}

"""What all kinds of personal data have in common: their placeholders, and how a text is searched for them.

Three rules make replacing idempotent, whatever was found before (privacy.py says why that is enough):
a match never holds or touches a placeholder, words that speak for a match are not looked for beyond
one, and a candidate that is refused does not hide those that begin inside it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

Kind = Literal["secret", "email", "card", "cpf", "cnpj", "ip", "phone"]
Span = tuple[int, int]
"""Begin and end of a match, in characters."""
Find = Callable[[str], Iterator[Span]]

PLACEHOLDERS: Mapping[Kind, str] = {
    "secret": "[secret]",
    "email": "[email]",
    "card": "[card]",
    "cpf": "[cpf]",
    "cnpj": "[cnpj]",
    "ip": "[ip]",
    "phone": "[phone]",
}
"""What stands in a match's place, the same in every language. None has a sign of a control symbol, and
those of the numbers are shorter than the shortest number of their kind."""

GAPS = " .\\-/()\xa0\u2009\u202f\u2010-\u2013"
"""What may stand between the digits of a number, for a class of a regular expression."""
CONTEXT_CHARACTERS = 32
"""How far before a number a word is looked for that says what it is."""
_NUMBER = re.compile(f"[0-9][0-9{GAPS}]{{6,}}")
_AROUND = 24

_ANY = "|".join(re.escape(placeholder) for placeholder in PLACEHOLDERS.values())
PLACEHOLDER = re.compile(_ANY)
_BEFORE = re.compile(rf"(?:{_ANY})[.-]?\Z")
_AFTER = re.compile(rf"[.-]?(?:{_ANY})")
_LONGEST = max(map(len, PLACEHOLDERS.values())) + 1


def scan(
    text: str, pattern: re.Pattern[str], accept: Callable[[re.Match[str]], Span | None] = re.Match.span
) -> Iterator[Span]:
    """Matches of the pattern that are accepted, from left to right, without overlaps.

    `accept` gives the part of a match that counts, or None. After one that is refused the search goes
    on one character later, so a pattern must end within a fixed length, or begin only where
    what it repeats begins: the time is then linear in the text.
    """
    position = 0
    while (match := pattern.search(text, position)) is not None:
        span = accepted(match, accept)
        if span is not None:
            yield span
        position = match.start() + 1 if span is None else span[1]


def accepted(match: re.Match[str], accept: Callable[[re.Match[str]], Span | None]) -> Span | None:
    """The part of the match that counts, or None; a placeholder in it or next to that part refuses it."""
    span = accept(match)
    if span is None or PLACEHOLDER.search(match.group()) or next_to_placeholder(match.string, *span):
        return None
    return span


def next_to_placeholder(text: str, start: int, end: int) -> bool:
    """Does one end where the span begins or begin where it ends, or is there but a dot or hyphen between?"""
    return _BEFORE.search(text, max(0, start - _LONGEST), start) is not None or (
        _AFTER.match(text, end) is not None
    )


def before(text: str, position: int) -> str:
    """What stands before `position` in its line and after the last placeholder, at most 32 characters."""
    # Further back, so that a placeholder is not taken for the words in it where the limit cuts it.
    line = text[max(0, position - CONTEXT_CHARACTERS - _LONGEST) : position].rpartition("\n")[2]
    for placeholder in PLACEHOLDERS.values():
        line = line.rpartition(placeholder)[2]
    return line[-CONTEXT_CHARACTERS:]


def number_zones(text: str) -> Iterator[Span]:
    """Where digits stand that may be a number of seven characters and more, with what is before and after.

    All that a search for numbers looks at is inside, so that it need not go through the rest.
    """
    start = end = 0
    for run in _NUMBER.finditer(text):
        from_here = max(0, run.start() - CONTEXT_CHARACTERS - _AROUND)
        if from_here > end:
            if end:
                yield start, end
            start = from_here
        end = min(len(text), run.end() + _AROUND)
    if end:
        yield start, end

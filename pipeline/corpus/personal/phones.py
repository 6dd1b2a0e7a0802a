"""Telephone numbers: international ones, and those of Brazil, Portugal, the United States and Britain.

The shapes below propose, the numbering plans of `phonenumbers` (Google's libphonenumber) decide. A
shape that other numbers have too counts only where a word before it speaks of telephones.
"""

import re
from collections.abc import Iterator
from functools import lru_cache, partial

from pipeline.corpus.personal.matching import GAPS, Span, before, scan

_GAPS = f"[{GAPS}]"
_END = r"(?![\w°%])(?![.\-][0-9])"
_INTERNATIONAL = re.compile(
    rf"(?:(?<![\w+])\(?\+|(?<![\w+.,\-/])00)[1-9](?:{_GAPS}{{0,3}}[0-9]){{7,14}}{_END}"
)
_IN_BRACKETS = re.compile(
    r"(?<!\w)(?!\((?:1[5-9]|20)[0-9]{2}\))"  # a year
    rf"\((?:0?[xX]{{2}})?[0-9]{{2,5}}\){_GAPS}{{0,2}}[0-9]{{3,5}}(?:{_GAPS}?[0-9]{{3,5}})?{_END}"
)
_PLAIN = re.compile(
    r"(?<![\w.,\-+/(])(?:"
    r"(?:1[-. ])?[2-9][0-9]{2}([-.])[2-9][0-9]{2}\1[0-9]{4}"  # 212-555-0123
    r"|0?[1-9][1-9][ -]9[ .]?[0-9]{4}[-.][0-9]{4}"  # 11 99999-0000
    r"|0[1-9][0-9]{1,3}[ -][0-9]{3,4}[ -]?[0-9]{3,4}"  # 020 7946 0000, 01632 960000
    rf"){_END}"
)
_ANY_FORM = re.compile(rf"(?<![\w.\-+])\(?[0-9](?:{_GAPS}{{0,2}}[0-9]){{7,12}}{_END}")
_WORD = re.compile(
    r"\b(?:tel|telefones?|telefónicos?|telemóve(?:l|is)|telephones?|fones?|phones?|celular(?:es)?|cel|cell"
    r"|cellphones?|mobile|whats(?:app)?|zap|contac?tos?|recados?|ligu?e|ligar|call|calling|dial|fax|sms)\b",
    re.IGNORECASE,
)
_LOCAL_BRAZIL = re.compile(r"(?:9[0-9]{4}|[2-5][0-9]{3})[-.]?[0-9]{4}(?![0-9])")
_YEARS = re.compile(r"(?:19|20)[0-9]{2}[-./\u2013 ](?:19|20)[0-9]{2}\Z")
REGIONS = ("BR", "PT", "US", "GB")


def international(text: str) -> Iterator[Span]:
    """Numbers that begin with + or 00 and a country's code."""
    return scan(text, _INTERNATIONAL, partial(_longest_valid, regions=(None,)))


def in_brackets(text: str) -> Iterator[Span]:
    """Numbers whose area stands in brackets."""
    return scan(text, _IN_BRACKETS, _longest_valid)


def plain(text: str) -> Iterator[Span]:
    """Numbers in a form that nothing else has."""
    return scan(text, _PLAIN, _longest_valid)


def spoken_of(text: str) -> Iterator[Span]:
    """Numbers in any form after a word that speaks of telephones, also Brazil's without their area."""

    def accept(match: re.Match[str]) -> Span | None:
        if not _WORD.search(before(text, match.start())):
            return None
        return _longest_valid(match) or _local_of_brazil(match)

    return scan(text, _ANY_FORM, accept) if _WORD.search(text) else iter(())


def _longest_valid(match: re.Match[str], regions: tuple[str | None, ...] = REGIONS) -> Span | None:
    """The longest valid number that the match begins with and that ends where a group of digits ends."""
    written = match.group()
    for group in reversed([*re.finditer("[0-9]+", written)]):
        number = written[: group.end()]
        if not _YEARS.search(number) and any(_is_valid(_dialled(number), region) for region in regions):
            return match.start(), match.start() + len(number)
    return None


def _dialled(written: str) -> str:
    """Digits alone, after + where the number is international."""
    digits = re.sub("[^0-9]", "", written)
    return f"+{digits.removeprefix('00')}" if "+" in written or digits.startswith("00") else digits


def _local_of_brazil(match: re.Match[str]) -> Span | None:
    local = _LOCAL_BRAZIL.match(match.group())
    return (
        (match.start(), match.start() + local.end()) if local and not _YEARS.search(local.group()) else None
    )


@lru_cache(maxsize=100_000)
def _is_valid(digits: str, region: str | None) -> bool:
    """Does a numbering plan have it, for a line that somebody in particular answers?"""
    import phonenumbers
    from phonenumbers import PhoneNumberType

    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    nobody = (
        PhoneNumberType.UNKNOWN,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.UAN,
    )
    return phonenumbers.number_type(number) not in nobody

"""Numbers with check digits: payment cards, and Brazil's CPF (persons) and CNPJ (firms)."""

import re
from collections.abc import Iterator, Sequence

from pipeline.corpus.personal.matching import Span, before, scan

_GAP = "[ .\xa0-]"
_CARD = re.compile(
    rf"(?<![\w.-])(?:[0-9]{{14,19}}|[0-9]{{4}}({_GAP})[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}(?:\1[0-9]{{3}})?"
    rf"|3[0-9]{{3}}({_GAP})[0-9]{{6}}\2[0-9]{{4,5}})(?!\w|[.-][0-9])"
)
_ISSUERS: Sequence[tuple[str, str, tuple[int, ...]]] = (
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),
    ("300", "305", (14,)),  # Diners Club
    ("36", "36", (14,)),
    ("38", "39", (14,)),
    ("3528", "3589", (16,)),  # JCB
    ("4", "4", (16, 19)),  # Visa; its numbers of 13 digits are no longer given out
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),
    ("6011", "6011", (16, 19)),  # Discover
    ("644", "659", (16, 19)),
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("5067", "5067", (16,)),  # Elo; others of its numbers begin as Visa's and Discover's
    ("5090", "5090", (16,)),
    ("6362", "6363", (16,)),
    ("6062", "6062", (16,)),  # Hipercard
)
"""First and last beginning of an issuer's numbers, and how many digits they have (ISO/IEC 7812)."""

_CPF = re.compile(
    r"(?<![\w.-])(?:[0-9]{3}\.[0-9]{3}\.[0-9]{3}[-./ ][0-9]{2}|[0-9]{9}-[0-9]{2}|[0-9]{11}"
    r"|[0-9]{3} [0-9]{3} [0-9]{3} [0-9]{2})(?!\w|[.-][0-9])"
)
_SAYS_CPF = re.compile(r"\bcpf|contribuinte", re.IGNORECASE)
_CNPJ = re.compile(
    r"(?<![\w.-])(?:[0-9]{2}\.[0-9]{3}\.[0-9]{3}/[0-9]{4}-[0-9]{2}|[0-9]{8}/[0-9]{4}-[0-9]{2}|[0-9]{14})"
    r"(?!\w|[.-][0-9])"
)
_CNPJ_OF_LETTERS = re.compile(
    r"(?<![\w.-])(?:[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/[0-9A-Z]{4}-[0-9]{2}"
    r"|[0-9A-Z]{8}/[0-9A-Z]{4}-[0-9]{2}|[0-9A-Z]{12}[0-9]{2})(?!\w|[.-][0-9])"
)
_SIGN_OF_LETTERS = re.compile("/[0-9A-Z]{4}-[0-9]{2}|CNPJ|Cnpj|cnpj")
_SAYS_CNPJ = re.compile(r"\bcnpj", re.IGNORECASE)
_HEADQUARTERS = "0001"
_CPF_WEIGHTS = range(11, 1, -1)
_CNPJ_WEIGHTS = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)


def cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards: an issuer's beginning and length, and the check digit (Luhn)."""

    def accept(match: re.Match[str]) -> Span | None:
        digits = _digits(match.group())
        return match.span() if _is_issued(digits) and luhn(digits) else None

    return scan(text, _CARD, accept)


def cpfs(text: str) -> Iterator[Span]:
    """CPF numbers with both check digits; without punctuation only where `CPF` is said before them."""

    def accept(match: re.Match[str]) -> Span | None:
        digits = _digits(match.group())
        if not is_cpf(digits):
            return None
        punctuated = "-" in match.group() or "." in match.group()
        return match.span() if punctuated or _said(match, _SAYS_CPF) else None

    return scan(text, _CPF, accept)


def cnpjs(text: str) -> Iterator[Span]:
    """CNPJ numbers with both check digits; without punctuation only where `CNPJ` is said before them,
    or with the branch number that nearly all headquarters have."""
    return scan(text, _CNPJ, _accept_cnpj)


def cnpjs_of_letters(text: str) -> Iterator[Span]:
    """CNPJ numbers in which letters may be, as they are given out since July 2026."""
    return scan(text, _CNPJ_OF_LETTERS, _accept_cnpj) if _SIGN_OF_LETTERS.search(text) else iter(())


def _accept_cnpj(match: re.Match[str]) -> Span | None:
    found = re.sub(r"\W", "", match.group())
    if not is_cnpj(found):
        return None
    sure = "/" in match.group() or (found.isdigit() and found[8:12] == _HEADQUARTERS)
    return match.span() if sure or _said(match, _SAYS_CNPJ) else None


def luhn(digits: str) -> bool:
    """Is the last digit the check digit of the others (ISO/IEC 7812-1, annex B)?"""
    doubled = "0246813579"
    total = sum(map(int, digits[-1::-2])) + sum(int(doubled[int(digit)]) for digit in digits[-2::-2])
    return total % 10 == 0


def is_cpf(digits: str) -> bool:
    """Are the last two of eleven digits the check digits? Eleven equal ones are, and are never given out."""
    return len(digits) == 11 and len(set(digits)) > 1 and digits == with_cpf_check_digits(digits[:9])


def with_cpf_check_digits(nine: str) -> str:
    """Nine digits and the two check digits that belong to them."""
    for first in (1, 0):
        values = zip(map(int, nine), _CPF_WEIGHTS[first:], strict=False)
        nine += _check_digit(sum(digit * weight for digit, weight in values))
    return nine


def is_cnpj(number: str) -> bool:
    """Are the last two of fourteen digits or capital letters the check digits?"""
    return len(number) == 14 and len(set(number)) > 1 and number == with_cnpj_check_digits(number[:12])


def with_cnpj_check_digits(twelve: str) -> str:
    """Twelve digits or capital letters and the two check digits that belong to them.

    A sign counts as its code in ASCII less 48, so that digits count as they always did
    (Receita Federal, Instrução Normativa RFB nº 2.229/2024).
    """
    for first in (1, 0):
        values = zip((ord(sign) - 48 for sign in twelve), _CNPJ_WEIGHTS[first:], strict=False)
        twelve += _check_digit(sum(value * weight for value, weight in values))
    return twelve


def _check_digit(total: int) -> str:
    """Modulo 11, as in both numbers."""
    rest = total % 11
    return "0" if rest < 2 else str(11 - rest)


def _is_issued(digits: str) -> bool:
    return any(
        len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in _ISSUERS
    )


def _said(match: re.Match[str], word: re.Pattern[str]) -> bool:
    return word.search(before(match.string, match.start())) is not None


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)

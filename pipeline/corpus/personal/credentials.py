"""Keys and passwords, by their issuer's form, by the block they stand in, or by the word before them."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial

from pipeline.corpus.personal.matching import Find, Span, accepted, scan

_FORMS = {
    "AKIA": r"AKIA[0-9A-Z]{16}",  # AWS
    "ASIA": r"ASIA[0-9A-Z]{16}",
    "ghp_": r"ghp_[A-Za-z0-9]{36,255}",  # GitHub
    "gho_": r"gho_[A-Za-z0-9]{36,255}",
    "ghu_": r"ghu_[A-Za-z0-9]{36,255}",
    "ghs_": r"ghs_[A-Za-z0-9]{36,255}",
    "ghr_": r"ghr_[A-Za-z0-9]{36,255}",
    "github_pat_": r"github_pat_[A-Za-z0-9_]{60,255}",
    "glpat-": r"glpat-[A-Za-z0-9_-]{20,255}",  # GitLab
    "AIza": r"AIza[A-Za-z0-9_-]{35}",  # Google
    "GOCSPX-": r"GOCSPX-[A-Za-z0-9_-]{28}",
    "ya29.": r"ya29\.[A-Za-z0-9_-]{20,1024}",
    "xox": r"xox[abeoprs]-[A-Za-z0-9-]{10,255}",  # Slack
    "hooks.slack.com/": r"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,32}",
    "sk-": r"sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{32,255}",  # OpenAI, Anthropic
    "_live_": r"[rs]k_live_[A-Za-z0-9]{16,255}",  # Stripe
    "_test_": r"[rs]k_test_[A-Za-z0-9]{16,255}",
    "hf_": r"hf_[A-Za-z0-9]{34,64}",  # Hugging Face
    "npm_": r"npm_[A-Za-z0-9]{36}",
    "pypi-": r"pypi-[A-Za-z0-9_-]{50,512}",
    "SG.": r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
    "eyJ": r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # JSON Web Token (RFC 7519)
}
"""A sign that stands in every such key → the key's form, as its issuer describes it."""

_BLOCK_SIGN = "PRIVATE KEY"
_BLOCK = re.compile(
    r"-----BEGIN (?P<kind>(?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?)-----"
    r"(?P<body>(?:[^-]|-(?!----)){16,})(?:-----END (?P=kind)-----)?"
)
_LINE_OF_KEY = re.compile(r"(?:\s{0,8}[A-Za-z0-9+/=]{40,80}\s)+")

_STEMS = ("pass", "pwd", "senha", "secret", "segredo", "token", "key", "chave", "credential")
_ASSIGNED = re.compile(
    r"(?!(?<=\[)secret\])(?i:(?P<name>pass(?:word|wd|phrase|e)|pwd|senha|secret|segredo|token|key"
    r"|chave[ _-](?:de[ _-])?(?:api|secreta)|credential))"
    r"(?P<end>[A-Za-z0-9_]{0,16})[\"'`\]]{0,2}[ \t]{0,4}(?:=>|:=|==?|:|\bis\b|\bé\b)[ \t]{0,4}"
    r"(?:\"(?P<double>[^\"\s]{6,200})\"|'(?P<single>[^'\s]{6,200})'|`(?P<tick>[^`\s]{6,200})`"
    r"|(?P<bare>[^\s\"'`,;<>(){}]{6,200})(?=[\s\"'`,;<>]|$))"
)
_WHOSE_KEY = re.compile(r"(?i)(?:api|access|secret|private|auth|encryption|account)[ _-]?\Z")
_WHOSE_CHARACTERS = 11
_BEARER_SIGNS = ("earer ", "asic ", "EARER ", "ASIC ")
_BEARER = re.compile(
    r"(?<!\w)(?i:bearer|basic)[ \t]{1,4}(?P<token>[A-Za-z0-9._~+/-]{20,4096}={0,2})(?![\w=])"
)
_IN_URL = re.compile(r"(?<=://)[^\s:/@\"'<>]{1,64}:(?P<word>[^\s:/@\"'<>]{1,128})@")
_WORDS_TO_REMEMBER = re.compile("(?i)pass|pwd|senha")
_STANDS_FOR_ONE = re.compile(
    r"(?i)your|seu|sua|minha|change|troque|example|exemplo|sample|dummy|placeholder|xxx|\*\*|\.\.\.|…|password"
    r"|passwd|senha|secret|token|api_?key|insert|todo|redacted|1234567|abcdef|foo|none|null|true|false|user|localhost|env"
)
_CODE = re.compile(r"[$%<{\[(*&@]|[A-Za-z_][A-Za-z0-9_]*(?:\.|::|->)[A-Za-z_]|-?[0-9.,:/-]+\Z|https?:|[./~]")
_NAME_WITH_A_NUMBER = re.compile(r"[A-Za-z_-]+[0-9]{0,2}\Z")
KEY_CHARACTERS = 16
"""A key or token in no known form is at least so long."""
KEY_BITS = 3.0
"""Bits of entropy that a character of such a key has at least, by the frequencies in the key itself; a
key of 16 characters chosen at random has 3.6 and more, English words of that length mostly under 3.3."""


def blocks(text: str) -> Iterator[Span]:
    """Private keys in the blocks of OpenSSL, OpenSSH and OpenPGP (RFC 7468, RFC 9580)."""
    return scan(text, _BLOCK, _block) if _BLOCK_SIGN in text else iter(())


def passwords_in_urls(text: str) -> Iterator[Span]:
    """The password of `scheme://user:password@host`."""
    return scan(text, _IN_URL, _word_in_url) if "://" in text and "@" in text else iter(())


def assigned(text: str) -> Iterator[Span]:
    """What a word such as password, senha or api_key is given as its value."""
    # The one letter that is longer in lower case would shift all positions behind it.
    lower = text.replace("İ", "I").lower()
    starts = sorted({start for stem in _STEMS for start in _places(lower, stem)})
    end = 0
    for start in starts:
        if start >= end:
            match = _ASSIGNED.match(text, start)
            if match and (span := accepted(match, _value)):
                yield span
                end = span[1]


def bearers(text: str) -> Iterator[Span]:
    """Tokens in an Authorization header (RFC 6750, RFC 7617)."""
    return scan(text, _BEARER, _bearer) if any(sign in text for sign in _BEARER_SIGNS) else iter(())


def _places(text: str, word: str) -> Iterator[int]:
    place = text.find(word)
    while place >= 0:
        yield place
        place = text.find(word, place + 1)


def _issued(text: str, sign: str, form: re.Pattern[str]) -> Iterator[Span]:
    return scan(text, form) if sign in text else iter(())


ISSUED: tuple[Find, ...] = tuple(
    partial(_issued, sign=sign, form=re.compile(rf"(?<![A-Za-z0-9_]){form}(?![A-Za-z0-9_])"))
    for sign, form in _FORMS.items()
)


def entropy(text: str) -> float:
    """Bits for a character, by the frequencies of characters in the text itself (Shannon, 1948)."""
    counts = Counter(text).values()
    return sum(count * math.log2(len(text) / count) for count in counts) / max(1, len(text))


def _block(match: re.Match[str]) -> Span | None:
    """The whole block; of one without an end the lines that can be a key's."""
    if match.group().endswith("-----"):
        return match.span()
    key = _LINE_OF_KEY.match(match.group("body"))
    return (match.start(), match.start("body") + key.end()) if key else None


def _value(match: re.Match[str]) -> Span | None:
    kind = next(kind for kind in ("double", "single", "tick", "bare") if match.group(kind))
    value = match.group(kind)
    if kind == "bare":
        # The end of a sentence, or the next parameter of a query.
        value = value.partition("&")[0].rstrip(".")
    name, end = match.group("name"), match.group("end")
    if end and not end.startswith("_"):
        return None
    if name.lower() == "key" and not _WHOSE_KEY.search(
        match.string, max(0, match.start() - _WHOSE_CHARACTERS), match.start()
    ):
        return None
    good = _is_word_to_remember if _WORDS_TO_REMEMBER.match(name) else _is_key
    if not good(value, kind != "bare"):
        return None
    return match.start(kind), match.start(kind) + len(value)


def _bearer(match: re.Match[str]) -> Span | None:
    return match.span("token") if _is_key(match.group("token"), True) else None


def _word_in_url(match: re.Match[str]) -> Span | None:
    word = match.group("word")
    return match.span("word") if len(word) >= 6 and _is_word_to_remember(word, True) else None


def _is_word_to_remember(value: str, quoted: bool) -> bool:
    """A password that somebody chose: letters with digits or signs, and neither code nor an example."""
    if len(value) < 6 or _CODE.match(value) or _STANDS_FOR_ONE.search(value):
        return False
    if not quoted and ("[" in value or _NAME_WITH_A_NUMBER.match(value)):
        return False
    letters = any(sign.isalpha() for sign in value)
    return letters and not value.isalpha() and not re.fullmatch(r"[A-Za-z]+(?:[_-][A-Za-z]+)*[.!?:]?", value)


def _is_key(value: str, quoted: bool) -> bool:
    """Long, of letters and digits, and without an order."""
    return (
        len(value) >= KEY_CHARACTERS
        and re.fullmatch(r"[A-Za-z0-9+/=_.~-]+", value) is not None
        and any(sign.isdigit() for sign in value)
        and any(sign.isalpha() for sign in value)
        and not _CODE.match(value)
        and not _STANDS_FOR_ONE.search(value)
        and entropy(value) >= KEY_BITS
    )

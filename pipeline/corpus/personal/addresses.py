"""E-mail addresses and IP addresses."""

import ipaddress
import re
from collections.abc import Iterator

from pipeline.corpus.personal.matching import Span, next_to_placeholder, scan

LOCAL_CHARACTERS = 64
"""The part before the @ is at most so long (RFC 5321, 4.5.3.1.1)."""
_LOCAL_BACKWARDS = re.compile(rf"[\w.+'-]{{0,{LOCAL_CHARACTERS - 1}}}\w")
_LABEL = r"\w(?:[\w-]{0,61}\w)?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.){{1,8}}(?:[^\W\d_]{{2,24}}|xn--[\w-]{{2,59}})(?![\w-])")
_NOT_TOP_LEVEL = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "bmp",
        "pdf",
        "css",
        "js",
        "ts",
        "json",
        "xml",
        "yaml",
        "yml",
        "toml",
        "html",
        "htm",
        "txt",
        "csv",
        "gz",
    ]
)
"""File name endings after an @, as in logo@2x.png. None of them is a top-level domain."""
_NOBODY = frozenset({"git", "hg", "svn"})
"""Accounts that every user of a repository shares, as in git@host:project."""
_SPELT_OUT = re.compile(
    rf"(?<![\w.+-])\w[\w.+-]{{0,63}} ?[\[({{] ?(?:at|arroba) ?[\])}}] ?"
    rf"(?:{_LABEL}(?:\.| ?[\[({{] ?(?:dot|ponto) ?[\])}}] ?)){{1,5}}[^\W\d_]{{2,24}}(?![\w-])",
    re.IGNORECASE,
)
_SPELT_OUT_SIGN = re.compile(r"[\[({] ?(?:at|arroba) ?[\])}]", re.IGNORECASE)

_V4 = re.compile(
    r"(?<![\w.-])(?<![^\W\d_]/)(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}"
    r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?![\w-]|\.\w)"
)
_V6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{2,39}(?![\w:]|\.\w)")
_V6_SIGN = re.compile(":[0-9A-Fa-f]{0,4}:")
_VERSION = re.compile(
    r"(?:\b(?:version|versão|release|lançamento|build|rev|ver|v|section|seção|secção|chapter|capítulo|"
    r"figure|figura|table|tabela|rfc|iso|oid)\b|§)\.?:?[ \xa0]{0,2}\Z",
    re.IGNORECASE,
)
_VERSION_CHARACTERS = 16
SMALL = 32
"""An address of four numbers below this is taken for the number of a version or section: of all
addresses one in 4,096 is so, of such strings in documentation nearly none is an address."""


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses, looked for from each @ outwards, so that text without one costs nothing."""
    done, sign = 0, text.find("@")
    while sign >= 0:
        local = _LOCAL_BACKWARDS.match(text[max(done, sign - LOCAL_CHARACTERS) : sign][::-1])
        domain = _DOMAIN.match(text, sign + 1) if local else None
        if local and domain:
            start, end = sign - local.end(), domain.end()
            if _is_email(text[start:sign], domain.group()) and not next_to_placeholder(text, start, end):
                yield start, end
                done = end
        sign = text.find("@", sign + 1)


def spelt_out_emails(text: str) -> Iterator[Span]:
    """Addresses whose signs are words in brackets, such as `name [at] example [dot] org`."""
    return scan(text, _SPELT_OUT) if _SPELT_OUT_SIGN.search(text) else iter(())


def _is_email(local: str, domain: str) -> bool:
    return local.lower() not in _NOBODY and domain.rpartition(".")[2].lower() not in _NOT_TOP_LEVEL


def ipv4(text: str, reserved: bool) -> Iterator[Span]:
    """IPv4 addresses that belong to somebody by IANA's registries of special addresses, or all."""

    def accept(match: re.Match[str]) -> Span | None:
        address = ipaddress.IPv4Address(match.group())
        if all(number < SMALL for number in address.packed) or _says_version(match):
            return None
        of_somebody = address.is_global and not address.is_multicast
        return match.span() if reserved or of_somebody else None

    return scan(text, _V4, accept)


def ipv6(text: str, reserved: bool) -> Iterator[Span]:
    """IPv6 addresses that belong to somebody, or all that do not look like code."""

    def accept(match: re.Match[str]) -> Span | None:
        try:
            address = ipaddress.IPv6Address(match.group())
        except ValueError:
            return None
        # What is given out lies in 2000::/3 (RFC 4291, 2.4), what is for one's own network in fc00::/6.
        given_out, own = address.packed[0] >> 5 == 0b001, address.packed[0] >> 2 == 0b111111
        good = (given_out and address.is_global) or (reserved and (given_out or own or address.is_loopback))
        return match.span() if good else None

    return scan(text, _V6, accept) if _V6_SIGN.search(text) else iter(())


def _says_version(match: re.Match[str]) -> bool:
    return (
        _VERSION.search(match.string, max(0, match.start() - _VERSION_CHARACTERS), match.start()) is not None
    )

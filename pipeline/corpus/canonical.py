"""The one spelling of a URL in tables of documents, whatever source it comes from, and of a host."""

import contextlib
import ipaddress
import re
from urllib.parse import unquote

import idna
import w3lib.url

LABELS = r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*"
HOST = re.compile(rf"(?=.{{1,253}}\Z){LABELS}\Z")


def canonical_url(url: str) -> str:
    """The URL as it is written whatever its source; what is no URL stays as it is, in signs that can be."""
    with contextlib.suppress(ValueError):
        url = w3lib.url.canonicalize_url(url)
    return url.encode("utf-8", "replace").decode()


def spelled_host(text: str) -> str | None:
    """Lower-case ASCII without a last dot, by UTS 46 as browsers do it; None if no host can be called so."""
    try:
        if text.startswith("["):
            inside = text.removeprefix("[").removesuffix("]")
            is_whole = text.endswith("]") and "%" not in text
            return f"[{ipaddress.IPv6Address(inside)}]" if is_whole else None
        if "%" in text:
            text = unquote(text, errors="strict")
        if not text.isascii():
            text = idna.encode(text, uts46=True).decode()
    except ValueError:  # as UnicodeError and IDNAError are
        return None
    host = text.lower().removesuffix(".")
    return host if HOST.match(host) else None

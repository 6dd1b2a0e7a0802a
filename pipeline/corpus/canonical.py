"""The one spelling of a URL in tables of documents, whatever source it comes from."""

import contextlib

import w3lib.url


def canonical_url(url: str) -> str:
    """The URL as it is written whatever its source; what is no URL stays as it is, in signs that can be."""
    with contextlib.suppress(ValueError):
        url = w3lib.url.canonicalize_url(url)
    return url.encode("utf-8", "replace").decode()

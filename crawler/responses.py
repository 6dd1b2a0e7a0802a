"""Reading responses: their type, their links, what an archive keeps of them, and why there was none."""

import http.client
from collections.abc import Iterator, Mapping
from typing import Any

from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadTimeoutError,
    IgnoreRequest,
)
from scrapy.http import Headers, Response

from crawler.markup import read_markup
from crawler.origins import Forbidden, Unreachable, describe
from crawler.warc import Exchange

SNIFFED_BYTES = 1024


def is_html(response: Response, content_types: list[str]) -> bool:
    """By the Content-Type; where there is none, by how the body begins."""
    kind = content_type(response.headers)
    if kind:
        return kind in content_types
    start = response.body[:SNIFFED_BYTES].lower()
    return b"<html" in start or b"<!doctype html" in start


def content_type(headers: Mapping[str, Any]) -> str:
    value = headers.get("Content-Type") or b""
    text: str = value.decode("latin-1")
    return text.partition(";")[0].strip().lower()


def classify(error: BaseException, refused_address: str | None) -> tuple[str, str, bool]:
    """Outcome, detail, and whether it may be otherwise at the next try."""
    if isinstance(error, Unreachable | CannotResolveHostError) and refused_address is not None:
        return "refused-address", f"its address {refused_address} is not public", False
    if isinstance(error, Forbidden):
        return "robots", describe(error), False
    if isinstance(error, Unreachable):
        return "unreachable", describe(error), False
    if isinstance(error, CannotResolveHostError):
        return "unreachable", describe(error), True
    if isinstance(error, DownloadTimeoutError):
        return "timeout", describe(error), True
    if isinstance(error, DownloadCancelledError | IgnoreRequest):
        return "too-large", describe(error), False
    if isinstance(error, DownloadConnectionRefusedError):
        return "unreachable", describe(error), True
    return "error", f"{type(error).__name__}: {describe(error)}", True


def links(body: bytes, response: Response) -> list[str]:
    """What a page links to, as written there but joined with its `<base>`; each once, in order."""
    return read_markup(text_of(body, response)).links


def text_of(body: bytes, response: Response) -> str:
    """The page's text: UTF-8 if it is that, else in the encoding that the page or its header names."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode(getattr(response, "encoding", "latin-1"), errors="replace")


def exchange_of(url: str, response: Response, fetched: str) -> Exchange:
    assert response.request is not None
    return Exchange(
        url=url,
        fetched=fetched,
        address=str(response.ip_address) if response.ip_address else None,
        request_headers=[("Host", url.split("/", 3)[2]), *_pairs(response.request.headers)],
        protocol=response.protocol or "HTTP/1.1",
        status=f"{response.status} {http.client.responses.get(response.status, '')}".strip(),
        response_headers=list(_pairs(response.headers)),
        body=response.body,
    )


def _pairs(headers: Headers) -> Iterator[tuple[str, str]]:
    for name, values in headers.items():
        for value in values:
            yield name.decode("latin-1"), value.decode("latin-1")

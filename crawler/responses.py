"""Reading responses: their type, their links, what an archive keeps of them, and why there was none."""

import datetime
import http.client
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)
from scrapy.http import Headers, Response
from twisted.internet.error import ConnectionDone

from crawler.entries import Visit
from crawler.origins import Forbidden, Unreachable, Unreadable, describe
from crawler.scope import wants_type
from crawler.unpacking import BombError, BrokenCompressionError, TooLargeError
from crawler.warc import Exchange, Place

SNIFFED_BYTES = 1024


def is_wanted(response: Response, content_types: list[str]) -> bool:
    """By the Content-Type; where there is none, by how the body begins."""
    kind = content_type(response.headers)
    if kind:
        return wants_type(kind, content_types)
    start = response.body[:SNIFFED_BYTES].lower()
    return b"<html" in start or b"<!doctype html" in start


def content_type(headers: Mapping[str, Any]) -> str:
    value = headers.get("Content-Type") or b""
    text: str = value.decode("latin-1")
    return text.partition(";")[0].strip().lower()


def header(response: Response, name: str) -> str | None:
    value = response.headers.get(name)
    return value.decode("latin-1") if value is not None else None


def visit_of(
    outcome: str,
    response: Response,
    *,
    fetched: str | None = None,
    place: Place | None = None,
    sha256: str | None = None,
    detail: str | None = None,
) -> Visit:
    """What the crawl log says of an answer."""
    return Visit(
        outcome,
        fetched=fetched or now(),
        status=response.status,
        content_type=content_type(response.headers) or None,
        bytes=len(response.body),
        warc=f"warc/{place.warc}" if place else None,
        offset=place.offset if place else None,
        length=place.length if place else None,
        sha256=sha256,
        detail=detail,
        etag=header(response, "ETag"),
        last_modified=header(response, "Last-Modified"),
    )


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def classify(error: BaseException, refused_address: str | None) -> tuple[str, str, bool]:
    """Outcome, detail, and whether it may be otherwise at the next try."""
    if isinstance(error, Unreachable | CannotResolveHostError) and refused_address is not None:
        return "refused-address", f"its address {refused_address} is not public", False
    if isinstance(error, Unreadable):
        return "robots-unreachable", describe(error), False
    if isinstance(error, Forbidden):
        return "robots", describe(error), False
    if isinstance(error, Unreachable):
        return "unreachable", describe(error), False
    if isinstance(error, CannotResolveHostError):
        return "unreachable", describe(error), True
    if isinstance(error, DownloadTimeoutError):
        return "timeout", describe(error), True
    if isinstance(error, BombError):
        return "decompression-bomb", describe(error), False
    if isinstance(error, TooLargeError):
        return "too-large", describe(error), False
    if isinstance(error, DownloadCancelledError):
        return "too-large", "its body is longer than crawl.max_bytes", False
    if isinstance(error, DownloadConnectionRefusedError):
        return "unreachable", describe(error), True
    if isinstance(error, BrokenCompressionError):
        return "broken-compression", describe(error), True
    if isinstance(error, ResponseDataLossError | DownloadFailedError):
        return *_broken(error), True
    return "error", f"{type(error).__name__}: {describe(error)}", True


def _broken(error: BaseException) -> tuple[str, str]:
    """Outcome and detail of an answer that broke off or is none, by the reasons that Twisted gives; by their
    names, as some of the classes are its own affair."""
    reasons = [each.value for each in getattr(error.__cause__, "reasons", ())]
    names = {type(each).__name__ for each in reasons}
    if "_MalformedChunkedDataError" in names or any("Chunked" in str(each) for each in reasons):
        return "broken-chunks", "its chunked body is malformed, or ended before its last chunk"
    if isinstance(error, ResponseDataLossError):
        return "wrong-length", "the connection ended before as many bytes came as Content-Length says"
    if any(type(each).__module__.startswith("OpenSSL") for each in reasons):
        return "tls-error", "no secure connection came about: its certificate or its TLS is not right"
    if names and names <= {"ConnectionDone", "ConnectionLost", "ConnectionAborted"}:
        return "no-answer", "the connection ended without a whole answer"
    told = "; ".join(
        str(each.args[0]) for each in reasons if each.args and not isinstance(each, ConnectionDone)
    )
    return "broken-http", f"what came is no answer by HTTP: {told}" if told else "what came is no HTTP answer"


def text_of(body: bytes, response: Response) -> str:
    """The page's text: UTF-8 if it is that, else in the encoding that the page or its header names."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode(getattr(response, "encoding", "latin-1"), errors="replace")


def exchange_of(
    url: str, response: Response, fetched: str, opt_outs: Sequence[tuple[str, str]] = ()
) -> Exchange:
    assert response.request is not None
    return Exchange(
        url=url,
        fetched=fetched,
        address=str(response.ip_address) if response.ip_address else None,
        request_headers=[("Host", url.split("/", 3)[2]), *pairs(response.request.headers)],
        protocol=response.protocol or "HTTP/1.1",
        status=f"{response.status} {http.client.responses.get(response.status, '')}".strip(),
        response_headers=list(pairs(response.headers)),
        body=response.body,
        opt_outs=tuple(opt_outs),
    )


def pairs(headers: Headers) -> Iterator[tuple[str, str]]:
    """Names and values, one that came several times as often."""
    for name, values in headers.items():
        for value in values:
            yield name.decode("latin-1"), value.decode("latin-1")

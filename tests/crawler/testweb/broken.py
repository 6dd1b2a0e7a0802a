"""Hosts that break HTTP, TLS, compression or character sets, or are merely busy."""

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

from tests.crawler.testweb import bombs, certificates
from tests.crawler.testweb.exchange import HTML, Asked, Headers, Reply, page, raw
from tests.crawler.testweb.hosts import FAILED, Answer, Host, by_table, outcomes
from tests.crawler.testweb.words import prose

REAL = ("/real/one.html", "/real/two.html", "/real/three.html")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
DRIP_SECONDS = 0.2
LONG_SECONDS = 30
"""What a seed asks for that is busy for longer; no other host's pages need wait for it."""
BUSY_SECONDS = 2
"""What a busy host asks for; the first answer to each of its pages is that."""
FOREVER_SECONDS = 86_400
FOREVER_AT_MOST = 15
"""Requests that a host may cost which is busy for ever."""
FAILING_PAGES, FAILING_AT_MOST = 60, 60
"""Pages of a host that always fails, and requests that it may cost: fewer than one try for each and some."""
SLOW_SECONDS = 0.4
"""From a request to its answer, on a host that a crawler should be gentle with."""
SLOW = "slow-answers"


def broken_hosts() -> list[Host]:
    return [
        *(_broken_bodies(kind, table) for kind, table in {**BODIES, **bomb_tables()}.items()),
        *_charset_hosts(),
        *_secured_hosts(),
        *(busy("busy-seconds", _in_seconds), busy("busy-date", _as_date), busy_for_ever()),
        *(busy_seed(), busy_silently(), failing_once(), failing_always(), slow_answers(), short_lengths()),
    ]


def _real(kind: str) -> dict[str, Reply | Answer]:
    return {path: page(*REAL, title=f"{path} of {kind}", text=prose(kind + path)) for path in REAL}


async def _drip() -> AsyncIterator[bytes]:
    """A byte at a time, never silent long enough for a time-out between two."""
    yield HEAD + b"Content-Length: 100000\r\n\r\n<html><body>"
    while True:
        await asyncio.sleep(DRIP_SECONDS)
        yield b"."


async def _drip_head() -> AsyncIterator[bytes]:
    """The same before the head is complete."""
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        await asyncio.sleep(DRIP_SECONDS)
        yield b"X: y\r\n"


async def _silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(3600)
    yield b""


async def _endless() -> AsyncIterator[bytes]:
    yield HEAD + b"Connection: close\r\n\r\n<html><body>"
    while True:
        yield b"<p>and on and on</p>" * 500
        await asyncio.sleep(0.001)


async def _endless_chunks() -> AsyncIterator[bytes]:
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"2710\r\n" + b"x" * 10_000 + b"\r\n"
        await asyncio.sleep(0.001)


async def _endless_head() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"".join(b"X-%d: %s\r\n" % (number, b"v" * 500) for number in range(20))
        await asyncio.sleep(0.001)


def _stream(stream: Callable[[], AsyncIterator[bytes]]) -> Reply:
    return Reply(stream=stream)


def _chunks(*pieces: bytes) -> Reply:
    return raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *pieces)


def _falsely(body: bytes, coding: str) -> Reply:
    """The body is not in the coding that it is said to be in."""
    return Reply(body, headers=(*HTML, ("Content-Encoding", coding)), sound=False)


def bomb_tables() -> dict[str, dict[str, Reply | Answer]]:
    """Kind of host → its one path. Packed beforehand: a server that packs answers nobody else."""
    return {
        f"bomb-{coding.replace(', ', '-')}": {
            "/bomb": Reply(bombs.bomb(coding), headers=(*HTML, ("Content-Encoding", coding)))
        }
        for coding in bombs.CODINGS
    }


BODIES: Mapping[str, Mapping[str, Reply | Answer]] = {
    "slow-drip": {"/drip": _stream(_drip), "/drip-head": _stream(_drip_head), "/silence": _stream(_silence)},
    "never-ending": {
        "/body": _stream(_endless),
        "/chunks": _stream(_endless_chunks),
        "/head": _stream(_endless_head),
    },
    "false-encoding": {
        "/gzip": _falsely(b"<html>not gzip</html>", "gzip"),
        "/unknown": _falsely(b"<html>what?</html>", "sdch, foo"),
        "/cut": _falsely(bombs.small_gzip()[:-20], "gzip"),
    },
    "length-too-long": {"/a": raw(HEAD + b"Content-Length: 5000\r\n\r\n<html>this is all</html>")},
    "length-nonsense": {
        "/word": raw(HEAD + b"Content-Length: many\r\n\r\n<html></html>"),
        "/negative": raw(HEAD + b"Content-Length: -5\r\n\r\n<html></html>"),
        "/two": raw(HEAD + b"Content-Length: 5\r\nContent-Length: 13\r\n\r\n<html></html>"),
        "/giant": raw(HEAD + b"Content-Length: 99999999999999999999\r\n\r\n<html></html>"),
    },
    "broken-chunks": {
        "/no-hex": _chunks(b"zz\r\n<html>\r\n0\r\n\r\n"),
        "/cut": _chunks(b"1000\r\n<html>cut"),
        "/unfinished": _chunks(b"6\r\n<html>\r\n"),
        "/negative": _chunks(b"-6\r\n<html>\r\n0\r\n\r\n"),
        "/giant": _chunks(b"ffffffffffffffffffff\r\n<html>\r\n0\r\n\r\n"),
        "/no-line-end": _chunks(b"6\r\n<html>0\r\n\r\n"),
        "/endless-size": _chunks(b"0" * 100_000),
    },
    "broken-http": {
        "/garbage": raw(b"\x00\x01\x02 what is this\r\n\r\n"),
        "/nothing": raw(),
        "/no-status": raw(b"HTTP/1.1\r\nContent-Type: text/html\r\n\r\n<html></html>"),
        "/odd-status": raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
        "/no-colon": raw(HEAD + b"this is no header\r\nContent-Length: 13\r\n\r\n<html></html>"),
        "/http-0.9": raw(b"<html>no head at all</html>"),
        "/odd-location": raw(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n"),
    },
}
"""Kind of host → its paths that are broken, each in a way of its own."""
TOLERABLE = frozenset({"page", "http-error", "redirect", "refused-scheme", "not-html"}) | FAILED
"""A broken answer may count as a failure, or as what can be made of it."""
MUST_FAIL = {"slow-drip": "timeout", "never-ending": "too-large", "bomb": "decompression-bomb"}
"""Kinds (bombs by their first word) of which nothing but what is real must be stored → how they count."""


def _broken_bodies(kind: str, table: Mapping[str, Reply | Answer]) -> Host:
    front = page(*REAL, *table, title=f"Front page of {kind}", text=prose(kind))
    named = MUST_FAIL.get("bomb" if kind.startswith("bomb-") else kind)
    allowed = TOLERABLE if named is None else FAILED
    return Host(
        f"{kind}.example",
        kind,
        by_table({"/": front, **_real(kind), **table}),
        pages=frozenset(("/", *REAL)),
        may=dict.fromkeys(table, allowed),
        counted=outcomes() if named is None else outcomes(named),
    )


def short_lengths() -> Host:
    """More bytes come than Content-Length says, on a connection that stays open; they look like an answer.

    Whoever takes them for the next page's answer stores what that page never was.
    """
    kind = "length-too-short"
    false = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n<html>a lie</html>   "

    def answer(asked: Asked) -> Reply:
        found = by_table({"/": page(*REAL, title="Front page", text=prose(kind)), **_real(kind)})(asked)
        if found.status != 200 or asked.path == "/robots.txt":
            return found
        return _Longer(found.body, extra=false)

    return Host(f"{kind}.example", kind, answer, pages=frozenset(("/", *REAL)))


class _Longer(Reply):
    """A whole answer, and more behind it."""

    def __init__(self, body: bytes, extra: bytes) -> None:
        super().__init__(body)
        object.__setattr__(self, "extra", extra)

    @property
    def wire(self) -> bytes:  # type: ignore[override]
        return Reply(self.body).wire + self.extra  # type: ignore[attr-defined]


ACCENTED = "Ação, coração e pão: não há açúcar à mão."


def _charset_hosts() -> list[Host]:
    """Pages whose character set is not what is said, or not said; each leads to a page with an accent."""
    html = (
        "<!doctype html><html><head>{meta}<title>{kind}</title></head>"
        "<body><p>{text}</p>{links}</body></html>"
    )
    kinds: dict[str, tuple[str, Headers, str]] = {
        "charset-wrong-header": ("latin-1", HTML, ""),
        "charset-none": ("latin-1", (("Content-Type", "text/html"),), ""),
        "charset-meta": ("latin-1", (("Content-Type", "text/html"),), '<meta charset="iso-8859-1">'),
        "charset-wrong-meta": ("utf-8", (("Content-Type", "text/html"),), '<meta charset="iso-8859-1">'),
        "charset-unknown": ("utf-8", (("Content-Type", "text/html; charset=klingon"),), ""),
        "charset-bom": ("utf-8-sig", (("Content-Type", "text/html; charset=latin-1"),), ""),
        "charset-utf16": ("utf-16", (("Content-Type", "text/html"),), ""),
        "content-type-missing": ("utf-8", (), '<meta charset="utf-8">'),
    }
    hosts = []
    for kind, (coding, headers, meta) in kinds.items():
        links = "".join(f'<a href="{path}">{path}</a> ' for path in REAL)
        said = html.format(meta=meta, kind=kind, text=ACCENTED + prose(kind), links=links)
        front = Reply(said.encode(coding), headers=headers)
        table = {"/": front, **_real(kind)}
        hosts.append(Host(f"{kind}.example", kind, by_table(table), pages=frozenset(("/", *REAL))))
    return hosts


def _secured_hosts() -> list[Host]:
    """Over TLS, each with another certificate. Only one is good."""
    hosts = []
    for certificate in certificates.KINDS:
        kind = f"tls-{certificate}"
        front = page(*REAL, title=f"Front page of {kind}", text=prose(kind))
        good = certificate == certificates.GOOD
        hosts.append(
            Host(
                f"{kind}.example",
                kind,
                by_table({"/": front, **_real(kind)}),
                pages=frozenset(("/", *REAL)) if good else frozenset(),
                closed=None if good else "its certificate is not valid",
                counted=outcomes() if good else FAILED,
                certificate=certificate,
            )
        )
    return hosts


def _in_seconds(asked: Asked) -> Reply:
    return Reply(b"", 429, (("Retry-After", str(BUSY_SECONDS)),), wait_seconds=BUSY_SECONDS)


def _as_date(asked: Asked) -> Reply:
    """A date has whole seconds: it is rounded up, so that the wait asked for is at least what counts."""
    until = int(time.time()) + 1 + BUSY_SECONDS
    headers = (("Retry-After", email.utils.formatdate(until, usegmt=True)),)
    return Reply(b"", 503, headers, wait_seconds=BUSY_SECONDS)


def busy(kind: str, refuse: Answer) -> Host:
    """Each page is refused once, with a Retry-After; then it is given."""
    known = by_table({"/": page(*REAL, title=f"Front page of {kind}", text=prose(kind)), **_real(kind)})

    def answer(asked: Asked) -> Reply:
        return refuse(asked) if asked.path != "/robots.txt" and not asked.before else known(asked)

    return Host(f"{kind}.example", kind, answer, pages=frozenset(("/", *REAL)))


def busy_for_ever() -> Host:
    """Refuses everything, and asks to come back tomorrow. A crawl must not wait for that."""
    kind = "busy-for-ever"
    headers = (("Retry-After", str(FOREVER_SECONDS)),)
    refused = Reply(b"", 503, headers, wait_seconds=FOREVER_SECONDS)
    known = by_table({"/": page(*REAL, title=kind), **dict.fromkeys(REAL, refused)})
    return Host(
        f"{kind}.example",
        kind,
        known,
        pages=frozenset({"/"}),
        at_most=FOREVER_AT_MOST,
        counted=outcomes("http-error", "given-up"),
    )


def busy_seed() -> Host:
    """Its front page alone is refused, once, and for longer."""
    kind = "busy-seed"
    refused = Reply(b"", 503, (("Retry-After", str(LONG_SECONDS)),), wait_seconds=LONG_SECONDS)
    known = by_table({"/": page(*REAL, title=f"Front page of {kind}", text=prose(kind)), **_real(kind)})

    def answer(asked: Asked) -> Reply:
        return refused if asked.path == "/" and not asked.before else known(asked)

    return Host(f"{kind}.example", kind, answer, pages=frozenset(("/", *REAL)))


def busy_silently() -> Host:
    """As those that are busy, but without a word about when to come again."""
    return busy("busy-silent", lambda asked: Reply(b"", 429))


def failing_always() -> Host:
    """A front page that leads to many, each of which fails at every try: the host is to be given up."""
    kind = "fails-always"
    paths = [f"/page/{number}" for number in range(FAILING_PAGES)]
    table = {"/": page(*paths, title=kind), **dict.fromkeys(paths, Reply(b"", 500))}
    return Host(
        f"{kind}.example",
        kind,
        by_table(table),
        pages=frozenset({"/"}),
        at_most=FAILING_AT_MOST,
        counted=outcomes("given-up"),
    )


def slow_answers() -> Host:
    """Honest, and out of breath."""
    known = by_table({"/": page(*REAL, title=f"Front page of {SLOW}", text=prose(SLOW)), **_real(SLOW)})

    def answer(asked: Asked) -> Reply:
        return replace(known(asked), after_seconds=SLOW_SECONDS)

    return Host(f"{SLOW}.example", SLOW, answer, pages=frozenset(("/", *REAL)))


def failing_once() -> Host:
    """Every page fails once with a server's error that says nothing about when to come again."""
    kind = "fails-once"
    known = by_table({"/": page(*REAL, title=f"Front page of {kind}", text=prose(kind)), **_real(kind)})

    def answer(asked: Asked) -> Reply:
        if asked.path != "/robots.txt" and not asked.before:
            return Reply(b"", 502)
        return known(asked)

    return Host(f"{kind}.example", kind, answer, pages=frozenset(("/", *REAL)))

"""What a test web is asked and what it answers: the two sides of an HTTP exchange, and the log of both."""

import hashlib
import http.client
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

HTML = (("Content-Type", "text/html; charset=utf-8"),)
TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
BODILESS = (204, 304)

Headers = tuple[tuple[str, str], ...]
Stream = Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Asked:
    """A request as a host sees it."""

    path: str
    """With its query, as it was asked for."""
    headers: Mapping[str, str]
    """By lower-case name."""
    before: int = 0
    """How often this path was asked for before."""
    snapshot: int = 1
    """Which state of the web is being shown; pages change and vanish between two."""
    private_origin: str = ""
    """Scheme, address and port of a server on a loopback address that nobody named to the crawler."""


@dataclass(frozen=True)
class Reply:
    """An answer: well-formed, unless `stream` says byte by byte what is sent."""

    body: bytes = b""
    status: int = 200
    headers: Headers = HTML
    stream: Stream | None = None
    """Sent verbatim in place of everything, status line included; then the connection is closed."""
    after_seconds: float = 0.0
    """The answer begins so long after the request."""
    sound: bool = True
    """False where the body is not what the headers say: whoever asks again has a reason."""
    wait_seconds: float | None = None
    """The host is not to be asked anything for so long (what its Retry-After says)."""

    @cached_property
    def wire(self) -> bytes:
        """The whole answer as it travels."""
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.status not in BODILESS:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


@dataclass
class Request:
    """A line of the web's log."""

    host: str
    """The Host header without its port, in lower case."""
    path: str
    arrived: float
    """Seconds (monotonic) when its head had been read."""
    late: float = 0.0
    """It may have arrived so many seconds before: for so long the server had not had the processor."""
    address: str = ""
    """The server's address that it came to."""
    agent: str = ""
    conditional: bool = False
    """It asked for the page only if that had changed."""
    ended: float | None = None
    """Seconds (monotonic) when the answer had been sent, or could not be sent any more."""
    status: int = 0
    whole: bool = False
    """The answer was sent to its end, and was a well-formed one."""
    not_before: float | None = None
    """Its answer asked that nothing be asked of the host until then."""
    sha256: str = ""
    """Of the body before any encoding, of a well-formed answer."""
    before: int = field(default=0, repr=False)

    @property
    def is_well_known(self) -> bool:
        """robots.txt or tdmrep.json: asked for by the crawler on its own account."""
        return self.path in WELL_KNOWN


TDMREP = "/.well-known/tdmrep.json"
WELL_KNOWN = ("/robots.txt", TDMREP)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def page(*links: str, title: str = "a page", text: str = "", head: str = "", headers: Headers = ()) -> Reply:
    """HTML with links, in UTF-8."""
    anchors = "\n".join(f'<li><a href="{escaped(link)}">{title} leads on</a></li>' for link in links)
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{head}</head>\n'
        f"<body><h1>{title}</h1><p>{text}</p>\n<ul>{anchors}</ul></body></html>\n"
    )
    return Reply(html.encode(), headers=(*HTML, *headers))


def escaped(link: str) -> str:
    """As it stands in an attribute."""
    return link.replace("&", "&amp;").replace('"', "&quot;")


def text(body: str, status: int = 200) -> Reply:
    return Reply(body.encode(), status, TEXT)


def missing() -> Reply:
    return Reply(b"<!doctype html><title>404</title><p>There is no such page.</p>", 404)


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(b"", status, (("Location", location),))


def raw(*pieces: bytes) -> Reply:
    """Bytes as they are, whatever HTTP says of them."""

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Reply(stream=stream)

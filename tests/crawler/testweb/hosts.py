"""A host of the test web: how it answers, and what is true of it whatever a crawler does.

The truth is in paths. `pages` must be stored, each once. `may` may be asked for, and the crawl log
may say of them what stands there. `never` must not be asked for. Whatever is in none of them must
not be asked for either, but on a host that makes up paths without end (`at_most`), where the number
of requests is what counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.crawler.testweb.exchange import Asked, Reply, missing, text

Answer = Callable[[Asked], Reply]

GOOD = "good"
"""The kind of a host that does nothing wrong."""
ALLOW_ALL = text("User-agent: *\nDisallow: /private/\n")
BROKEN = frozenset(
    {"broken-chunks", "wrong-length", "broken-compression", "broken-http", "no-answer", "tls-error"}
)
FAILED = BROKEN | {"error", "timeout", "unreachable", "too-large", "decompression-bomb", "given-up"}
"""Outcomes of a page that a server does not manage to deliver."""


@dataclass
class Host:
    name: str
    kind: str
    """`good`, or the name of what is wrong with it."""
    answer: Answer
    pages: frozenset[str] = frozenset()
    """Paths that must be stored, exactly once, with the body that was sent."""
    may: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Paths that may be asked for → outcomes that the log may give them."""
    never: Mapping[str, str] = field(default_factory=dict)
    """Paths that must not be asked for → why."""
    closed: str | None = None
    """Why nothing but robots.txt and tdmrep.json may be asked for, if that is so."""
    at_most: int | None = None
    """Requests that the host may cost at most. None: only known paths may be asked for."""
    counted: frozenset[str] = frozenset()
    """Outcomes of which at least one must stand in the log for this host: how its kind is counted."""
    delay_seconds: float = 0.0
    """What robots.txt asks for between two requests."""
    certificate: str | None = None
    """The kind of certificate that it is served with over TLS. None: plain HTTP."""
    listens: bool = True
    """False where nobody answers at its address."""
    seeds: tuple[str, ...] = ("/",)
    """Paths that a crawl begins with."""

    @property
    def origin(self) -> str:
        return f"{'http' if self.certificate is None else 'https'}://{self.name}"

    def url(self, path: str) -> str:
        return self.origin + path

    @property
    def is_good(self) -> bool:
        return self.kind == GOOD


def by_table(table: Mapping[str, Reply | Answer], robots: Reply | Answer = ALLOW_ALL) -> Answer:
    """Answers by path; 404 for any other."""
    whole: dict[str, Reply | Answer] = {"/robots.txt": robots, **table}

    def answer(asked: Asked) -> Reply:
        found = whole.get(asked.path)
        if found is None:
            return missing()
        return found if isinstance(found, Reply) else found(asked)

    return answer


def outcomes(*names: str) -> frozenset[str]:
    return frozenset(names)

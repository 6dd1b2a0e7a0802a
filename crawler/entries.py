"""What a frontier holds: a URL that is to be fetched, what became of one, and where a crawl stands."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A URL that is to be fetched."""

    url: str
    host: str
    level: int
    """Steps from a seed, redirects included: the order of the crawl."""
    depth: int
    """Links from a seed: of the shortest way that was found."""
    redirects: int = 0
    """Redirects that led here in a row."""
    referrer: str | None = None
    priority: int = 0
    """Within a level lower ones come first."""
    tries: int = 0
    """How often it was asked for in vain."""


@dataclass(frozen=True)
class Visit:
    """What became of a URL."""

    outcome: str
    """`page` for a stored page; otherwise why there is none."""
    fetched: str
    status: int | None = None
    content_type: str | None = None
    bytes: int | None = None
    warc: str | None = None
    offset: int | None = None
    length: int | None = None
    sha256: str | None = None
    detail: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    refresh_seconds: float | None = None
    opt_outs: str | None = None


@dataclass(frozen=True)
class Position:
    """Where the archive stood at the last commit, the seconds that the crawl had run, and its round."""

    number: int = 0
    offset: int = 0
    seconds: float = 0.0
    round: int = -1
    """The last one that was begun; -1 before the first."""
    ended: bool = True
    """That round has ended."""

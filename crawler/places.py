"""Where a URL stands in a frontier: its host by number, its place there, and whose partition that is."""

import sys

from crawler.hosts import Hosts
from crawler.urls import bucket_of, host_of

KNOWN_ORIGINS = 200_000
"""Origins whose host is remembered in memory: some 50 MB."""
Origin = tuple[int, str, bool]
"""What the URLs of one origin have in common: the host; what their places begin with (the scheme, and the
port if it is not the scheme's own); whether another partition serves it."""


class Places:
    """Of one partition."""

    def __init__(self, hosts: Hosts, partition: int, partitions: int) -> None:
        self._hosts, self._partition, self._partitions = hosts, partition, partitions
        self.known: dict[str, Origin] = {}
        """By the beginning of a URL, up to its path. Looked at directly where links are added in dozens."""

    def locate(self, url: str) -> tuple[int, str, bool]:
        """Its host, its place there, and whether the host is another partition's."""
        end = url.find("/", 8)
        origin = self.known.get(url[:end])
        if origin is None:
            if end < 0 or not url.startswith(("http://", "https://")):
                return self._hosts.id_of(""), url, False
            origin = self.learn(url[:end])
        host, prefix, foreign = origin
        return host, prefix + url[end:], foreign

    def learn(self, text: str) -> Origin:
        """That of an origin which is not in `known` yet."""
        scheme, _, netloc = text.partition("://")
        name = host_of(text)
        port = netloc.rpartition("]")[2] if netloc.startswith("[") else netloc[len(name) :]
        if len(self.known) >= KNOWN_ORIGINS:
            self.known.clear()
        origin = (self._hosts.id_of(name), sys.intern(scheme + port), not self.serves(name))
        self.known[text] = origin
        return origin

    def counts(self, url: str) -> bool:
        """True if this partition counts the URL, should it be refused by name."""
        return self.serves(owner_of(url))

    def serves(self, host: str) -> bool:
        """True if the host is this partition's."""
        return self._partitions == 1 or bucket_of(host) % self._partitions == self._partition


def owner_of(url: str) -> str:
    """What decides which partition counts a URL that is refused by name: its host, or all of it."""
    return (url.startswith(("http://", "https://")) and host_of(url)) or url


def url_of(host: str, place: str) -> str:
    """The URL at a place. A place is what a canonical URL has beside its host's name (scheme, port if it is
    not the scheme's own, path and query), so that a host's places sort as its URLs do; where there is no
    host it is the whole URL."""
    if not host:
        return place
    head, _, path = place.partition("/")
    scheme, colon, port = head.partition(":")
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}{colon}{port}/{path}"

"""What must be left out: hosts, pages and places in files that somebody asked to have forgotten.

An exclusion is written once into the store and is obeyed from then on: the crawl and archives in its place
ask for and take none of it, and `clean` keeps none of what is there already, whatever the configuration.

    example.org                     all of that host, and of hosts below it, at any port
    https://example.org/~maria/     this page, by http or https
    https://example.org/~maria/*    every page whose URL begins so
    letters/2019.jsonl#371          a place in a source's files; with * at its end all that begin so

A host is found by its name alone and a page by its URL, so that a million of them cost no more than one.
"""

import datetime
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import idna
from pydantic import BaseModel

from pipeline.corpus.canonical import canonical_url
from pipeline.errors import InputError
from pipeline.store import Artifact, Storage

FOLDER = "forgotten"
"""Of the store; a file in it for each time that something was to be forgotten, or was taken back."""
REASON = "forgotten"
"""Of documents that are dropped for it, and the outcome of URLs that are not asked for."""
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
ADDRESS = re.compile(r"\[[0-9a-f:.]+\]")
"""Of IPv6, as it stands in a URL."""
WEB = ("http", "https")


class NoRuleError(InputError):
    """What is to be forgotten is neither a host nor a URL nor a place."""

    remedy = "Write a host (example.org), a URL, or a place as `moinho corpus dropped` prints it."


class ForgottenEntry(BaseModel):
    """What was asked for at one time."""

    at: str
    """UTC, ISO 8601."""
    rules: tuple[str, ...]
    note: str = ""
    """Who asked, or why; for those who read the list."""
    taken_back: bool = False
    """Whether the rules no longer hold."""


def rule_of(text: str) -> str:
    """The one spelling of what a user wrote. Raises NoRuleError."""
    given = text.strip()
    if "://" in given:
        return _url_rule(given)
    host, slash, rest = given.partition("/")
    if slash and "." in host and "#" not in rest and _host(host):
        return _url_rule(f"https://{given}")
    if slash or "#" in given:
        return given
    name, colon, port = given.removeprefix("*.").partition(":")
    if colon and port.isdigit():
        return _url_rule(f"https://{given}/*")
    if not (found := _host(name)):
        raise NoRuleError(
            f"{text!r} is neither a host nor a URL; write a host such as example.org, a URL such as "
            "https://example.org/page (with * at its end all that begin so), or a place as "
            "`moinho corpus dropped` prints it"
        )
    return found


def _host(name: str) -> str:
    """As hosts are spelled in URLs; empty if none can be called so."""
    try:
        spelled = name.lower().strip(".")
        spelled = spelled if spelled.isascii() else idna.encode(spelled, uts46=True).decode()
    except idna.IDNAError:
        return ""
    return spelled if HOST.fullmatch(spelled) or ADDRESS.fullmatch(spelled) else ""


def _url_rule(url: str) -> str:
    beginning = url.endswith("*")
    place = _place_on_the_web(canonical_url(url.removesuffix("*")))
    if place is None or not _host(place.host):
        raise NoRuleError(f"{url!r} is no URL of a web page; write one such as https://example.org/page")
    return f"https://{place.host}{place.rest}{'*' if beginning else ''}"


@dataclass(frozen=True)
class _Place:
    host: str
    rest: str
    """Port, path and query, from what no URL's scheme decides."""


def _place_on_the_web(url: str) -> _Place | None:
    """None of what is no page of the web. `url` is canonical."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    except ValueError:
        return None
    if parts.scheme not in WEB or not parts.hostname:
        return None
    query = f"?{parts.query}" if parts.query else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return _Place(host, f"{port}{parts.path or '/'}{query}")


@dataclass(frozen=True)
class Forgotten:
    """All that is to be left out at a moment."""

    rules: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def rule_for(self, url: str) -> str | None:
        """The rule by which a URL or place is left out; None if there is none."""
        if not self.rules:
            return None
        if url in self.rules:
            return url
        if not url.startswith(WEB):
            return _beginning_of(url, self._beginnings.get("", ()))
        place = _place_on_the_web(url)
        if place is None:
            return None
        labels = place.host.split(".")
        for start in range(len(labels)):
            if (host := ".".join(labels[start:])) in self.rules:
                return host
        if place.host not in self._hosts_with_pages:
            return None
        canonical = _place_on_the_web(canonical_url(url)) or place
        page = f"https://{canonical.host}{canonical.rest}"
        return page if page in self.rules else _beginning_of(page, self._beginnings.get(place.host, ()))

    def only(self, urls: Iterable[str]) -> "Forgotten":
        """Those of the rules by which at least one of the URLs is left out."""
        return Forgotten(frozenset(rule for url in urls if (rule := self.rule_for(url)) is not None))

    def identity(self) -> dict[str, str]:
        """What enters the key of what was made without them; nothing if nothing is left out."""
        if not self.rules:
            return {}
        return {REASON: hashlib.sha256("\n".join(sorted(self.rules)).encode()).hexdigest()}

    @cached_property
    def _beginnings(self) -> dict[str, tuple[str, ...]]:
        """By host, for places in files by an empty one: what URLs may begin with."""
        found: dict[str, list[str]] = {}
        for rule in self.rules:
            if rule.endswith("*"):
                place = _place_on_the_web(rule)
                found.setdefault(place.host if place else "", []).append(rule)
        return {host: tuple(sorted(rules)) for host, rules in found.items()}

    @cached_property
    def _hosts_with_pages(self) -> frozenset[str]:
        places = (_place_on_the_web(rule) for rule in self.rules if rule.startswith(WEB))
        return frozenset(place.host for place in places if place is not None)


def _beginning_of(text: str, rules: Iterable[str]) -> str | None:
    return next((rule for rule in rules if text.startswith(rule[:-1])), None)


def forgotten_in(storage: Storage) -> Forgotten:
    """What holds in a store at this moment."""
    rules: set[str] = set()
    for entry in entries_in(storage):
        rules = rules - set(entry.rules) if entry.taken_back else rules | set(entry.rules)
    return Forgotten(frozenset(rules))


def entries_in(storage: Storage) -> Iterator[ForgottenEntry]:
    """Everything that was ever written down, in the order of time."""
    for name in storage.list(FOLDER):
        if name.endswith(".json"):
            yield ForgottenEntry.model_validate_json(storage.read(f"{FOLDER}/{name}"))


def write_entry(
    storage: Storage, rules: Iterable[str], note: str = "", *, taken_back: bool = False
) -> ForgottenEntry:
    """From now on the rules hold, or do no longer; nothing that was written is ever changed."""
    now = datetime.datetime.now(datetime.UTC)
    entry = ForgottenEntry(
        at=now.isoformat(timespec="seconds"), rules=tuple(rules), note=note, taken_back=taken_back
    )
    name = f"{FOLDER}/{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}.json"
    storage.create(name, entry.model_dump_json(indent=1).encode())
    return entry


def urls_in(artifact: Artifact, prefix: str) -> Iterator[str]:
    """The column `url` of an artifact's Parquet files; of a store that is elsewhere only that is fetched."""
    import pyarrow.parquet as pq

    storage = artifact.storage
    for name in artifact.names(prefix):
        if not name.endswith(".parquet"):
            continue
        path = storage.full(f"{artifact.base}/{artifact.record.files[name].path}")
        with storage.fs.open(path, "rb") as data, pq.ParquetFile(data) as file:
            for batch in file.iter_batches(columns=["url"]):
                yield from batch.column(0).to_pylist()

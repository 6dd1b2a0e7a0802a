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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from pipeline.corpus.canonical import canonical_url, spelled_host
from pipeline.errors import InputError
from pipeline.store import Artifact, Storage

FOLDER = "forgotten"
"""Of the store; a file in it for each time that something was to be forgotten, or was taken back."""
REASON = "forgotten"
"""Of documents that are dropped for it, and the outcome of URLs that are not asked for."""
WEB = ("http://", "https://")
BARE_URL = re.compile(r"[\w-]+(\.[\w-]+)*\.[a-z]{2,}(:\d+)?(/|$)", re.IGNORECASE)


HALF_A_SCHEME = re.compile(r"(https?)(?::/(?!/)|:(?!/)|//)")
"""A URL's beginning with a letter missing, which would pass for a place in a file."""


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


def rules_of(text: str) -> tuple[str, ...]:
    """The one spelling of what a user wrote. What may be both a URL without its scheme and a place is both.

    Raises NoRuleError.
    """
    given = text.strip()
    if "*" in given.removeprefix("*.").removesuffix("*"):
        raise NoRuleError(f"{text!r} has * within; it may stand at the end alone, for all that begin so")
    if half := HALF_A_SCHEME.match(given):
        raise NoRuleError(f"{text!r} is no URL; write {half[1]}://{given[half.end() :].lstrip('/')}")
    scheme, separator, _ = given.partition("://")
    if separator and "#" not in scheme:
        return (_url_rule(given),)
    before, slash, _ = given.partition("/")
    if slash or "#" in given:
        might_be_url = (
            slash and "." in before and "#" not in before and spelled_host(before.partition(":")[0])
        )
        return (_url_rule(f"https://{given}"), given) if might_be_url else (given,)
    if found := spelled_host(given.removeprefix("*.")):
        return (found,)
    name, colon, port = given.partition(":")
    if colon and port.isdigit() and spelled_host(name):
        return (_url_rule(f"https://{given}/*"),)
    raise NoRuleError(
        f"{text!r} is neither a host nor a URL; write a host such as example.org, a URL such as "
        "https://example.org/page (with * at its end all that begin so), or a place as "
        "`moinho corpus dropped` prints it"
    )


def _url_rule(url: str) -> str:
    """The rule of a page or, with * at its end, of all that begin so. Raises NoRuleError."""
    path, mark, query = url.removesuffix("*").partition("?")
    is_beginning = url.endswith("*")
    if is_beginning and "&" in query:
        raise NoRuleError(
            f"{url!r} has several names in its query, whose order is not a page's own; write the beginning "
            "up to the first of them"
        )
    # What is only the beginning of a query must not be spelled as if it were whole.
    place = _place_on_the_web(canonical_url(path if is_beginning else f"{path}{mark}{query}"))
    if place is None:
        raise NoRuleError(f"{url!r} is no URL of a web page; write one such as https://example.org/page")
    return f"https://{place.host}{place.rest}" + (f"{mark}{query}*" if is_beginning else "")


@dataclass(frozen=True)
class _Place:
    host: str
    rest: str
    """Port, path and query, from what no URL's scheme decides."""


def _place_on_the_web(url: str) -> _Place | None:
    """None of what is no page of the web. `url` is canonical, but for its host."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
        name = parts.hostname or ""
    except ValueError:
        return None
    host = spelled_host(f"[{name}]" if ":" in name else name)
    if parts.scheme not in ("http", "https") or not host:
        return None
    query = f"?{parts.query}" if parts.query else ""
    return _Place(host, f"{port}{parts.path or '/'}{query}")


def _named_page(place: str) -> str | None:
    """The URL in a place whose row was called by a URL without a scheme that is known, such as
    `letters#www.example.org/a`."""
    name = place.partition("#")[2]
    scheme, separator, rest = name.partition("://")
    if separator:
        return f"http://{rest}" if scheme.lower() in ("http", "https") else None
    if name.startswith("//"):
        return f"http:{name}"
    return f"http://{name}" if BARE_URL.match(name) else None


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
            named = _named_page(url)
            found = self._rule_on_the_web(named) if named is not None else None
            return found or _beginning_of(url, self._beginnings.get("", ()))
        return self._rule_on_the_web(url)

    def _rule_on_the_web(self, url: str) -> str | None:
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


def columns_in(artifact: Artifact, prefix: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of an artifact's Parquet files; of a store that is elsewhere only these columns are fetched."""
    import pyarrow.parquet as pq

    storage = artifact.storage
    for name in artifact.names(prefix):
        if not name.endswith(".parquet"):
            continue
        path = storage.full(f"{artifact.base}/{artifact.record.files[name].path}")
        with storage.fs.open(path, "rb") as data, pq.ParquetFile(data) as file:
            for batch in file.iter_batches(columns=list(columns)):
                yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def urls_in(artifact: Artifact, *prefixes: str) -> Iterator[str]:
    """The column `url` of an artifact's Parquet files."""
    for prefix in prefixes:
        yield from (url for (url,) in columns_in(artifact, prefix, ["url"]))

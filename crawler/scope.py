"""Which URLs are wanted, by their host and path; and whose links come first, by their page's language.

A pattern is written as `host/path`. The path is what robots.txt has: where it begins, `*` is any text,
and a last `$` the end (RFC 9309, section 2.2.3). The host may have `*` as well, and may be left out:

    example.org               all of that host
    *.example.org             all hosts below it (example.org itself is not)
    example.org/wiki/         what begins so
    */login                   on any host; `/login` is the same
    /*.pdf$                   what ends so, on any host
    *?*sort=                  a name in the query, on any host

What no URL can match is refused: a host with other characters than names have, a path with a backslash or a
`#`. So is what is more likely part of a path: a host without a dot is written with a slash behind it
(`wiki/`), but for `localhost`.

A URL is wanted if no `deny` pattern matches it, and an `allow` pattern does or there is none. Unlike in
robots.txt no length decides: what is denied stays so.

For the loop that fetches: hold each link against `scope.refusal(url, host)` before it is added, redirects'
targets too; seeds are wanted whatever the patterns say of their host, but not what `deny` says. Then ask
`scope.names(host)`: if true, `allow` names that host; else the hosts that are wanted anyhow count (those
of the seeds, or `allowed_hosts`). 0.1 µs without patterns, 1 µs for each pattern with.
"""

import fnmatch
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import idna
from pydantic import AfterValidator

from crawler.robots_txt import Pattern, path_of, pattern_of

LANGUAGE_TAG = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]{1,8})*", re.IGNORECASE)
"""BCP 47, of which the language itself counts and, if that is wanted, its region."""
HOST = re.compile(r"[a-z0-9_*-]+(\.[a-z0-9_*-]+)*")
"""A host's name with `*` for any text in it, in lower case."""
FILE_ENDINGS = (".html", ".htm", ".xhtml", ".php", ".asp", ".aspx", ".jsp", ".pdf", ".xml", ".txt", ".json")
"""No top-level domain is called so."""
NO_LANGUAGE = frozenset({"und", "mul", "zxx", "mis"})
READ_CHARACTERS = 1_500
"""Of a page's text, to find its language."""


@dataclass(frozen=True)
class UrlPattern:
    text: str
    host: Pattern | None
    """None: any host."""
    path: Pattern | None

    def matches(self, path: str, host: str) -> bool:
        """`path` as `path_of` gives it."""
        return (self.host is None or self.host.matches(host)) and (
            self.path is None or self.path.matches(path)
        )


def url_pattern(text: str) -> UrlPattern:
    """Raises ValueError, which says what would be right."""
    if "://" in text:
        raise ValueError(f"pattern {text!r} has a scheme; write {_without_scheme(text)!r}")
    if not text or any(character.isspace() for character in text):
        raise ValueError(
            f"pattern {text!r} is empty or has a blank; write `host/path`, such as 'example.org/wiki/'"
        )
    if "\\" in text or "#" in text:
        raise ValueError(
            f"pattern {text!r} has a backslash or a '#', which no URL has that is asked for; patterns are no "
            "regular expressions: write '*' for any text, such as 'example.org/wiki/*.html'"
        )
    if text.startswith("*?"):
        text = f"/{text}"
    host, slash, path = text.partition("/")
    host = _host_pattern(text, host) if host else ""
    if not slash and _looks_like_path(host):
        raise ValueError(
            f"pattern {text!r} is taken for a host, which has a dot in its name and no file's ending; write "
            f"'/{text}' for paths that begin so on any host, '/*{text}' for those that have it, or "
            f"'{text}/' for a host of that name"
        )
    return UrlPattern(
        text,
        Pattern(f"{host}$") if host.strip("*") else None,
        pattern_of(f"/{path}") if slash and path else None,
    )


def _without_scheme(text: str) -> str:
    """The pattern that was probably meant, also of a regular expression."""
    rest = text.partition("://")[2].replace("\\", "").replace(".*", "*")
    is_path = rest.startswith("*") and "/" not in rest and (rest == "*" or rest.endswith("$"))
    return f"/{rest}" if is_path else rest


def check_pattern(text: str) -> str:
    """What it is given. Raises ValueError as `url_pattern` does."""
    url_pattern(text)
    return text


Patterns = tuple[Annotated[str, AfterValidator(check_pattern)], ...]
"""In a configuration: each one that is wrong is told."""


def _host_pattern(text: str, host: str) -> str:
    """As hosts are spelled in URLs: in lower case and ASCII. Raises ValueError if none can be called so."""
    try:
        labels = host.lower().split(".")
        spelled = ".".join(
            each if each.isascii() else idna.encode(each, uts46=True).decode() for each in labels
        )
    except idna.IDNAError:
        spelled = ""
    if HOST.fullmatch(spelled):
        return spelled
    if HOST.fullmatch(host.lower().strip(".")):
        fit = f"*{text}" if host.startswith(".") else text.replace(host, host.strip("."), 1)
        raise ValueError(f"pattern {text!r}: {host!r} is not a host name; write {fit!r}")
    raise ValueError(
        f"pattern {text!r}: {host!r} is not a host name (patterns are no regular expressions); write "
        "'example.org' or '*.example.org', or begin with '/' if a path on any host is meant"
    )


def _looks_like_path(host: str) -> bool:
    """`git-add` and `index.html` are hardly meant as hosts."""
    word = "." not in host and "*" not in host and host not in ("", "localhost")
    return word or host.endswith(FILE_ENDINGS)


@dataclass(frozen=True)
class Scope:
    """What the configuration's `allow` and `deny` want; raises ValueError for a pattern that is none."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self._allow, self._deny

    @cached_property
    def _allow(self) -> list[UrlPattern]:
        return [url_pattern(text) for text in self.allow]

    @cached_property
    def _deny(self) -> list[UrlPattern]:
        return [url_pattern(text) for text in self.deny]

    def refusal(self, url: str, host: str) -> str | None:
        """Why a canonical URL is not wanted, for the crawl log; None if it is."""
        if not self.allow and not self.deny:
            return None
        path = path_of(url)
        for pattern in self._deny:
            if pattern.matches(path, host):
                return f"denied by {pattern.text!r}"
        if self.allow and not any(pattern.matches(path, host) for pattern in self._allow):
            return "no allow pattern matches it"
        return None

    def names(self, host: str) -> bool:
        """True if an `allow` pattern is about this host in particular: `*` alone is about none."""
        return any(pattern.host is not None and pattern.host.matches(host) for pattern in self._allow)


def wants_type(content_type: str, wanted: Sequence[str]) -> bool:
    """`wanted` may have wildcards: `text/*`. Both in lower case, without parameters."""
    return any(fnmatch.fnmatchcase(content_type, each) for each in wanted)


# --- languages ---


def language_of(stated: str | None, text: Callable[[], str]) -> str | None:
    """The language of a page: what its `html` element states; if that is nothing, what py3langid makes of
    its text (`markup.visible_text`), which is asked for only then; None if that is too short.

    Microseconds: 1 if stated, 250 if not; py3langid takes 0.8 s to load and 90 MB, once.
    """
    tag = LANGUAGE_TAG.fullmatch((stated or "").strip())
    if tag is not None and tag[1].lower() not in NO_LANGUAGE:
        return tag[0].lower().replace("_", "-")
    sample = html.unescape(text()[: 4 * READ_CHARACTERS])[:READ_CHARACTERS]
    if len(sample) < 100:
        return None
    from pipeline.corpus.language import of_passages

    return of_passages([sample]).code


def priority_of(language: str | None, wanted: tuple[str, ...]) -> int:
    """Of the links on a page, lower ones first: 0 if its language is wanted or none is in particular, 1 if
    it is not known, 2 if it is another. It orders the crawl, and so decides only where a limit cuts."""
    if not wanted:
        return 0
    return 1 if language is None else _rank(language, wanted)


@lru_cache(maxsize=1_000)
def _rank(language: str, wanted: tuple[str, ...]) -> int:
    return 0 if any(f"{language}-".startswith(f"{each.lower()}-") for each in wanted) else 2

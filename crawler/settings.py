"""What the single settings of a crawl may be. Each check gives the value as it is used, or raises ValueError,
which says what was found and what to write."""

import json
import locale
import mimetypes
import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from crawler.scope import LANGUAGE_TAG, NO_LANGUAGE
from crawler.seeds import MAIL_ADDRESS
from crawler.urls import canonical, host_of

MEDIA_TYPE = re.compile(r"[a-z0-9*][a-z0-9!#$&^_.+*-]*/[a-z0-9*][a-z0-9!#$&^_.+*-]*")
"""Of RFC 6838, section 4.2, with `*` for any text."""
WEB_ADDRESS = re.compile(r"https?://[^\s/]+\S*")
FIRST_YEAR = 1991
"""There was no page before."""


def check_language(tag: str) -> str:
    """BCP 47, as pages state it."""
    found = LANGUAGE_TAG.fullmatch(tag)
    if found is None or "_" in tag or found[1].lower() in NO_LANGUAGE:
        named = locale.locale_alias.get(tag.strip().lower(), "").partition("_")[0]
        fit = tag.replace("_", "-") if found is not None and "_" in tag else named
        raise ValueError(f"{tag!r} is no code of a language; write one such as {json.dumps(fit or 'pt-BR')}")
    return tag


def check_content_type(kind: str) -> str:
    if not MEDIA_TYPE.fullmatch(kind):
        plain = kind.partition(";")[0].strip().lower()
        guess = mimetypes.guess_type(f"file.{plain.lstrip('.')}")[0]
        fit = plain if MEDIA_TYPE.fullmatch(plain) else guess or ("*/*" if plain == "*" else "text/html")
        raise ValueError(f'{kind!r} is no media type in lower case and without parameters; write "{fit}"')
    return kind


def check_content_types(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if not kinds:
        raise ValueError('is empty, so that nothing would be a page; write ["text/html"], or leave it out')
    return kinds


def check_header(text: str) -> str:
    """Of what stands in a header of each request."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} cannot stand in a header; use printable ASCII characters")
    return text


def check_user_agent(agent: str) -> str:
    """Its beginning is the name by which a robots.txt addresses the crawler."""
    if not re.match(r"[A-Za-z_-]", agent):
        raise ValueError(
            f"{agent!r} does not begin with a name, by which a robots.txt could mean this crawler; write one "
            'such as "mycrawler/1.0", or leave it out'
        )
    return check_header(agent)


def check_contact(contact: str) -> str:
    if contact and not (MAIL_ADDRESS.fullmatch(contact) or WEB_ADDRESS.fullmatch(contact)):
        raise ValueError(
            f"{check_header(contact)!r} is neither a URL nor an e-mail address; write one at which "
            'whoever runs a site can reach you, such as "me@example.org"'
        )
    return check_header(contact)


def check_host(host: str) -> str:
    """As it stands in URLs: in lower case and ASCII, an IPv6 address without brackets."""
    if "*" in host:
        raise ValueError(f"{host!r} is a pattern, not a host name; patterns belong into crawl.allow")
    bare = host.strip("[]")
    spelled = f"[{bare}]" if bare.count(":") > 1 else bare
    more = re.search(r"[/\\?#@]|^[^:]*:[^:]*$", bare)
    url = canonical(f"http://{spelled}/") if more is None else None
    if url is None:
        raise ValueError(f"{host!r} is not a host name; write it without scheme, port and path")
    return host_of(url)


def check_snapshot(value: Any) -> Any:
    """Before pydantic takes a number for seconds since 1970."""
    if isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a date; write one as 2026-01-31")
    return value


def check_snapshot_year(day: date | None) -> date | None:
    last = datetime.now(UTC).year + 1
    if day is not None and not FIRST_YEAR <= day.year <= last:
        raise ValueError(f"{day} is not a date of a crawl; write one from {FIRST_YEAR} to {last}")
    return day


def check_sitemaps(value: Any) -> Any:
    if isinstance(value, list | tuple) or "://" in str(value):
        raise ValueError(
            f"write true or false, found {value!r}; a sitemap's own URL belongs into crawl.seeds"
        )
    return value


Languages = tuple[Annotated[str, AfterValidator(check_language)], ...]
ContentTypes = Annotated[
    tuple[Annotated[str, AfterValidator(check_content_type)], ...], AfterValidator(check_content_types)
]
UserAgent = Annotated[str, AfterValidator(check_user_agent)]
Contact = Annotated[str, AfterValidator(check_contact)]
Hosts = tuple[Annotated[str, AfterValidator(check_host)], ...]
Snapshot = Annotated[date | None, BeforeValidator(check_snapshot), AfterValidator(check_snapshot_year)]
ReadsSitemaps = Annotated[bool, BeforeValidator(check_sitemaps)]

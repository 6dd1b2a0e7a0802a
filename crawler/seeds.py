"""The URLs that a crawl begins with: from its configuration, and from a file with one a line."""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from crawler.urls import canonical
from pipeline.errors import InputError

TOLD_LINES = 5
"""Lines of a file that an error message names."""
BYTE_ORDER_MARK = "\ufeff"
SHOWN_CHARACTERS = 100
"""Of what was found in one."""
WEB_URL = re.compile(r"https?://[^\s\"'<>()]+")
MAIL_ADDRESS = re.compile(r"(?:mailto:)?[^\s@/:]+@[^\s@/]+")
HOST_AND_PATH = re.compile(r"(?:localhost|[^\s/:@.]+(?:\.[^\s/:@.]+)+)(?::\d+)?(?:[/?#]\S*)?")
"""A name with a dot in it, and what may follow."""


class SeedsFileError(InputError):
    """The file of seeds is not there, cannot be read, or has a line that is no web page's URL."""

    remedy = "Correct the file that crawl.seeds_file names: a URL a line, comments begin with #."


def read_seeds(name: str) -> list[str]:
    """The URLs in a text file, also one packed by gzip: one a line, each once, in order. Blank lines and
    those that begin with # are left out. Raises SeedsFileError, which names file and line."""
    path = Path(name).expanduser()
    found: dict[str, None] = {}
    faults: list[str] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        # Such a mark is also in the middle of a file that was put together from several.
        seed = line.replace(BYTE_ORDER_MARK, "").strip()
        if not seed or seed.startswith("#"):
            continue
        try:
            check_seed(seed)
        except ValueError as error:
            faults.append(f"crawl.seeds_file {path}, line {number}: {error}")
        found[seed] = None
    if faults:
        more = [f"  and {len(faults) - TOLD_LINES} more lines"] if len(faults) > TOLD_LINES else []
        raise SeedsFileError("\n".join(faults[:TOLD_LINES] + more))
    if not found:
        raise SeedsFileError(
            f"crawl.seeds_file {path} has no URL in it; write one a line, such as https://example.org/"
        )
    return list(found)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SeedsFileError(
            f"crawl.seeds_file {path} cannot be read ({error}); it is a UTF-8 text file with a URL a line, "
            "and its path counts from the working folder"
        ) from error


def digest_of(seeds: Iterable[str]) -> str:
    """The identity of seeds that came from a file: not of its name, comments and packing."""
    return hashlib.sha256("\n".join(seeds).encode()).hexdigest()


def check_seed(seed: str) -> str:
    """What it is given. Raises ValueError, which says what was found and what would be right."""
    scheme, separator, _ = seed.partition("://")
    if not separator:
        raise ValueError(_without_scheme(seed))
    if scheme.lower() not in ("http", "https"):
        inside = WEB_URL.search(seed)
        advice = inside[0] if inside is not None else "an http or https URL"
        raise ValueError(f"seed {_shown(seed)} begins with {_shown(scheme)}; write {advice}")
    if any(character.isspace() for character in seed):
        advice = "put a comment on a line of its own" if " #" in seed else "a blank in a URL is written %20"
        raise ValueError(f"seed {_shown(seed)} has a blank in it; write one URL a line, {advice}")
    try:
        parts = urlsplit(seed)
        host = parts.hostname
    except ValueError as error:
        raise ValueError(f"seed {_shown(seed)} is not a URL ({error}); write https://host/path") from error
    if not host:
        raise ValueError(f"seed {_shown(seed)} has no host name; write https://host/path")
    if parts.username is not None:
        raise ValueError(f"seed {_shown(seed)} holds a user name; pages behind a login are not crawled")
    if canonical(seed) is None:
        raise ValueError(
            f"seed {_shown(seed)} is not a URL that can be asked for: look at its host name {host!r} and its "
            "port; write https://host/path"
        )
    return seed


def _without_scheme(seed: str) -> str:
    """What is wrong with it, and what was meant if that can be told."""
    rest = seed.lstrip("/")
    if MAIL_ADDRESS.fullmatch(seed):
        advice = "is an e-mail address; write the URL of a page, such as https://example.org/"
    elif HOST_AND_PATH.fullmatch(rest):
        advice = f"has no scheme; write https://{rest}"
    else:
        advice = "is not a URL; write one such as https://example.org/"
    return f"seed {_shown(seed)} {advice}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")


Seeds = Annotated[
    tuple[Annotated[str, AfterValidator(check_seed)], ...],
    AfterValidator(lambda seeds: tuple(dict.fromkeys(seeds))),
]
"""In a configuration: each once, and each one that is wrong is told."""

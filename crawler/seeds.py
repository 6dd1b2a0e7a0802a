"""The URLs that a crawl begins with: from its configuration, and from a file with one a line."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import InputError

TOLD_LINES = 5
"""Lines of a file that an error message names."""


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
        seed = line.strip()
        if not seed or seed.startswith("#"):
            continue
        try:
            check_seed(seed)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
        found[seed] = None
    if faults:
        more = f"; and {len(faults) - TOLD_LINES} more lines" if len(faults) > TOLD_LINES else ""
        raise SeedsFileError(f"crawl.seeds_file {path}, {'; '.join(faults[:TOLD_LINES])}{more}")
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
            f"crawl.seeds_file {path} cannot be read ({error}); it is a text file with a URL a line, "
            "and its path counts from the working folder"
        ) from error


def digest_of(seeds: Iterable[str]) -> str:
    """The identity of seeds that came from a file: not of its name, comments and packing."""
    return hashlib.sha256("\n".join(seeds).encode()).hexdigest()


def check_seed(seed: str) -> None:
    """Raises ValueError, which says what would be right."""
    try:
        parts = urlsplit(seed)
        host = parts.hostname
    except ValueError as error:
        raise ValueError(f"seed {seed!r} is not a URL ({error})") from error
    if "://" not in seed:
        raise ValueError(f"seed {seed!r} has no scheme; write https://{seed.lstrip('/')}")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"seed {seed!r}: {parts.scheme} is not crawled; write an http or https URL")
    if not host:
        raise ValueError(f"seed {seed!r} has no host name; write https://host/path")
    if parts.username is not None:
        raise ValueError(f"seed {seed!r} holds a user name; pages behind a login are not crawled")

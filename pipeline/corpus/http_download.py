"""Fetching a large file by HTTP: what has come stays, and the next try asks for the rest."""

import os
import re
import socket
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from pipeline.corpus.public_addresses import SCHEMES, is_public
from pipeline.errors import StageError

TRIES = 6
"""In a row without a byte."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 300.0
CONNECT_SECONDS, READ_SECONDS = 30, 60
BLOCK_BYTES = 256 << 10
REDIRECTS = 10
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DownloadError(StageError):
    """A remote file could not be fetched: the server refused it, or did not answer again and again."""

    remedy = "Correct the address in ingest.archives or [[sources]], or run again later: what has come stays."


class AgainError(Exception):
    """It may go better at the next try."""

    def __init__(self, message: str, pause_seconds: float | None = None) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds


def download(url: str, target: Path, agent: str) -> None:
    """Fetch `url` to `target`. An interrupted call leaves `target`.part, which the next one continues
    if the server says that the file is still the same (RFC 9110, sections 13.1.5 and 14).

    Raises DownloadError if the server refuses, or after TRIES tries in a row that brought nothing.
    """
    part = target.with_name(f"{target.name}.part")
    tries = 0
    while not target.exists():
        before = _size(part)
        try:
            _fetch(url, part, agent)
            os.replace(part, target)
        except (AgainError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            tries = 1 if _size(part) > before else tries + 1
            if tries >= TRIES:
                raise DownloadError(
                    f"{url} could not be fetched: {error}; {_size(part):,} bytes came and stay; run again"
                ) from error
            asked = getattr(error, "pause_seconds", None)
            pause = FIRST_PAUSE_SECONDS * 2 ** (tries - 1) if asked is None else asked
            time.sleep(min(pause, LONGEST_PAUSE_SECONDS))


def _fetch(url: str, part: Path, agent: str) -> None:
    """Fetch what is missing of the file. Raises AgainError if not all of it came."""
    about = part.with_name(f"{part.name}.validator")
    validator = about.read_text() if about.exists() else ""
    have = _size(part) if validator else 0
    headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with _answer(url, headers) as response:
        have, total = _extent(response, url, have, part)
        if not have:
            part.unlink(missing_ok=True)
        about.write_text(_validator(response))
        with part.open("ab" if have else "wb") as file:
            for block in response.raw.stream(BLOCK_BYTES, decode_content=False):
                file.write(block)
    if total is not None and _size(part) != total:
        raise AgainError(f"{_size(part):,} of {total:,} bytes came")
    about.unlink()


def _extent(response: requests.Response, url: str, have: int, part: Path) -> tuple[int, int | None]:
    """How many of the bytes that are there count, and how many there are altogether, if that is known."""
    if response.status_code == 206 and (match := RANGE.match(response.headers.get("Content-Range", ""))):
        if int(match[1]) == have:
            return have, None if match[2] == "*" else int(match[2])
    elif response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    elif response.status_code in TRANSIENT:
        asked = response.headers.get("Retry-After", "")
        raise AgainError(_told(response), float(asked) if asked.isdigit() else None)
    elif response.status_code not in (206, 416):
        raise DownloadError(f"{url} {_told(response)}; correct the address, or leave it out")
    part.unlink(missing_ok=True)
    raise AgainError(f"{_told(response)} when asked for the bytes from {have} on")


def _answer(url: str, headers: dict[str, str]) -> requests.Response:
    """Follows redirects, but from one host to another only to public addresses."""
    here = url
    for _ in range(REDIRECTS):
        response = requests.get(
            here, headers=headers, stream=True, allow_redirects=False, timeout=(CONNECT_SECONDS, READ_SECONDS)
        )
        if not response.is_redirect:
            return response
        response.close()
        target = urljoin(here, response.headers["Location"])
        _check_redirect(url, target)
        here = target
    raise DownloadError(f"{url} redirects more than {REDIRECTS} times; name the address where it ends")


def _check_redirect(url: str, target: str) -> None:
    """Raises DownloadError if a redirect leads where the configuration does not."""
    parts = urlsplit(target)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise DownloadError(f"{url} redirects to {target}, which is not fetched; name an http(s) address")
    if parts.hostname == urlsplit(url).hostname:
        return
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(parts.hostname, None)}
    except OSError as error:
        raise AgainError(f"{parts.hostname} has no address ({error})") from error
    for address in found:
        if not is_public(address):
            raise DownloadError(
                f"{url} redirects to {target}, whose address {address} is not public; "
                "name that address itself if it is meant"
            )


def _validator(response: requests.Response) -> str:
    """What tells whether the file is still the same: a strong entity tag, or else a date; or nothing."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _told(response: requests.Response) -> str:
    return f"answered {response.status_code} {response.reason}".strip()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

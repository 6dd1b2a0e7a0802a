"""Remote files, taken in so that an interruption costs only what was in flight."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tenacity

from pipeline.errors import StageError

log = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
TRIES = 6
"""In a row, without a byte gained, before the download is given up."""
LONGEST_WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and for the next bytes."""
WORTH_RETRYING = frozenset({408, 429, 500, 502, 503, 504})


class UnreachableSourceError(StageError):
    """A remote source does not answer, or has no such file."""

    remedy = "Check the address and the network; running again goes on where the download stopped."


class _PassingError(Exception):
    """What may be over soon."""


def list_remote(url: str) -> list[tuple[str, str]]:
    """(path within the source, address) of every file at an address, of a folder or of a pattern.

    Over http there are no folders: one address is one file. Raises UnreachableSourceError.
    """
    if url.startswith(("http://", "https://")):
        return [(url.partition("?")[0].rstrip("/").rpartition("/")[2] or "index", url)]
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(url)
        found = files.glob(path) if set("*?[") & set(path) else files.find(path)
    except (OSError, ValueError, ImportError) as error:
        raise UnreachableSourceError(f"{url}: {type(error).__name__}: {error}") from error
    if not found:
        raise UnreachableSourceError(f"{url}: there is no file; give a file, a folder or a pattern")
    fixed = path.split("*")[0]
    root = fixed if fixed == path and len(found) > 1 else fixed.rpartition("/")[0]
    return [(str(each)[len(root) :].strip("/"), files.unstrip_protocol(each)) for each in sorted(found)]


def download(url: str, folder: Path) -> Path:
    """The file at `url`, in `folder`; goes on where an earlier call stopped.

    Raises UnreachableSourceError.
    """
    target = folder / hashlib.sha256(url.encode()).hexdigest()[:24]
    if target.exists():
        return target
    part = target.with_suffix(".part")
    size = 0
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_PassingError),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS),
        stop=tenacity.stop_after_attempt(TRIES),
        reraise=True,
    )
    while True:
        try:
            tries(_go_on, url, part)
            break
        except _PassingError as error:
            gained = part.stat().st_size if part.exists() else 0
            if gained <= size:
                raise UnreachableSourceError(f"{url}: given up after {TRIES} tries: {error}") from error
            size = gained
    part.replace(target)
    return target


def _go_on(url: str, part: Path) -> None:
    blocks = _http_blocks if url.startswith(("http://", "https://")) else _object_blocks
    for block, at in blocks(url, part):
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(at)
            file.seek(at)
            file.write(block)
            file.flush()
            os.fsync(file.fileno())


def _http_blocks(url: str, part: Path) -> Iterator[tuple[bytes, int]]:
    """Blocks with their place, from where the part ends, if the server still has the same file."""
    import requests

    at, note = _begun(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "moinho"}
    if at and note.get("etag"):
        headers |= {"Range": f"bytes={at}-", "If-Range": note["etag"]}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code == 416:  # there is no more of it
                return
            if answer.status_code in WORTH_RETRYING:
                raise _PassingError(f"status {answer.status_code}")
            if answer.status_code not in (200, 206):
                raise UnreachableSourceError(
                    f"{url} answered with status {answer.status_code}, not with a file"
                )
            at = at if answer.status_code == 206 else 0
            _begin(part, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
            length = answer.headers.get("Content-Length")
            end = at + int(length) if length else None
            yield b"", at
            for block in answer.iter_content(BLOCK_BYTES):
                yield block, at
                at += len(block)
            if end is not None and at < end:
                raise _PassingError(f"ended after {at:,} of {end:,} bytes")
    except requests.exceptions.InvalidURL as error:
        raise UnreachableSourceError(f"{url} is no address: {error}") from error
    except requests.RequestException as error:
        raise _PassingError(f"{type(error).__name__}: {error}") from error


def _object_blocks(url: str, part: Path) -> Iterator[tuple[bytes, int]]:
    """Blocks of what fsspec reads: object stores, SFTP, archives and others."""
    import fsspec

    at, note = _begun(part)
    try:
        files, path = fsspec.core.url_to_fs(url)
        state = files.info(path)
        etag, size = str(files.ukey(path)), int(state["size"])
        at = at if note.get("etag") == etag else 0
        _begin(part, etag)
        yield b"", at
        while at < size:
            block = files.cat_file(path, start=at, end=min(size, at + BLOCK_BYTES))
            yield block, at
            at += len(block)
    except FileNotFoundError as error:
        raise UnreachableSourceError(f"{url}: there is no such file") from error
    except (OSError, TimeoutError) as error:
        raise _PassingError(f"{type(error).__name__}: {error}") from error


def _note(part: Path) -> Path:
    return part.with_suffix(".json")


def _begun(part: Path) -> tuple[int, dict[str, Any]]:
    """How much is there, and of which state of the remote file."""
    with contextlib.suppress(OSError, ValueError):
        return part.stat().st_size, json.loads(_note(part).read_text())
    return 0, {}


def _begin(part: Path, etag: str | None) -> None:
    _note(part).write_text(json.dumps({"etag": etag}))

"""Remote files, taken in so that an interruption costs only what was in flight."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tenacity

from pipeline.corpus import http_download
from pipeline.corpus.opt_outs import AGENT
from pipeline.errors import StageError

BLOCK_BYTES = 8 << 20
TRIES = 6
"""In a row, without a byte gained, before the download is given up."""
LONGEST_WAIT_SECONDS = 60.0
WEB = ("http://", "https://")


class UnreachableSourceError(StageError):
    """A remote source does not answer, or has no such file."""

    remedy = "Check the address and the network; running again goes on where the download stopped."


class _PassingError(Exception):
    """What may be over soon."""


def list_remote(url: str) -> list[tuple[str, str]]:
    """(path within the source, address) of every file at an address, of a folder or of a pattern.

    Over http there are no folders: one address is one file. Raises UnreachableSourceError.
    """
    if url.startswith(WEB):
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

    Raises UnreachableSourceError, or of what is asked for over HTTP DownloadError.
    """
    target = folder / hashlib.sha256(url.encode()).hexdigest()[:24]
    if url.startswith(WEB):
        http_download.download(url, target, AGENT)
    elif not target.exists():
        part = target.with_suffix(".part")
        _copy_object(url, part)
        part.replace(target)
    return target


def _copy_object(url: str, part: Path) -> None:
    """Of an object store, SFTP, an archive and others that fsspec reads."""
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
            return
        except _PassingError as error:
            gained = part.stat().st_size if part.exists() else 0
            if gained <= size:
                raise UnreachableSourceError(f"{url}: given up after {TRIES} tries: {error}") from error
            size = gained


def _go_on(url: str, part: Path) -> None:
    for block, at in _blocks(url, part):
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(at)
            file.seek(at)
            file.write(block)
            file.flush()
            os.fsync(file.fileno())


def _blocks(url: str, part: Path) -> Iterator[tuple[bytes, int]]:
    """Blocks with their place, from where the part ends if the object is still the same."""
    import fsspec

    at, note = _begun(part)
    try:
        files, path = fsspec.core.url_to_fs(url)
        state = files.info(path)
        tag, size = str(files.ukey(path)), int(state["size"])
        at = at if note.get("etag") == tag else 0
        _note(part).write_text(json.dumps({"etag": tag}))
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

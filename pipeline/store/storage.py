"""Bytes at a root: a folder or an object store, through fsspec.

Two promises are made here and nowhere else: `create` never replaces what exists (the first
writer wins), and nothing is ever published by renaming, since on an object store a rename
is a copy and a delete.
"""

import contextlib
import functools
import hashlib
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import fsspec
import tenacity
from fsspec.implementations.local import LocalFileSystem

from pipeline.credentials import require_no_secret
from pipeline.errors import InputError

log = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])
Given = TypeVar("Given")
Found = TypeVar("Found")

HASH_BLOCK_BYTES = 1 << 20
REQUESTS = 16
"""That are made of an object store at a time, where there are many to make."""
CONFLICT_SECONDS = 30.0
AWAY_SECONDS = 600.0
"""So long an object store that has answered before may be away: restarted, or cut off."""
AWAY = {
    *("ConnectionError", "TimeoutError", "FSTimeoutError"),
    *("HTTPClientError", "ClientConnectionError", "ClientPayloadError"),
}
"""Kinds of errors by which clients of object stores, each in its own library, say that nobody answers."""
AWAY_REFUSALS = {
    *("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"),
    *("500", "502", "503", "504"),
}
"""S3's words for the same."""


class UnusableStoreError(InputError):
    """The store's address is not understood, or the object store behind it cannot be reached or written."""

    remedy = (
        "Check the address, the bucket and the credentials: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY."
    )


def _patiently(method: Method) -> Method:
    """Ask an object store again that is away for a while. One that never answered is told at once: its
    address is wrong, more likely than not."""

    @functools.wraps(method)
    def asked(self: "Storage", *args: Any, **kwargs: Any) -> Any:
        if self.is_local:
            return method(self, *args, **kwargs)
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: self.has_answered and _is_away(error)),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
            stop=tenacity.stop_after_delay(AWAY_SECONDS),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        ):
            with attempt:
                found = method(self, *args, **kwargs)
        self.has_answered = True
        return found

    return cast(Method, asked)


class Storage:
    """A root such as `store`, `/data/store` or `s3://bucket/prefix`. Paths given to it are relative."""

    def __init__(self, root: str, has_answered: bool = False) -> None:
        self.root = root
        self.fs, self.base = _open(root)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.has_answered = has_answered
        """Whether the object store was there once, here or where this was sent from."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Storage, (self.address, self.has_answered))

    @property
    def address(self) -> str:
        """The root as it is understood from anywhere: an absolute path, or an object store's address."""
        return self.base if self.is_local else self.root

    def full(self, path: str) -> str:
        """The path as the file system spells it."""
        return f"{self.base}/{path}" if path else self.base

    def create(self, path: str, data: bytes) -> bool:
        """Publish `data` at `path` unless something is there already. True if we were the first.

        On a folder the bytes are complete before the name exists (a hard link to a finished
        temporary file); on an object store it is a conditional put.
        """
        if self.is_local:
            return _create_by_link(Path(self.full(path)), data)
        if self.exists(path):
            return False  # a server that would overwrite has one chance less
        return self._create_there(self.full(path), data, [])

    @_patiently
    def _create_there(self, path: str, data: bytes, tries: list[bool]) -> bool:
        """`tries` remembers that it was tried before: what then is there may be our own, of which the answer
        was lost."""
        tries.append(True)
        try:
            self._put_if_absent(path, data)
        except FileExistsError:
            return len(tries) > 1 and bytes(self.fs.cat_file(path)) == data
        return True

    @tenacity.retry(
        retry=tenacity.retry_if_exception(lambda error: _refusal(error) == "ConditionalRequestConflict"),
        wait=tenacity.wait_exponential_jitter(multiplier=0.05, max=2),
        stop=tenacity.stop_after_delay(CONFLICT_SECONDS),
        reraise=True,
    )
    def _put_if_absent(self, path: str, data: bytes) -> None:
        """Raises FileExistsError. Two writers at the very same moment may both be asked to try again."""
        try:
            self.fs.pipe_file(path, data, mode="create")
        except OSError as error:
            if _refusal(error) == "PreconditionFailed":
                raise FileExistsError(path) from error
            raise

    def check(self) -> str | None:
        """Try what runs on an object store stand on: writing, reading, refusing to overwrite.

        Comes back with a warning if the server overwrites where it was asked not to; nothing is
        tried on a folder. Raises UnusableStoreError.
        """
        if self.is_local:
            return None
        path = self.full(f"probe-{secrets.token_hex(6)}")
        try:
            self.fs.pipe_file(path, b"first")
            try:
                self._put_if_absent(path, b"second")
            except FileExistsError:
                return None
            finally:
                self.fs.rm_file(path)
        except Exception as error:
            raise UnusableStoreError(
                f"the store {self.root} cannot be written: {type(error).__name__}: {error}; "
                "look whether the bucket exists, the address is right (for another S3 server than Amazon's: "
                "AWS_ENDPOINT_URL) and the credentials are (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
            ) from error
        return (
            f"the server of {self.root} overwrites where it is asked not to (conditional writes, the header "
            "If-None-Match, are not honoured): let one run at a time use this store. On one machine a lock "
            "sees to that; runs on several machines could each make the same stage, and the last one counts"
        )

    @_patiently
    def replace(self, path: str, data: bytes) -> None:
        """Write a small mutable file, such as a name that points to a key."""
        if self.is_local:
            target = Path(self.full(path))
            temporary = _write_temporary(target, data)
            os.replace(temporary, target)
        else:
            self.fs.pipe_file(self.full(path), data)

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file that one process alone writes: all of `data`, or nothing."""
        target = self.full(path)
        if self.is_local:
            _append_whole(Path(target), data)
            return
        self._append_there(target, data, [])

    @_patiently
    def _append_there(self, target: str, data: bytes, begun: list[int]) -> None:
        """`begun` remembers where it began: what was written though the answer was lost is not written
        twice."""
        if begun and self.fs.exists(target) and self.fs.size(target) == begun[0] + len(data):
            return
        with self.fs.open(target, "ab") as file:
            begun[:] = [file.tell()]
            file.write(data)

    @_patiently
    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` on, up to `end`. Raises FileNotFoundError."""
        data = self.fs.cat_file(self.full(path), start=start, end=end)
        return data if isinstance(data, bytes) else bytes(data)

    @_patiently
    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(self.full(path)))

    @_patiently
    def list(self, path: str = "") -> list[str]:
        """Names directly below `path`, sorted; empty if there is no such folder."""
        try:
            if self.is_local:
                return sorted(os.listdir(self.full(path)))
            found = self.fs.ls(self.full(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        inside = [name.rstrip("/") for name in found]
        # Asked for a file, file systems list the file itself.
        return sorted(name.rsplit("/", 1)[-1] for name in inside if not self.full(path).endswith(name))

    @_patiently
    def size(self, path: str) -> int:
        return int(self.fs.size(self.full(path)))

    @_patiently
    def sizes(self, path: str) -> dict[str, int]:
        """Every file at or below `path` with its size in bytes; what links point to does not count."""
        if self.is_local:
            return dict(_sizes_here(self.full(path)))
        found = self.fs.find(self.full(path), detail=True)
        return {name: int(info["size"]) for name, info in found.items() if info["type"] == "file"}

    @_patiently
    def remove(self, path: str) -> None:
        """Remove a file or everything below a folder; nothing happens if it is not there."""
        if self.fs.exists(self.full(path)):
            self.fs.rm(self.full(path), recursive=True)

    def local(self, path: str) -> Path | None:
        """Where `path` lies on this machine's disk, or None for an object store."""
        return Path(self.full(path)) if self.is_local else None

    @_patiently
    def upload(self, source: Path, path: str, sha256: str | None = None) -> None:
        """Copy a finished local file to `path`; nothing to do where it was written in place.

        With its hash given it is also kept in the cache, where `download` will look for it.
        """
        if self.local(path) == source:
            return
        self.fs.put_file(str(source), self.full(path))
        if sha256 is not None:
            cached = _cached(path, sha256)
            cached.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                os.link(source, cached)

    @_patiently
    def download(self, path: str, sha256: str) -> Path:
        """A local file with the content of `path`: the file itself, or a copy cached by its hash."""
        here = self.local(path)
        if here is not None:
            return here
        cached = _cached(path, sha256)
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
                part = Path(folder) / "part"
                self.fs.get_file(self.full(path), str(part))
                os.replace(part, cached)
        return cached


def side_by_side(storage: Storage, ask: Callable[[Given], Found], about: Sequence[Given]) -> Iterator[Found]:
    """What `ask` finds about each, in their order. An object store answers slowly and to many at a time; a
    folder answers at once."""
    if storage.is_local:
        yield from map(ask, about)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        for first in range(0, len(about), many := 4 * REQUESTS):
            yield from pool.map(ask, about[first : first + many])


def is_object_store(root: str) -> bool:
    """Whether a root is no folder, told by its spelling alone."""
    return "://" in root and not root.startswith(("file://", "local://"))


def cache_folder() -> Path:
    """Local copies and scratch of stores that are not on this machine ($MOINHO_CACHE to move it)."""
    return Path(os.environ.get("MOINHO_CACHE", Path.home() / ".cache" / "moinho"))


def _cached(path: str, sha256: str) -> Path:
    return cache_folder() / "files" / sha256[:2] / sha256 / path.rsplit("/", 1)[-1]


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _open(root: str) -> tuple[Any, str]:
    """Raises UnusableStoreError and SecretInSettingError. Listings are not cached: others write meanwhile."""
    require_no_secret(
        root,
        "the store",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its place, or write them to ~/.aws/credentials",
    )
    protocol = fsspec.core.split_protocol(root)[0] or "file"
    options = {} if protocol in ("file", "local") else {"use_listings_cache": False}
    try:
        fs, base = fsspec.core.url_to_fs(root, **options)
    except ImportError as error:
        raise UnusableStoreError(
            f"the store {root} needs another package ({error}); for S3: pip install 's3fs>=2025.9'"
        ) from error
    except ValueError as error:
        raise UnusableStoreError(
            f"the store {root!r} is neither a folder nor the address of an object store ({error}); "
            "write a path, or an address such as s3://bucket/prefix"
        ) from error
    return fs, str(base).rstrip("/")


def _refusal(error: BaseException) -> str | None:
    """S3's word for why it refused, such as PreconditionFailed; s3fs hands it on as the error's cause."""
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return None if code is None else str(code)


def _is_away(error: BaseException) -> bool:
    """Whether it says that the object store does not answer."""
    return _refusal(error) in AWAY_REFUSALS or any(kind.__name__ in AWAY for kind in type(error).__mro__)


def _write_temporary(target: Path, data: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def _sizes_here(path: str) -> Iterator[tuple[str, int]]:
    """In a quarter of the time that fsspec takes, which asks each file for all that can be known of it."""
    if os.path.isfile(path):
        yield path, os.path.getsize(path)
        return
    try:
        inside = list(os.scandir(path))
    except OSError:
        return
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes_here(entry.path)
        elif entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                yield entry.path, entry.stat().st_size


def _append_whole(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab", buffering=0) as file:
        before = file.tell()
        written = 0
        try:
            while written < len(data):
                written += file.write(data[written:])
        except BaseException:
            # Half a line would spoil the whole line that comes once there is room again.
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


def _create_by_link(target: Path, data: bytes) -> bool:
    if target.exists():
        return False
    temporary = _write_temporary(target, data)
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True

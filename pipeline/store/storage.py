"""Bytes at a root: a folder or an object store, through fsspec.

Two promises are made here and nowhere else: `create` never replaces what exists (the first
writer wins), and nothing is ever published by renaming, since on an object store a rename
is a copy and a delete.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

HASH_BLOCK_BYTES = 1 << 20


class Storage:
    """A root such as `store`, `/data/store` or `s3://bucket/prefix`. Paths given to it are relative."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.fs, self.base = _open(root)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Storage, (self.base if self.is_local else self.root,))

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
        try:
            self.fs.pipe_file(self.full(path), data, mode="create")
        except FileExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a small mutable file, such as a name that points to a key."""
        if self.is_local:
            target = Path(self.full(path))
            temporary = _write_temporary(target, data)
            os.replace(temporary, target)
        else:
            self.fs.pipe_file(self.full(path), data)

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file that one process alone writes."""
        target = self.full(path)
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        with self.fs.open(target, "ab") as file:
            file.write(data)

    def read(self, path: str, start: int | None = None) -> bytes:
        """The bytes from `start` on. Raises FileNotFoundError."""
        data = self.fs.cat_file(self.full(path), start=start)
        return data if isinstance(data, bytes) else bytes(data)

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(self.full(path)))

    def list(self, path: str = "") -> list[str]:
        """Names directly below `path`, sorted; empty if there is no such folder."""
        try:
            found = self.fs.ls(self.full(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def size(self, path: str) -> int:
        return int(self.fs.size(self.full(path)))

    def remove(self, path: str) -> None:
        """Remove a file or everything below a folder; nothing happens if it is not there."""
        if self.fs.exists(self.full(path)):
            self.fs.rm(self.full(path), recursive=True)

    def local(self, path: str) -> Path | None:
        """Where `path` lies on this machine's disk, or None for an object store."""
        return Path(self.full(path)) if self.is_local else None

    def upload(self, source: Path, path: str) -> None:
        """Copy a finished local file to `path`; nothing to do where it was written in place."""
        if self.local(path) != source:
            self.fs.put_file(str(source), self.full(path))

    def download(self, path: str, sha256: str) -> Path:
        """A local file with the content of `path`: the file itself, or a copy cached by its hash."""
        here = self.local(path)
        if here is not None:
            return here
        cached = cache_folder() / "files" / sha256[:2] / sha256 / path.rsplit("/", 1)[-1]
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
                part = Path(folder) / "part"
                self.fs.get_file(self.full(path), str(part))
                os.replace(part, cached)
        return cached


def is_object_store(root: str) -> bool:
    """Whether a root is no folder, told by its spelling alone."""
    return "://" in root and not root.startswith(("file://", "local://"))


def cache_folder() -> Path:
    """Local copies and scratch of stores that are not on this machine ($MOINHO_CACHE to move it)."""
    return Path(os.environ.get("MOINHO_CACHE", Path.home() / ".cache" / "moinho"))


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _open(root: str) -> tuple[Any, str]:
    fs, base = fsspec.core.url_to_fs(root)
    return fs, str(base).rstrip("/")


def _write_temporary(target: Path, data: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


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

"""The files of a source on this machine, each with its SHA-256, which makes the source's identity."""

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.store.storage import cache_folder, sha256_of

if TYPE_CHECKING:
    from pipeline.corpus.sources import SourceConfig

WILDCARDS = frozenset("*?[")
SETTLED_SECONDS = 2.0
"""A file changed more recently might change again within the clock's step: its hash is not kept."""


class NoSuchSourceError(InputError):
    """The path of a source leads to no file, or to one that may not be read."""

    remedy = "Correct the path or the pattern in [[sources]]; it counts from where moinho is run."


@dataclass(frozen=True)
class LocalFile:
    path: str
    """Within the source, with / between folders."""
    place: str
    """Absolute, on this machine."""
    bytes: int
    sha256: str


def list_local(source: "SourceConfig") -> list[LocalFile]:
    """All files of a local source, by path; hidden ones are left out. Raises NoSuchSourceError."""
    given = source.path or source.dataset or ""
    root, places = _find(Path(given).expanduser())
    if not places:
        raise NoSuchSourceError(f"source {source.name!r}: {_nothing_at(given)}")
    try:
        return [_listed(root, place) for place in places]
    except OSError as error:
        raise NoSuchSourceError(
            f"source {source.name!r}: {error.filename} cannot be read: {error.strerror}"
        ) from error


def _nothing_at(given: str) -> str:
    """Why no file was found there, and what was looked for."""
    folder = Path(given).expanduser()
    if folder.is_dir():
        hidden = any(folder.iterdir())
        found = "has no file but hidden ones, which are left out" if hidden else "is empty"
        return (
            f"the folder {given!r} {found}; looked for were files of any name in it and in its folders "
            f"(read are text, Markdown, HTML, PDF, EPUB, JSONL, Parquet, WARC and WET)"
        )
    return (
        f"there is no file at {given!r} (looked from {Path.cwd()}); give a file, a folder that holds files, "
        "or a pattern such as papers/**/*.pdf"
    )


def _find(given: Path) -> tuple[Path, list[Path]]:
    """The folder that paths count from, and the files below it."""
    if given.is_file():
        return given.parent, [given]
    if given.is_dir():
        return given, sorted(_walk(given))
    fixed = [part for part in given.parts if not WILDCARDS & set(part)]
    root = Path(*given.parts[: len(fixed)]) if fixed else Path()
    return root, sorted(
        Path(found) for found in glob.iglob(str(given), recursive=True) if Path(found).is_file()
    )


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _listed(root: Path, place: Path) -> LocalFile:
    path = os.fsencode(place.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
    return LocalFile(path, str(place.absolute()), place.stat().st_size, _hash_of(place))


def _hash_of(place: Path) -> str:
    """The file's SHA-256, from a note on this machine if the file is as it was when the note was made."""
    state = place.stat()
    name = hashlib.sha256(os.fsencode(place.resolve())).hexdigest()
    note = cache_folder() / "hashes" / name[:2] / f"{name}.json"
    as_it_is = {"bytes": state.st_size, "modified_ns": state.st_mtime_ns, "inode": state.st_ino}
    try:
        kept = json.loads(note.read_text())
        if as_it_is.items() <= kept.items():
            return str(kept["sha256"])
    except (OSError, ValueError):
        pass
    sha256 = sha256_of(place)
    if time.time() - state.st_mtime > SETTLED_SECONDS:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({**as_it_is, "sha256": sha256}))
        draft.replace(note)
    return sha256

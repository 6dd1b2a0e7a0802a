"""Rows that users bring, in JSON lines, Parquet, or what `datasets` loads: named by a section's `source`."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.store import sha256_of

FILE_ENDINGS = (".jsonl", ".parquet")
Row = Mapping[str, Any]


class SourceError(InputError):
    """The source of conversations or preferences is not there, or cannot be read at all."""

    remedy = "Correct the section's source, or the file that it names."


class RevisionMissingError(InputError):
    """A data set on a hub was named without the commit that says which one is meant."""

    remedy = "Set the section's revision to the commit of the data set that is meant."


class RowError(InputError):
    """A row is not JSON, or not an object."""

    remedy = "Write one JSON object a line, like the example in the message."


@dataclass(frozen=True)
class UserSource:
    """A file, or a data set for `datasets`, as a section of the configuration names it."""

    section: str
    source: str
    split: str
    """Of a data set."""
    revision: str | None
    """Of a data set on a hub: the commit."""
    example: str
    """A row as it should be, for messages."""

    def path(self) -> Path | None:
        """The source if it is a file or folder of this machine."""
        path = Path(self.source).expanduser()
        return path if path.suffix in FILE_ENDINGS or path.exists() else None

    def identity(self, instead: str = "") -> dict[str, str]:
        """What of it enters a key as content from outside: of a file its SHA-256.

        `instead`: what else the section's source may be, for the message. Raises SourceError if a file is
        not there, RevisionMissingError.
        """
        path, field = self.path(), f"{self.section}.source"
        if path is None:
            if self.revision is None:
                raise RevisionMissingError(
                    f"{field} is the data set {self.source!r} without a revision; set "
                    f"{self.section}.revision to the commit that is meant (or name a .jsonl or .parquet file)"
                )
            return {}
        if not path.exists():
            raise SourceError(
                f"{field} is {self.source!r}, and there is no such file ({path.resolve()}); "
                f"correct the path{instead}"
            )
        return {"source": sha256_of(path) if path.is_file() else _sha256_of_folder(path)}

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every row with its number, from 1. Raises SourceError, RowError."""
        path = Path(self.source).expanduser()
        read = {".jsonl": self._json_lines, ".parquet": self._parquet}.get(path.suffix)
        yield from read(path) if read and path.is_file() else self._dataset()

    def _json_lines(self, path: Path) -> Iterator[tuple[int, Row]]:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    found = short(line.decode(errors="replace"))
                    raise RowError(
                        f"{path}, row {number}: not JSON ({error}), found {found}; write one object a line, "
                        f"like {self.example}"
                    ) from error
                if not isinstance(row, dict):
                    raise RowError(
                        f"{path}, row {number}: {type(row).__name__} instead of an object; "
                        f"write rows like {self.example}"
                    )
                yield number, row

    def _parquet(self, path: Path) -> Iterator[tuple[int, Row]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = 0
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=256):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
        except pa.ArrowException as error:
            raise SourceError(
                f"{path}: not a Parquet file that can be read ({error}); write it again, or give JSON lines"
            ) from error

    def _dataset(self) -> Iterator[tuple[int, Row]]:
        import datasets

        datasets.disable_progress_bars()
        try:
            rows = datasets.load_dataset(self.source, split=self.split, revision=self.revision)
        except Exception as error:  # load_dataset raises whatever its many readers raise
            raise SourceError(
                f"{self.section}.source {self.source!r} (split {self.split!r}, revision {self.revision!r}) "
                f"cannot be loaded by `datasets`: {type(error).__name__}: {error}; "
                "check name, split and revision, or name a .jsonl or .parquet file"
            ) from error
        yield from enumerate(rows, 1)


def short(value: Any, characters: int = 80) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= characters else f"{text[:characters]}…"


def _sha256_of_folder(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()

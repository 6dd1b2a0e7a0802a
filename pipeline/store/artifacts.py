"""Handles to what stages make. A handle exists before its artifact does: its key needs no outputs."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.errors import InputError
from pipeline.store.records import File, Record
from pipeline.store.storage import Storage, cache_folder, side_by_side

RECORD = "artifact.json"
NO_STAGES = ("names", "runs", "locks", "mlflow-artifacts", "forgotten", "votes", "rounds")
"""Folders at the store's root that hold no artifacts."""


class NotMadeError(InputError):
    """Something is to be read that no run has made yet."""

    remedy = "Run its flow to make it."


class FilesMissingError(InputError):
    """An artifact has none of the files that were looked for: another version made it."""

    remedy = "Discard it with `moinho rm` and make it again."


class UnreadableRecordError(InputError):
    """A record is not what this version writes: it was damaged, or another version made it."""

    remedy = "Discard the artifact with `moinho rm`, then run again."


@dataclass(frozen=True)
class Expected:
    """What a plan knows of an artifact that is not made yet."""

    counts: Mapping[str, float]
    config: Mapping[str, Any]
    """The stage's resolved configuration."""


class Artifact:
    """What a stage made, or will make, at `<store>/<stage>/<key>/`.

    Subclasses name their stage and say how their files are read.
    """

    stage: ClassVar[str]
    """The stage that makes it: the folder in the store."""
    role: ClassVar[str]
    """What it is to the user, as in the name `quickstart/base`."""
    revision: ClassVar[int] = 1
    """Bumped by hand when the stage's code or defaults change what it makes."""

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage, self.key = storage, key
        self.expected = Expected({}, {})
        self._record: Record | None = None
        self.pending: Future[Record] | None = None
        """Of one that is being made beside others: its record, once it is there."""

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which cannot wait for what is made in this one."""
        return {**self.__dict__, "pending": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base})"

    @property
    def base(self) -> str:
        """The artifact's folder, relative to the store."""
        return f"{self.stage}/{self.key}"

    @property
    def record(self) -> Record:
        """Waited for while it is being made. Raises InputError if nobody has made it or does so, and what its
        stage raised."""
        if self.pending is not None:
            return self.pending.result()
        if self._record is None:
            self._record = read_record(self.storage, self.base)
        if self._record is None:
            raise NotMadeError(
                f"{self.base} is not in the store {self.storage.root}: run its flow to make it"
            )
        return self._record

    def exists(self) -> bool:
        """Whether it is in the store; one that is being made is waited for."""
        if self.pending is not None:
            self.pending.result()
        return self._record is not None or self.storage.exists(f"{self.base}/{RECORD}")

    def counts(self) -> Mapping[str, float]:
        """The record's counts, or in a plan what they are expected to be."""
        return self.record.counts if self.exists() else self.expected.counts

    def config(self) -> Mapping[str, Any]:
        """The resolved configuration that it is made from, in a plan before it is made too."""
        known = self.pending is None and self.exists()
        return self.record.config if known else self.expected.config

    def path(self, name: str) -> Path:
        """A local file with the content of the logical `name`; fetched once from an object store."""
        file = self.record.files[name]
        return self.storage.download(f"{self.base}/{file.path}", file.sha256)

    def names(self, prefix: str = "") -> list[str]:
        """Logical names that begin with `prefix`, sorted."""
        return sorted(name for name in self.record.files if name.startswith(prefix))

    def paths(self, prefix: str) -> list[Path]:
        """Local files for all logical names that begin with `prefix`, in the order of the names."""
        return [self.path(name) for name in self.names(prefix)]

    def folder(self, name: str) -> Path:
        """A local folder that holds the files below the logical folder `name`, under their own names."""
        inside = {logical[len(name) + 1 :]: file for logical, file in self._below(name)}
        if not inside:
            raise FilesMissingError(
                f"{self.base} has no files below {name!r}, only {', '.join(self.names())}"
            )
        homes = {file.path.removesuffix(f"/{relative}") for relative, file in inside.items()}
        if self.storage.is_local and len(homes) == 1:
            return Path(self.storage.full(f"{self.base}/{homes.pop()}"))
        return self._gathered(name, inside)

    def _below(self, name: str) -> list[tuple[str, File]]:
        return [
            (logical, file) for logical, file in self.record.files.items() if logical.startswith(f"{name}/")
        ]

    def _gathered(self, name: str, files: dict[str, File]) -> Path:
        """A folder of copies for files that do not already lie together on this machine."""
        target = cache_folder() / "folders" / self.record.digest / name
        for relative, file in files.items():
            copy = target / relative
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                part = copy.with_name(f"{copy.name}.{os.getpid()}")  # other processes read the folder, too
                shutil.copyfile(self.storage.download(f"{self.base}/{file.path}", file.sha256), part)
                os.replace(part, copy)
        return target


def read_record(storage: Storage, base: str) -> Record | None:
    """The record at `<base>/artifact.json`, or None. Raises InputError if it cannot be understood."""
    try:
        data = storage.read(f"{base}/{RECORD}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return Record.model_validate_json(data)
    except ValueError as error:
        raise UnreadableRecordError(
            f"{storage.root}/{base}/{RECORD} is not a record that this version reads ({error}); "
            f"discard it with `moinho rm {base}` and run again"
        ) from error


def read_records(storage: Storage, bases: Sequence[str]) -> Iterator[Record]:
    """The records that there are at `bases`, in their order. Raises InputError."""
    for record in side_by_side(storage, lambda base: read_record(storage, base), bases):
        if record is not None:
            yield record


def places(storage: Storage, stage: str | None = None) -> list[str]:
    """`stage/key` of all that may be an artifact, of one stage or of any: sorted, by stage."""
    stages = [each for each in storage.list() if each not in NO_STAGES] if stage is None else [stage]
    keys = side_by_side(storage, storage.list, stages)
    return [f"{each}/{key}" for each, inside in zip(stages, keys, strict=True) for key in inside]

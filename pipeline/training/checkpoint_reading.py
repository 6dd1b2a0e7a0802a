"""Reading checkpoints: checked before one is believed, and loaded into whatever layout there is now.

The tensors are in the form of torch.distributed.checkpoint: each by its name, in as many pieces as
there were ranks. Its index of the pieces is a pickle, which is read by an unpickler that knows the
index's own classes and nothing else.
"""

import hashlib
import json
import os
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    Metadata,
    StorageMeta,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load

from pipeline.store import Attempt, File, Storage, sha256_of
from pipeline.store.records import Frozen
from pipeline.training.random_state import random_file, restore_random

FORMAT = 2
MANIFEST = "manifest.json"
INDEX = ".metadata"
"""Where torch.distributed.checkpoint keeps which piece of which tensor lies where."""

State = dict[str, dict[str, torch.Tensor]]
"""What a checkpoint holds of tensors: {"model": by weight's name, "optimizer": by weight's name and field}.
Loading fills these very tensors."""

INDEX_CLASSES = {
    ("torch.distributed.checkpoint.metadata", "Metadata"),
    ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
    ("torch.distributed.checkpoint.metadata", "StorageMeta"),
    ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "TensorProperties"),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch", "float64"),
    ("torch", "float32"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
    ("torch", "int64"),
    ("torch", "int32"),
    ("torch", "int8"),
    ("torch", "uint8"),
    ("torch", "bool"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
}
"""All that the index of a checkpoint of tensors consists of."""


class Manifest(Frozen):
    """What a complete checkpoint consists of."""

    format: int = FORMAT
    step: int
    """Steps done; the next one has this number."""
    tokens: int
    """Labels trained on so far."""
    workers: int
    resolved: dict[str, Any]
    """What was chosen automatically: device, threads, micro-batch, compile."""
    loop: dict[str, Any] = Field(default_factory=dict)
    """What else the loop has to remember, as JSON."""
    held_out_loss: float | None = None
    """Of the last evaluation before it, in nats."""
    files: dict[str, File] = Field(default_factory=dict)
    """Name in the folder → file, its path relative to the artifact."""


class TornCheckpointError(Exception):
    """A checkpoint that cannot be believed. Never seen by users: the one before is taken."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint found in the store, and verified."""

    attempt: Attempt
    folder: str
    manifest: Manifest

    def load(self, state: State) -> None:
        """Fill the tensors of `state`, sharded ones with this rank's part. No rank waits for another.

        Raises KeyError or ValueError (torch's own) if the checkpoint has no tensor of a name and size.
        """
        quiet_alone()
        load(dict(state), storage_reader=_Reader(self), no_dist=True)

    def weights(self) -> dict[str, torch.Tensor]:
        """Every weight whole, on the CPU."""
        found = {
            name.removeprefix("model."): torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in _Reader(self).read_metadata().state_dict_metadata.items()
            if name.startswith("model.") and isinstance(entry, TensorStorageMetadata)
        }
        self.load({"model": found})
        return found

    def restore_random(self, rank: int) -> bool:
        """Set this process's random generators to where they were; False if that rank did not exist."""
        name = random_file(rank)
        if name not in self.manifest.files:
            return False
        restore_random(self.path(name))
        return True

    def path(self, name: str) -> Path:
        """A local file with the content of the checkpoint's file `name`; fetched from an object store."""
        return _held(self.attempt, name, self.manifest.files[name])


def verified(attempt: Attempt, step: int, folder: str) -> Checkpoint:
    """The checkpoint in `folder` of the store. Raises TornCheckpointError if any byte of it is not right."""
    manifest = opened(attempt.storage, f"{folder}/{MANIFEST}")
    if manifest.step != step:
        raise TornCheckpointError(f"its manifest is of step {manifest.step}")
    for name, file in manifest.files.items():
        path = _held(attempt, name, file)
        if attempt.storage.is_local and (found := _hash(name, path)) != file.sha256:
            raise TornCheckpointError(f"{name} has SHA-256 {found[:12]}…, not {file.sha256[:12]}…")
    checkpoint = Checkpoint(attempt, folder, manifest)
    _Reader(checkpoint).read_metadata()
    return checkpoint


def _held(attempt: Attempt, name: str, file: File) -> Path:
    """The file on this machine; one that was fetched has the right bytes. Raises TornCheckpointError."""
    try:
        path = attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)
    except OSError as error:
        raise TornCheckpointError(f"{name} cannot be read ({error})") from error
    if not attempt.storage.is_local and (found := _hash(name, path)) != file.sha256:
        path.unlink()  # a copy in the cache, which would be believed the next time
        raise TornCheckpointError(f"{name} has SHA-256 {found[:12]}…, not {file.sha256[:12]}…")
    return path


def _hash(name: str, path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise TornCheckpointError(f"{name} cannot be read ({error})") from error


def quiet_alone() -> None:
    """torch warns each time that a process saves or loads by itself, which is meant here."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")


def sealed(manifest: Manifest) -> bytes:
    """The manifest as JSON, with the SHA-256 of itself."""
    body = manifest.model_dump(mode="json")
    return json.dumps({"sha256": _seal(body), "manifest": body}, indent=1).encode()


def opened(storage: Storage, path: str) -> Manifest:
    """The manifest at `path`. Raises TornCheckpointError."""
    try:
        data = json.loads(storage.read(path))
        if data["sha256"] != _seal(data["manifest"]):
            raise TornCheckpointError("its manifest was changed")
        if data["manifest"]["format"] != FORMAT:
            raise TornCheckpointError(f"it is of format {data['manifest']['format']}, not {FORMAT}")
        return Manifest.model_validate(data["manifest"])
    except FileNotFoundError:
        raise TornCheckpointError("it was not finished (no manifest)") from None
    except (ValueError, KeyError, TypeError, OSError, ValidationError) as error:
        raise TornCheckpointError(f"its manifest cannot be read ({type(error).__name__})") from error


def _seal(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class _IndexUnpickler(pickle.Unpickler):
    """Makes the classes of an index of tensors, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):  # how Python 3.11.2 writes a member of an enum
            return _memory_format
        if (module, name) not in INDEX_CLASSES:
            raise TornCheckpointError(f"its index names {module}.{name}, which no index of tensors does")
        return super().find_class(module, name)


def _memory_format(kind: Any, name: str) -> Any:
    if kind is not _MEM_FORMAT_ENCODING:
        raise TornCheckpointError(f"its index asks for the attribute {name} of {kind!r}")
    return kind[name]


class _Reader(FileSystemReader):
    """Reads the files of a checkpoint where the store has them, which need not be one folder."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint.folder)
        self.checkpoint = checkpoint
        self.fs = _Files(checkpoint)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index. Raises TornCheckpointError."""
        if INDEX not in self.checkpoint.manifest.files:
            raise TornCheckpointError("it has no index of its tensors")
        try:
            with self.checkpoint.path(INDEX).open("rb") as file:
                index = _IndexUnpickler(file).load()
        except (pickle.UnpicklingError, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
            raise TornCheckpointError(f"its index cannot be read ({type(error).__name__})") from error
        if not isinstance(index, Metadata):
            raise TornCheckpointError(f"its index is a {type(index).__name__}")
        index.storage_meta = StorageMeta(load_id=self.load_id)
        return index


class _Files(FileSystem):
    """A checkpoint's files by their names, for torch's reader."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def concat_path(self, path: str | os.PathLike[str], suffix: str) -> str | os.PathLike[str]:
        return self.checkpoint.path(suffix)

"""Checkpoints: all that is needed to go on exactly where a run stopped, written while the run goes on.

A checkpoint lies at `<attempt>/checkpoints/step-00000100-<group>/`. Tensors are copied at once; a thread
then writes the copies by torch.distributed.checkpoint, each rank its share, and `manifest.json` with the
SHA-256 of every file and one of its own is published last, by exclusive create. Without a manifest that
holds in every byte there is no checkpoint, and the one before counts.
"""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import save

from pipeline.store import Attempt, File, Journal, faults_told
from pipeline.training.checkpoint_reading import (
    INDEX,
    MANIFEST,
    Checkpoint,
    Manifest,
    State,
    TornCheckpointError,
    opened,
    quiet_alone,
    sealed,
    verified,
)
from pipeline.training.group import Group
from pipeline.training.random_state import random_file, random_state
from pipeline.training.retention import Retention

__all__ = ["Checkpoint", "Checkpoints", "Manifest", "State", "TornCheckpointError", "last_checkpoint"]

log = logging.getLogger(__name__)

GROUP_SECONDS = 600.0
LEAVING_SECONDS = 5.0


class UnfinishedCheckpointError(Exception):
    """Another rank told that it could not write; what befell it stands in its own log."""


@dataclass
class Checkpoints:
    """The checkpoints of one artifact, over all attempts at it; new ones go to the attempt given."""

    attempt: Attempt
    incarnation: str
    """Of this process group: no two write to the same folder."""
    retention: Retention = field(default_factory=Retention)
    group_seconds: float = GROUP_SECONDS
    """How long a rank waits for the others' parts of a checkpoint."""
    _writers: Group | None = field(default=None, init=False)
    _stager: DefaultStager | None = field(default=None, init=False)
    _executor: ThreadPoolExecutor | None = field(default=None, init=False)
    _writing: Future[None] | None = field(default=None, init=False)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The last one that holds in every byte, and what was wrong with those after it."""
        faults: list[str] = []
        for step, folder in sorted(self._folders(), reverse=True):
            try:
                return verified(self.attempt, step, folder), faults
            except TornCheckpointError as error:
                faults.append(f"checkpoint {folder} is skipped: {error}")
        return None, faults

    def save(self, group: Group, manifest: Manifest, state: State) -> None:
        """Copy the tensors and return; a thread writes them. Every rank calls this at the same step.

        Waits for the checkpoint before, and raises what befell that one: NoRoomError above all.
        """
        self.finish()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "checkpoint")
            self._writers = group.beside(self.group_seconds)
            pinned = group.device.type == "cuda"
            self._stager = DefaultStager(StagingOptions(pinned, False, False, False))
        assert self._stager is not None
        assert self._writers is not None
        staged = self._stager.stage(state)
        generators = random_state()
        self._writing = self._executor.submit(self._write, self._writers, manifest, staged, generators)

    @property
    def is_writing(self) -> bool:
        """Whether the last checkpoint is still on its way."""
        return self._writing is not None and not self._writing.done()

    def finish(self) -> None:
        """Return when the last checkpoint is published; raises what befell it."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Nobody leaves before the last checkpoint is published; where something went wrong, not for long."""
        if kind is None:
            self.finish()
        elif self._writing is not None:
            wait([self._writing], LEAVING_SECONDS)

    def _write(self, group: Group, manifest: Manifest, state: Any, generators: dict[str, Any]) -> None:
        """In the thread: this rank's files, then the manifest when all ranks have theirs."""
        name = f"checkpoints/step-{manifest.step:08}-{self.incarnation}"
        folder = self.attempt.path(f"{name}/.").resolve()
        mine, fault = None, None
        try:
            with faults_told(self.attempt.storage.local("")):
                mine = self._written(folder, group, state, generators)
        except Exception as error:
            fault = error
        parts = [part for part in group.gather(mine) if part is not None]
        if mine is None or len(parts) < group.size:
            for path in folder.glob("*"):  # where a disk is full, halves take the room of wholes
                path.unlink(missing_ok=True)
            raise fault or UnfinishedCheckpointError(f"another rank could not write its part of {name}")
        files = {name: file for part in parts for name, file in part.items()}
        if not self.attempt.storage.is_local:
            for file in mine:
                (folder / file).unlink()
        if group.is_first:
            complete = manifest.model_copy(update={"files": files})
            self.attempt.storage.create(f"{self.attempt.folder}/{name}/{MANIFEST}", sealed(complete))
            self._retire(manifest.step)

    def _written(self, folder: Path, group: Group, state: Any, generators: dict[str, Any]) -> dict[str, File]:
        """Name → file of what this rank wrote, published."""
        folder.mkdir(parents=True, exist_ok=True)
        own = random_file(group.rank)
        torch.save(generators, folder / own)
        quiet_alone()
        writer = FileSystemWriter(folder)
        try:
            save(state, storage_writer=writer, process_group=group.channel, no_dist=group.size == 1)
        except CheckpointException as error:  # no Exception: it would end the thread without a word
            raise next(iter(error.failures.values()))[0] from error
        tensors = sorted(path.name for path in folder.glob(f"__{group.rank}_*"))
        written = [own, *tensors, *([INDEX] if group.is_first else [])]
        return {file: self.attempt.publish(folder / file, keep=False) for file in written}

    def _folders(self) -> Iterator[tuple[int, str]]:
        """Every folder of a checkpoint, finished or not, of every attempt: step, path in the store."""
        storage, attempts = self.attempt.storage, f"{self.attempt.base}/attempts"
        for attempt in storage.list(attempts):
            for name in storage.list(f"{attempts}/{attempt}/checkpoints"):
                with contextlib.suppress(IndexError, ValueError):
                    yield int(name.split("-")[1]), f"{attempts}/{attempt}/checkpoints/{name}"

    def _retire(self, newest: int) -> None:
        """Remove finished ones that need not be kept, manifest first; unfinished ones of this attempt too."""
        storage = self.attempt.storage
        folders = [folder for step, folder in self._folders() if step <= newest]
        finished, broken = {}, set()
        for folder in folders:
            try:
                finished[folder] = opened(storage, f"{folder}/{MANIFEST}")
            except TornCheckpointError:
                broken.add(folder)
        kept = self.retention.kept(finished)
        for folder in folders:
            # what is unfinished elsewhere may be another run's, which is at work on the same artifact
            ours = folder.startswith(f"{self.attempt.folder}/")
            if folder in finished.keys() - kept or (folder in broken and ours):
                storage.remove(f"{folder}/{MANIFEST}")
                storage.remove(folder)


def last_checkpoint(checkpoints: Checkpoints, group: Group, journal: Journal) -> Checkpoint | None:
    """The newest valid one, as rank 0 finds it; what is skipped is told."""
    found = None
    if group.is_first:
        found, faults = checkpoints.newest()
        for fault in faults:
            log.warning("%s", fault)
            journal.write("warning", message=fault)
        if found:
            journal.write("resumed", step=found.manifest.step, folder=found.folder)
    return group.from_first(found)

"""One shard of a stage: where its task writes, what becomes of it, what is said when it fails."""

import secrets
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, UnreadableShardError
from pipeline.store import Attempt, File, ShardRecord, faults_told

TRIES_PER_SHARD = 3


class ShardLostError(StageError):
    """A shard failed every time it was tried."""

    remedy = (
        "Read the log that the run names. Running again tries only what is missing; "
        "compute.lost_shards lets the stage go on without it."
    )


class ShardUnreadableError(ShardLostError):
    """What a shard is made from is damaged, so that no further try reads it."""

    passes = False
    remedy = (
        "Replace or remove what the message names, then run again; compute.lost_shards lets the stage go on "
        "without it, and its result is marked as incomplete."
    )


@dataclass
class ShardOutput:
    """Where a task writes the files of one shard. The name given to a file is its logical name."""

    folder: Path

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


ShardFunction = Callable[[Any, ShardOutput], Mapping[str, int]]
"""Does the work of one shard: payload, output → counts. Must depend on nothing else."""


def run_shard(
    attempt: Attempt, step: str, identity: str, payload: Any, function: ShardFunction
) -> ShardRecord:
    """In a Ray task: do the work in a folder of its own, then publish the shard's record."""
    name = f"{step}/{identity}-{secrets.token_hex(3)}"
    folder = attempt.path(f"{name}/.").resolve()
    try:
        with faults_told(attempt.storage.local("")):
            folder.mkdir(parents=True, exist_ok=True)
            counts = function(payload, ShardOutput(folder))
            published = attempt.publish_folder(name)
            files = {logical.removeprefix(f"{name}/"): file for logical, file in published.items()}
            done = attempt.finish_shard(
                step, ShardRecord(identity=identity, files=files, counts=dict(counts))
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # where a disk is full, halves take the room of wholes
        raise
    if not attempt.storage.is_local:
        shutil.rmtree(folder)
    return done


def set_aside(
    attempt: Attempt, step: str, identity: str, error: BaseException, lost: int, most: int
) -> ShardRecord:
    """The record of a shard that failed for good, the `lost`th; ShardLostError if more than `most` are."""
    if isinstance(error, UnreadableShardError):
        if lost > most:
            raise ShardUnreadableError(
                f"{attempt.stage}: {error}. Replace it or take it away, then run again, or let the stage "
                f"go on without it by --set compute.lost_shards={lost}"
            ) from error
        return ShardRecord(identity=identity, files={}, counts={}, lost=str(error))
    reason = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    if lost > most:
        raise ShardLostError(
            f"{attempt.stage}, step {step}: shard {identity} failed {TRIES_PER_SHARD} times ({reason}). "
            f"What is finished stays; run again to try only the rest, or let the stage go on without "
            f"it by --set compute.lost_shards={lost}"
        ) from error
    return ShardRecord(identity=identity, files={}, counts={}, lost=reason)


def files_of(records: list[ShardRecord]) -> dict[str, File]:
    """The files of all shards by logical name."""
    return {name: file for record in records for name, file in record.files.items()}


def counts_of(records: list[ShardRecord]) -> dict[str, int]:
    """The shards' counts added up, names sorted."""
    totals: dict[str, int] = {}
    for record in records:
        for name, count in record.counts.items():
            totals[name] = totals.get(name, 0) + count
    return dict(sorted(totals.items()))


def any_lost(records: list[ShardRecord]) -> bool:
    return any(record.lost is not None for record in records)

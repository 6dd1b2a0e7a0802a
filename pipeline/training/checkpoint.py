"""Checkpoints: all that is needed to go on exactly where a run stopped, checked before it is believed.

A checkpoint lies at `<attempt>/checkpoints/step-00000100-<group>/`. Its files are written first, each
by one rank; `manifest.json` with their SHA-256 and one of its own is published last, by exclusive
create. Without a manifest that holds in every byte there is no checkpoint, and the one before counts.
"""

import contextlib
import hashlib
import json
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from pipeline.store import Attempt, File, Journal, NoRoomError, Storage, faults_told, sha256_of
from pipeline.store.records import Frozen
from pipeline.training.group import Group

log = logging.getLogger(__name__)

KEPT = 2
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.pt"


class Manifest(Frozen):
    """What a complete checkpoint consists of."""

    format: int = 1
    step: int
    """Steps done; the next one has this number."""
    tokens: int
    """Labels trained on so far."""
    workers: int
    resolved: dict[str, Any]
    """What was chosen automatically: device, threads, micro-batch, compile."""
    files: dict[str, File]
    """Name in the folder → file, its path relative to the artifact."""


class TornCheckpointError(Exception):
    """A checkpoint that cannot be believed. Never seen by users: the one before is taken."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint found in the store, and verified."""

    folder: str
    manifest: Manifest
    paths: dict[str, Path]

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.paths[WEIGHTS])

    def optimizer(self) -> list[dict[str, object]]:
        states: list[dict[str, object]] = torch.load(
            self.paths[OPTIMIZER], weights_only=True, map_location="cpu"
        )
        return states

    def restore_random(self, rank: int) -> bool:
        """Set this process's random generators to where they were; False if that rank did not exist."""
        name = _random_file(rank)
        if name not in self.paths:
            return False
        _set_random_state(torch.load(self.paths[name], weights_only=True))
        return True


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one artifact, over all attempts at it; new ones go to the attempt given."""

    attempt: Attempt
    incarnation: str
    """Of this process group: no two write to the same folder."""

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The last one that holds in every byte, and what was wrong with those after it."""
        faults: list[str] = []
        for step, folder in sorted(self._folders(), reverse=True):
            try:
                return self._verified(step, folder), faults
            except TornCheckpointError as error:
                faults.append(f"checkpoint {folder} is skipped: {error}")
        return None, faults

    def save(
        self,
        group: Group,
        manifest: Manifest,
        weights: dict[str, torch.Tensor],
        optimizer: list[dict[str, object]],
    ) -> None:
        """Write a checkpoint; every rank calls this at the same step. Older ones than the last two go."""
        name = f"checkpoints/step-{manifest.step:08}-{self.incarnation}"
        folder = self.attempt.path(f"{name}/.").resolve()
        mine = self._write(folder, group, weights, optimizer)
        files = {name: file for part in group.gather(mine) for name, file in part.items()}
        if not self.attempt.storage.is_local:
            for file in mine:
                (folder / file).unlink()
        if group.is_first:
            complete = manifest.model_copy(update={"files": files})
            self.attempt.storage.create(f"{self.attempt.folder}/{name}/{MANIFEST}", _sealed(complete))
            self._retire(manifest.step)

    def _write(
        self,
        folder: Path,
        group: Group,
        weights: dict[str, torch.Tensor],
        optimizer: list[dict[str, object]],
    ) -> dict[str, File]:
        """This rank's files, published. Raises NoRoomError, and then leaves none of them behind."""
        written = [_random_file(group.rank), *([WEIGHTS, OPTIMIZER] if group.is_first else [])]
        try:
            with faults_told(self.attempt.storage.local("")):
                folder.mkdir(parents=True, exist_ok=True)
                torch.save(_random_state(), folder / written[0])
                if group.is_first:
                    save_file(weights, folder / WEIGHTS)
                    torch.save(optimizer, folder / OPTIMIZER)
                return {file: self.attempt.publish(folder / file, keep=False) for file in written}
        except NoRoomError:
            for file in written:
                (folder / file).unlink(missing_ok=True)
            raise

    def _folders(self) -> Iterator[tuple[int, str]]:
        """Every folder of a checkpoint, finished or not, of every attempt: step, path in the store."""
        storage, attempts = self.attempt.storage, f"{self.attempt.base}/attempts"
        for attempt in storage.list(attempts):
            for name in storage.list(f"{attempts}/{attempt}/checkpoints"):
                with contextlib.suppress(IndexError, ValueError):
                    yield int(name.split("-")[1]), f"{attempts}/{attempt}/checkpoints/{name}"

    def _verified(self, step: int, folder: str) -> Checkpoint:
        storage = self.attempt.storage
        manifest = _opened(storage, f"{folder}/{MANIFEST}")
        if manifest.step != step:
            raise TornCheckpointError(f"its manifest is of step {manifest.step}")
        paths = {}
        for name, file in manifest.files.items():
            try:
                paths[name] = storage.download(f"{self.attempt.base}/{file.path}", file.sha256)
                found = sha256_of(paths[name])
            except OSError as error:
                raise TornCheckpointError(f"{name} cannot be read ({error})") from error
            if found != file.sha256:
                raise TornCheckpointError(f"{name} has SHA-256 {found[:12]}…, not {file.sha256[:12]}…")
        return Checkpoint(folder, manifest, paths)

    def _retire(self, newest: int) -> None:
        """Remove all but the last finished ones, manifest first; unfinished ones of this attempt too."""
        storage = self.attempt.storage
        folders = sorted((step, folder) for step, folder in self._folders() if step <= newest)
        finished = [folder for _, folder in folders if storage.exists(f"{folder}/{MANIFEST}")]
        kept = set(finished[-KEPT:])
        for _, folder in folders:
            ours = folder.startswith(f"{self.attempt.folder}/")
            if folder not in kept and (ours or folder in finished):
                storage.remove(f"{folder}/{MANIFEST}")
                storage.remove(folder)


def _sealed(manifest: Manifest) -> bytes:
    """The manifest as JSON, with the SHA-256 of itself."""
    body = manifest.model_dump(mode="json")
    return json.dumps({"sha256": _seal(body), "manifest": body}, indent=1).encode()


def _opened(storage: Storage, path: str) -> Manifest:
    try:
        data = json.loads(storage.read(path))
        if data["sha256"] != _seal(data["manifest"]):
            raise TornCheckpointError("its manifest was changed")
        return Manifest.model_validate(data["manifest"])
    except FileNotFoundError:
        raise TornCheckpointError("it was not finished (no manifest)") from None
    except (ValueError, KeyError, TypeError, OSError, ValidationError) as error:
        raise TornCheckpointError(f"its manifest cannot be read ({type(error).__name__})") from error


def _seal(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _random_file(rank: int) -> str:
    return f"random-{rank:05}.pt"


def _random_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


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

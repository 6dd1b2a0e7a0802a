"""The store: makes each artifact once, and finds it again by its key.

`Store.make` is the only road by which an artifact comes into being: claim, attempt, publish.
A claim only saves work; that there is one record per key rests on exclusive create alone.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import filelock

from pipeline.config import Config
from pipeline.errors import InputError, MoinhoError
from pipeline.store.artifacts import RECORD, Artifact, places, read_records
from pipeline.store.faults import fault_of_machine, faults_told, not_writable
from pipeline.store.journal import Journal, flush_journals
from pipeline.store.records import (
    File,
    InputOf,
    Record,
    ShardRecord,
    commit,
    digest_of,
    dump,
    key_of,
    versions,
)
from pipeline.store.storage import Storage, cache_folder, sha256_of, side_by_side

A = TypeVar("A", bound=Artifact)
Named = Mapping[str, tuple[str, str]]
"""Name → stage and key."""
Work = Mapping[str, float]
"""Estimated work of a stage, and the counts that its record will probably have: quantity with unit
→ amount, such as {"tokens": 2e6, "flops": 3e13}."""


def scratch_of(storage: Storage, base: str) -> Path:
    """Where attempts at the artifact `stage/key` keep on this machine what the next goes on with."""
    return storage.local(f"{base}/scratch") or cache_folder() / "scratch" / base


def _claim_path(storage: Storage, base: str) -> Path:
    root = hashlib.sha256(storage.root.encode()).hexdigest()[:16]
    elsewhere = Path(tempfile.gettempdir()) / f"moinho-locks-{os.getuid()}" / root
    return (storage.local("locks") or elsewhere) / f"{base.replace('/', '-')}.lock"


def is_claimed(storage: Storage, base: str) -> bool | None:
    """Whether someone makes the artifact `stage/key` at this moment; a maker that was killed does not. None
    for a store elsewhere, unless the maker is on this machine. Nothing is written."""
    try:
        descriptor = os.open(_claim_path(storage, base), os.O_RDONLY)
    except FileNotFoundError:
        return False if storage.is_local else None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False if storage.is_local else None


@dataclass(frozen=True)
class Attempt:
    """One try at making an artifact. It writes where no other writes, and may be sent to other processes."""

    storage: Storage
    stage: str
    key: str
    id: str

    @classmethod
    def begin(cls, artifact: Artifact) -> "Attempt":
        """A new one, with a folder that no other has."""
        now = datetime.datetime.now(datetime.UTC)
        id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        return cls(artifact.storage, artifact.stage, artifact.key, id)

    @property
    def base(self) -> str:
        """The artifact's folder, relative to the store."""
        return f"{self.stage}/{self.key}"

    @property
    def folder(self) -> str:
        """This attempt's own folder, relative to the store."""
        return f"{self.base}/attempts/{self.id}"

    @property
    def log(self) -> str:
        return f"{self.folder}/log.txt"

    def path(self, name: str) -> Path:
        """A local path to write the file `name` to; its folder exists."""
        here = self.storage.local(f"{self.folder}/{name}") or cache_folder() / "attempts" / self.id / name
        here.parent.mkdir(parents=True, exist_ok=True)
        return here

    def forget_copies(self) -> None:
        """Remove what was written on this machine for a store elsewhere; nothing of a store that is here."""
        if not self.storage.is_local:
            shutil.rmtree(cache_folder() / "attempts" / self.id, ignore_errors=True)

    def scratch(self) -> Path:
        """A local folder that later attempts at the same artifact on this machine find again."""
        here = scratch_of(self.storage, self.base)
        here.mkdir(parents=True, exist_ok=True)
        return here

    def journal(self, name: str) -> Journal:
        return Journal(self.storage, f"{self.folder}/journal", name)

    def publish(self, path: Path, keep: bool = True) -> File:
        """Take a finished local file into the store: hashed, and uploaded where the store is elsewhere.

        A file that is uploaded is kept in the cache of this machine too, unless `keep` is False.
        """
        inside = path.relative_to(self.path("."))
        target = f"{self.folder}/{inside.as_posix()}"
        sha256 = sha256_of(path)
        self.storage.upload(path, target, sha256 if keep else None)
        return File(path=target.removeprefix(f"{self.base}/"), bytes=path.stat().st_size, sha256=sha256)

    def publish_folder(self, name: str) -> dict[str, File]:
        """Every file that was written below `path(name)`, by logical name `name/…`."""
        root = self.path(".")
        found = sorted(path for path in self.path(name).rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): self.publish(path) for path in found}

    def shard_path(self, step: str, identity: str) -> str:
        return f"{self.base}/shards/{step}/{identity}.json"

    def finished_shard(self, step: str, identity: str) -> ShardRecord | None:
        """The record of a shard that this or an earlier attempt finished."""
        try:
            return ShardRecord.model_validate_json(self.storage.read(self.shard_path(step, identity)))
        except FileNotFoundError:
            return None

    def finish_shard(self, step: str, record: ShardRecord) -> ShardRecord:
        """Publish a shard's record; whoever was first wins, and the winner's record is returned."""
        self.storage.create(self.shard_path(step, record.identity), dump(record))
        won = self.finished_shard(step, record.identity)
        assert won is not None
        return won


@dataclass(frozen=True)
class Made:
    """What a stage's build function hands back for the record."""

    files: Mapping[str, File]
    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    compute: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen automatically, resolved: workers, threads, micro-batch, compile."""
    incomplete: bool = False


class Listener(Protocol):
    """Is told what happens to stages, one event after the other. Must return at once.

    `planned` is told by a planning store alone, which tells nothing else.
    """

    def planned(self, artifact: Artifact, work: Work) -> None: ...
    def reused(self, artifact: Artifact) -> None: ...
    def waiting(self, artifact: Artifact) -> None: ...
    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None: ...
    def finished(self, artifact: Artifact) -> None: ...
    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None: ...


ClaimElsewhere = Callable[[str, Callable[[], None]], contextlib.AbstractContextManager[None]]
"""Given a name, and what to call if somebody else holds the claim and is waited for."""


class Store:
    """Artifacts and names at a root: a folder, or an object store by its URL."""

    def __init__(self, root: str, listeners: Sequence[Listener] = ()) -> None:
        self.storage = Storage(root)
        self.listeners = list(listeners)
        self.claim_elsewhere: ClaimElsewhere = lambda name, waiting: contextlib.nullcontext()
        """Takes a claim that holds beyond this machine, such as on a Ray cluster."""
        self._telling = threading.RLock()

    def make(
        self,
        kind: type[A],
        config: Config,
        inputs: Mapping[str, Artifact | None],
        build: Callable[[Attempt], Made],
        *,
        content: Mapping[str, str] | None = None,
        work: Callable[[], Work] | None = None,
    ) -> A:
        """The artifact of `kind` for this configuration and these inputs: found, or made by `build`.

        `content` is the identity of what comes from outside the store. `work` estimates the
        effort for a plan alone, from `counts()` and `config()` of the inputs.
        Raises whatever `build` raises; what the attempt finished stays and is found by the next.
        """
        given = {name: artifact for name, artifact in inputs.items() if artifact is not None}
        artifact = self.handle(kind, config, given, content)
        with faults_told(self.storage.local("")):
            return self._obtain(artifact, config, given, build, content or {}, work)

    def handle(
        self,
        kind: type[A],
        config: Config,
        inputs: Mapping[str, Artifact | None],
        content: Mapping[str, str] | None = None,
    ) -> A:
        """The artifact that `make` is to find or to make: its key needs no output."""
        keys = {name: artifact.key for name, artifact in inputs.items() if artifact is not None}
        return kind(self.storage, key_of(kind.stage, kind.revision, config.identity(), keys, content or {}))

    def _obtain(
        self,
        artifact: A,
        config: Config,
        inputs: Mapping[str, Artifact],
        build: Callable[[Attempt], Made],
        content: Mapping[str, str],
        work: Callable[[], Work] | None,
    ) -> A:
        if not artifact.exists():
            with self._claim(artifact):
                if not artifact.exists():
                    self._build(artifact, config, inputs, build, content)
                    return artifact
        self._check_reusable(artifact, inputs)
        self._tell(lambda listener: listener.reused(artifact))
        return artifact

    def use(self, artifact: A) -> A:
        """An artifact of the store that no stage of this run makes; listeners are told.

        Raises IncompleteArtifactError.
        """
        self._check_reusable(artifact, {})
        self._tell(lambda listener: listener.reused(artifact))
        return artifact

    def _tell(self, event: Callable[[Listener], None]) -> None:
        """One event after the other, also where stages are made side by side."""
        with self._telling:
            for listener in self.listeners:
                event(listener)

    def settle(self) -> None:
        """Wait for all that is being made; here that is nothing, since `make` waits itself."""

    def _check_reusable(self, artifact: Artifact, inputs: Mapping[str, Artifact]) -> None:
        """Raises IncompleteArtifactError or StaleArtifactError: neither is ever reused silently."""
        if artifact.record.incomplete:
            raise IncompleteArtifactError(
                f"{artifact.base} lost shards when it was made and is not reused silently: "
                f"discard it with `moinho rm {artifact.base}`, or look at its record first"
            )
        for name, given in inputs.items():
            made_from = artifact.record.inputs[name].digest
            if given.record.digest != made_from:
                raise StaleArtifactError(
                    f"{artifact.base} was made from {given.base} with the digest {made_from[:12]}, which was "
                    f"made again since and has the digest {given.record.digest[:12]}: discard what hangs on "
                    f"the old one with `moinho rm {artifact.base} --downstream`, then run again"
                )

    def _build(
        self,
        artifact: Artifact,
        config: Config,
        inputs: Mapping[str, Artifact],
        build: Callable[[Attempt], Made],
        content: Mapping[str, str],
    ) -> None:
        attempt, start = Attempt.begin(artifact), time.monotonic()
        now = datetime.datetime.now(datetime.UTC)
        self._tell(lambda listener: listener.started(artifact, attempt, config.resolved()))
        try:
            made = build(attempt)
            flush_journals()
            record = Record(
                stage=artifact.stage,
                revision=artifact.revision,
                key=artifact.key,
                identity=config.identity(),
                config=config.resolved(),
                inputs={
                    name: InputOf(stage=given.stage, key=given.key, digest=given.record.digest)
                    for name, given in inputs.items()
                },
                content=dict(content),
                counts=dict(made.counts),
                figures=dict(made.figures),
                files=dict(made.files),
                digest=digest_of(made.files),
                incomplete=made.incomplete,
                compute=dict(made.compute),
                attempt=attempt.id,
                started=now.isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - start, 3),
                commit=commit(),
                versions=versions(),
            )
            self.storage.create(f"{artifact.base}/{RECORD}", dump(record))
        except BaseException as error:
            fault = fault_of_machine(error, self.storage.local(""))
            told = fault or error
            self._tell(lambda listener: listener.failed(artifact, attempt, told))
            if fault is None:
                raise
            raise fault from error
        attempt.forget_copies()
        self._tell(lambda listener: listener.finished(artifact))

    @contextlib.contextmanager
    def _claim(self, artifact: Artifact) -> Iterator[None]:
        """Keep others on this machine, and on its cluster, from making the same artifact meanwhile. Released
        when we die."""

        def waiting() -> None:
            self._tell(lambda listener: listener.waiting(artifact))

        lock = self.claim_lock(artifact.base)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            waiting()
            lock.acquire()
        except OSError as error:
            raise self._refused(error) from error
        try:
            with self.claim_elsewhere(f"{self.storage.address}/{artifact.base}", waiting):
                yield
        finally:
            lock.release()

    def claim_lock(self, base: str) -> filelock.BaseFileLock:
        """The lock that whoever makes the artifact `stage/key` on this machine holds meanwhile."""
        path = _claim_path(self.storage, base)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        return filelock.FileLock(path)

    def _refused(self, error: OSError) -> MoinhoError:
        """Why nothing can be made here."""
        return fault_of_machine(error, self.storage.local("")) or not_writable(self.storage.root, error)

    def name(self, name: str, artifact: Artifact) -> None:
        """Let `name`, such as `quickstart/base`, point to the artifact from now on.

        Nothing is written if it does already. Raises NoRoomError or NotWritableError.
        """
        path = f"names/{name}.json"
        target = json.dumps({"stage": artifact.stage, "key": artifact.key}).encode()
        if not self.storage.exists(path) or self.storage.read(path) != target:
            with faults_told(self.storage.local("")):
                self.storage.replace(path, target)

    def named(self) -> dict[str, tuple[str, str]]:
        """Every name with the stage and key that it points to."""
        flows = self.storage.list("names")
        entries = side_by_side(self.storage, lambda flow: self.storage.list(f"names/{flow}"), flows)
        names = [
            f"{flow}/{entry.removesuffix('.json')}"
            for flow, inside in zip(flows, entries, strict=True)
            for entry in inside
            if entry.endswith(".json")
        ]
        targets = side_by_side(self.storage, self.target_of, names)
        return {name: target for name, target in zip(names, targets, strict=True) if target is not None}

    def target_of(self, name: str) -> tuple[str, str] | None:
        """The stage and key that one name points to; None if there is no such name."""
        flow, _, role = name.partition("/")
        if flow in ("", ".", "..") or not role or "/" in role:
            return None
        try:
            target = json.loads(self.storage.read(f"names/{name}.json"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return target["stage"], target["key"]

    def records(self, stage: str | None = None) -> Iterator[Record]:
        """Every record in the store, or every one of a stage, by stage and key."""
        return read_records(self.storage, places(self.storage, stage))


def names_by_base(named: Named) -> dict[str, list[str]]:
    """`stage/key` → its names, sorted."""
    found: dict[str, list[str]] = {}
    for name, (stage, key) in sorted(named.items()):
        found.setdefault(f"{stage}/{key}", []).append(name)
    return found


class IncompleteArtifactError(InputError):
    """An artifact that lost shards within the user's limit would be used by another run."""

    remedy = "Look at its record with `moinho show`; discard it with `moinho rm` to make it whole."


class StaleArtifactError(InputError):
    """An artifact was made from an input that has been made again since, with other content."""

    remedy = "Discard what hangs on the old input with `moinho rm … --downstream`, then run again."

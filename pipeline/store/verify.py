"""Does the store still hold what its records say? Every byte is read again.

An artifact is sound if its key follows from what it was made of, its files have their size and
SHA-256, and what it was made from is still the same. What is half done is looked at too: a shard
whose record points to a missing file would break the attempt that goes on with it.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline.errors import InputError
from pipeline.store.artifacts import RECORD, places, read_record
from pipeline.store.records import File, Record, ShardRecord, digest_of, key_of
from pipeline.store.storage import HASH_BLOCK_BYTES, Storage, side_by_side
from pipeline.store.store import Store

THREADS = min(8, 2 * (os.cpu_count() or 1))
MARKS = ("names", "locks", "mlflow.db", "forgotten", "votes")
"""What a store has soon after its first run began; other folders have seldom anything of that name."""


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it should be."""

    base: str
    """`stage/key` of the artifact."""
    what: str
    """Where in the artifact, and what was found."""


@dataclass
class Findings:
    """What was looked at, and what was found to be wrong."""

    artifacts: int = 0
    unfinished: int = 0
    """Artifacts without a record, with finished shards for a later attempt."""
    files: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    """`stage/key` of an artifact, and of an input of it that was discarded since: no fault."""


Tell = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes to read in all."""


def verify(store: Store, bases: list[str] | None = None, tell: Tell = lambda done, total: None) -> Findings:
    """Check the artifacts at `bases` (`stage/key`), or everything in the store, unfinished work included."""
    findings = Findings()
    files: list[tuple[str, File]] = []
    for base in bases if bases is not None else list(artifact_folders(store.storage)):
        try:
            record = read_record(store.storage, base)
        except InputError as error:
            findings.faults.append(Fault(base, str(error)))
            continue
        if record is None:
            shards = list(_shards(store.storage, base))
            findings.unfinished += bool(shards)
            files += [(base, file) for shard in shards for file in shard.files.values()]
        else:
            findings.artifacts += 1
            findings.faults += _faults_of_record(store.storage, base, record)
            findings.gone += [(base, given) for given in _discarded_inputs(store.storage, record)]
            files += [(base, file) for file in record.files.values()]
    findings.faults += _faults_of_files(store.storage, files, tell)
    findings.files, findings.bytes = len(files), sum(file.bytes for _, file in files)
    findings.faults += _dangling_names(store) if bases is None else ()
    return findings


def artifact_folders(storage: Storage) -> Iterator[str]:
    """`stage/key` of everything that was made or begun, sorted."""
    bases = places(storage)
    for base, inside in zip(bases, side_by_side(storage, storage.list, bases), strict=True):
        if RECORD in inside or "attempts" in inside or "shards" in inside:
            yield base


def is_store(storage: Storage) -> bool:
    """Whether anything at this root was made by moinho. An empty folder is no store yet."""
    with contextlib.suppress(PermissionError):
        found = storage.list()
        return any(mark in found for mark in MARKS) or any(True for _ in artifact_folders(storage))
    return False


def _shards(storage: Storage, base: str) -> Iterator[ShardRecord]:
    for step in storage.list(f"{base}/shards"):
        for name in storage.list(f"{base}/shards/{step}"):
            if name.endswith(".json"):
                yield ShardRecord.model_validate_json(storage.read(f"{base}/shards/{step}/{name}"))


def _faults_of_record(storage: Storage, base: str, record: Record) -> Iterator[Fault]:
    inputs = {name: given.key for name, given in record.inputs.items()}
    key = key_of(record.stage, record.revision, record.identity, inputs, record.content)
    if base != f"{record.stage}/{key}":
        yield Fault(base, f"{RECORD}: what it says was made has the key {record.stage}/{key}; it was altered")
    if record.digest != digest_of(record.files):
        yield Fault(base, f"{RECORD}: its digest is not that of its files; it was altered")
    for name, given in record.inputs.items():
        try:
            found = read_record(storage, f"{given.stage}/{given.key}")
        except InputError:
            continue  # told as a fault of that artifact
        if found is not None and found.digest != given.digest:
            yield Fault(
                base,
                f"made from {given.stage}/{given.key} ({name}) with the digest {given.digest[:12]}; "
                f"what is there now has {found.digest[:12]}",
            )


def _discarded_inputs(storage: Storage, record: Record) -> Iterator[str]:
    for given in record.inputs.values():
        if not storage.exists(f"{given.stage}/{given.key}/{RECORD}"):
            yield f"{given.stage}/{given.key}"


def _faults_of_files(storage: Storage, files: list[tuple[str, File]], tell: Tell) -> Iterator[Fault]:
    total, done = sum(file.bytes for _, file in files), 0
    with ThreadPoolExecutor(THREADS) as pool:
        checks = pool.map(lambda item: _fault_of_file(storage, *item), files)
        for (base, file), fault in zip(files, checks, strict=True):
            done += file.bytes
            tell(done, total)
            if fault is not None:
                yield Fault(base, f"{file.path}: {fault}")


def _fault_of_file(storage: Storage, base: str, file: File) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        with storage.fs.open(storage.full(f"{base}/{file.path}"), "rb") as stream:
            while block := stream.read(HASH_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error})"
    if size != file.bytes:
        return f"{size:,} bytes, not {file.bytes:,}"
    if digest.hexdigest() != file.sha256:
        return f"SHA-256 {digest.hexdigest()[:12]}…, not {file.sha256[:12]}…"
    return None


def _dangling_names(store: Store) -> Iterator[Fault]:
    for name, (stage, key) in store.named().items():
        if not store.storage.exists(f"{stage}/{key}/{RECORD}"):
            yield Fault(f"{stage}/{key}", f"the name {name} points to it, but it is not in the store")


def made_from(records: Mapping[str, Record], bases: set[str]) -> list[str]:
    """`stage/key` of all artifacts that hang on `bases`, directly or not, in the order of `records`."""
    hanging = set(bases)
    grown = True
    while grown:
        grown = False
        for base, record in records.items():
            inputs = {f"{given.stage}/{given.key}" for given in record.inputs.values()}
            if base not in hanging and inputs & hanging:
                hanging.add(base)
                grown = True
    return [base for base in records if base in hanging - bases]

"""The sources stage's Ray tasks: copy local files, fetch remote ones, load data sets."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.corpus.download import download, list_remote
from pipeline.corpus.local_files import LocalFile
from pipeline.corpus.sources import SourceConfig, SourceFile, TakenIn
from pipeline.errors import StageError, UnreadableShardError
from pipeline.shards import ShardOutput
from pipeline.store import Attempt
from pipeline.store.storage import sha256_of

if TYPE_CHECKING:
    import pyarrow as pa

FILES_PER_SHARD, BYTES_PER_SHARD = 200, 256_000_000
ROWS_PER_FILE, ROWS_PER_BATCH = 20_000, 500
"""Of a data set, written as Parquet. Its files depend on neither workers nor machine."""


class SourceChangedError(StageError):
    """A file of a source changed after it was listed."""

    remedy = "Run again when nothing writes to the source any more: it is listed anew."


class DatasetUnavailableError(StageError):
    """`datasets` cannot load a data set: its name, subset, split or revision is wrong, or the hub is away."""

    remedy = "Check dataset, subset, split and revision in [[sources]], and the network; then run again."


@dataclass(frozen=True)
class Copying:
    source: str
    files: tuple[LocalFile, ...]


@dataclass(frozen=True)
class Fetching:
    source: str
    path: str
    url: str
    attempt: Attempt


@dataclass(frozen=True)
class Loading:
    source: SourceConfig
    shard: int
    shards: int


def copies(config: TakenIn, local: Mapping[str, Sequence[LocalFile]]) -> dict[str, Copying]:
    """The local files in portions; those of data sets are loaded instead."""
    found = {}
    for source in config.sources:
        if source.path is not None and not source.remote():
            for number, portion in enumerate(_portions(local[source.name])):
                found[f"{source.name}-{number:06d}"] = Copying(source.name, tuple(portion))
    return found


def _portions(files: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    portion: list[LocalFile] = []
    size = 0
    for file in files:
        if portion and (len(portion) >= FILES_PER_SHARD or size + file.bytes > BYTES_PER_SHARD):
            yield portion
            portion, size = [], 0
        portion.append(file)
        size += file.bytes
    if portion:
        yield portion


def fetches(attempt: Attempt, config: TakenIn) -> dict[str, Fetching]:
    """Every remote file. Raises UnreachableSourceError."""
    return {
        f"{source.name}-{hashlib.sha256(url.encode()).hexdigest()[:16]}": Fetching(
            source.name, path, url, attempt
        )
        for source in config.sources
        if source.remote()
        for path, url in list_remote(source.path or "")
    }


def loads(config: TakenIn) -> dict[str, Loading]:
    """Every shard of every data set. Raises DatasetUnavailableError."""
    found = {}
    for source in config.sources:
        if source.dataset is not None:
            shards = _open(source).num_shards
            for shard in range(shards):
                found[f"{source.name}-{shard:05d}-of-{shards:05d}"] = Loading(source, shard, shards)
    return found


def copy(part: Copying, output: ShardOutput) -> dict[str, int]:
    """Copy files into the store. Raises SourceChangedError."""
    taken = []
    for file in part.files:
        name = f"files/{part.source}/{file.path}"
        target = output.path(name)
        shutil.copyfile(file.place, target)
        if sha256_of(target) != file.sha256:
            raise SourceChangedError(f"{file.place} changed after it was listed; run again to list it anew")
        taken.append(SourceFile(part.source, file.path, name, file.place, file.bytes, file.sha256))
    return _listed(part.source, taken, output)


def fetch(part: Fetching, output: ShardOutput) -> dict[str, int]:
    """Download one remote file. Raises UnreachableSourceError."""
    found = download(part.url, part.attempt.scratch())
    name = f"files/{part.source}/{part.path}"
    target = output.path(name)
    shutil.copyfile(found, target)
    sha256 = sha256_of(target)
    taken = [SourceFile(part.source, part.path, name, part.url, target.stat().st_size, sha256)]
    return _listed(part.source, taken, output)


def load(part: Loading, output: ShardOutput) -> dict[str, int]:
    """Write one shard of a data set as Parquet, with all its columns.

    Raises DatasetUnavailableError, and of a local one, which has no hub that may be away,
    UnreadableShardError.
    """
    import pyarrow.parquet as pq

    source = part.source
    rows = _open(source).shard(part.shards, part.shard).with_format("arrow")
    taken = []
    for number, table in enumerate(_tables(rows, part)):
        path = f"{part.shard:05d}-of-{part.shards:05d}-{number:05d}.parquet"
        name = f"files/{source.name}/{path}"
        target = output.path(name)
        pq.write_table(table, target, compression="zstd", row_group_size=ROWS_PER_FILE // 10)
        origin = (
            f"{source.dataset}, {source.subset or 'default'}, {source.split}, {source.revision or 'local'}"
        )
        taken.append(SourceFile(source.name, path, name, origin, target.stat().st_size, sha256_of(target)))
    return _listed(source.name, taken, output)


def _open(source: SourceConfig) -> Any:
    import datasets

    try:
        return datasets.load_dataset(
            source.dataset, source.subset, split=source.split, revision=source.revision, streaming=True
        )
    except Exception as error:
        # Its loaders raise what their libraries raise, of many types; all mean that there is nothing to read.
        raise _unavailable(source, error) from error


def _tables(rows: Any, part: Loading) -> "Iterator[pa.Table]":
    import pyarrow as pa

    batches: list[pa.Table] = []
    count = 0
    found = rows.iter(batch_size=ROWS_PER_BATCH)
    while True:
        try:
            batch = next(found, None)
        except Exception as error:
            if part.source.on_hub():
                raise _unavailable(part.source, error) from error
            raise UnreadableShardError(
                f"source {part.source.name!r}: of data set {part.source.dataset!r} file {part.shard + 1} of "
                f"{part.shards}, as their names are sorted, cannot be read: {_told(error)}"
            ) from error
        if batch is not None:
            batches.append(batch)
            count += batch.num_rows
        if batches and (batch is None or count >= ROWS_PER_FILE):
            yield pa.concat_tables(batches, promote_options="permissive")
            batches, count = [], 0
        if batch is None:
            return


def _unavailable(source: SourceConfig, error: Exception) -> DatasetUnavailableError:
    return DatasetUnavailableError(
        f"source {source.name!r}: data set {source.dataset!r} (subset {source.subset!r}, split "
        f"{source.split!r}, revision {source.revision!r}) cannot be read: {_told(error)}"
    )


def _told(error: Exception) -> str:
    """What a library says, on a line."""
    return re.sub(r"\s+", " ", str(error))[:500].rstrip(".") or type(error).__name__


def _listed(source: str, taken: Sequence[SourceFile], output: ShardOutput) -> dict[str, int]:
    if taken:
        name = f"{source}-{hashlib.sha256(taken[0].path.encode()).hexdigest()[:16]}"
        with output.path(f"listing/{name}.jsonl").open("w", encoding="utf-8") as lines:
            for file in taken:
                lines.write(json.dumps(asdict(file), ensure_ascii=False) + "\n")
    return {
        "files": len(taken),
        "bytes": sum(file.bytes for file in taken),
        f"files.{source}": len(taken),
    }

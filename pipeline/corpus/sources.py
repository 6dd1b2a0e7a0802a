"""The stage that takes in files: sources that the user names → files in the store, each with its SHA-256.

A source is a file, a folder or a pattern, on this machine or remote, or a data set that `datasets`
loads. Its identity is its content: of what is on this machine the SHA-256 of every file, of a hub's
data set its commit, of what is remote its address and the date in `snapshot`, since only taking it
in can tell what it holds. How a source is read (its kind, its columns) is no part of it: changing
that takes nothing in again.
"""

import datetime
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.formats import CONTAINERS, Format, format_by_name
from pipeline.corpus.kinds import Kind
from pipeline.corpus.opt_outs import Honoured
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, Store

COMMIT = re.compile(r"[0-9a-f]{40}")
DOCUMENT_BYTES = {"text": 10_000, "markdown": 10_000, "jsonl": 4_000, "parquet": 2_000, "warc": 13_000}
"""Bytes of a container for each document in it, as a plan reckons: compressed where it usually is."""


class Columns(Config):
    """The columns of JSONL and Parquet. All but `text` may be missing."""

    text: str = "text"
    """The document."""
    id: str = "id"
    """Where there is no URL, the document is called by this."""
    url: str = "url"
    title: str = "title"
    author: str = "author"
    date: str = "date"
    licence: str = "license"
    language: str = "language"


class SourceConfig(Config):
    """Documents beside the crawl. Either `path` or `dataset` says where they are."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The source's name, which every document of it bears. `crawl` is the crawl's."""
    path: str | None = None
    """A file, a folder, a pattern such as papers/**/*.pdf, or a URL (https://, s3://, what fsspec knows)."""
    dataset: str | None = None
    """What `datasets.load_dataset` is given: a name on the hub, or a local folder."""
    subset: str | None = None
    """The data set's configuration, where it has several."""
    split: str = "train"
    """Of the data set."""
    revision: str | None = None
    """The commit of a data set on the hub (40 hexadecimal digits)."""
    snapshot: datetime.date | None = None
    """What is remote changes: a later date takes it in again (YYYY-MM-DD)."""
    kind: Kind = "web"
    """What the documents are: web, documentation, article, book or thread."""
    format: Literal["auto"] | Format = "auto"
    """The files' format. Default: by each file's name, then by its first bytes."""
    columns: Columns = Columns()
    """The columns of JSONL and Parquet."""
    licence: str | None = None
    """Of documents that state none themselves, such as CC-BY-SA-4.0."""
    language: str | None = None
    """Of documents that state none themselves, such as pt-BR."""
    opt_outs: Honoured = Honoured()
    """Of WARC files: which of a page's own statements against its use are obeyed, as by `crawl` and
    `ingest`."""

    @field_validator("name")
    @classmethod
    def name_is_free(cls, name: str) -> str:
        if name == "crawl":
            raise ValueError("'crawl' is the name of the crawl; choose another, such as 'papers'")
        return name

    @model_validator(mode="after")
    def says_where(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError(
                f'source {self.name!r}: set either path, such as "papers/**/*.pdf", or dataset, not both'
            )
        if self.dataset is None and (self.subset or self.revision):
            raise ValueError(
                f"source {self.name!r}: subset and revision are those of a dataset; leave them out"
            )
        if self.on_hub() and not COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                f"source {self.name!r}: revision is {self.revision!r}; set it to the data set's commit of 40 "
                f"hexadecimal digits, as its page lists them (a branch may change), or let dataset name a "
                "local folder, which is identified by its content"
            )
        return self

    def remote(self) -> bool:
        """Whether the path is an address."""
        return self.path is not None and "://" in self.path

    def on_hub(self) -> bool:
        """Whether the data set is not a folder of this machine."""
        return self.dataset is not None and not Path(self.dataset).exists()

    def place(self) -> dict[str, Any]:
        """What decides which files there are, as far as it is not their content."""
        names: tuple[str, ...] = ("subset", "split", "revision") if self.dataset is not None else ()
        if self.remote():
            names = ("path", "snapshot")
        if self.on_hub():
            names = ("dataset", *names)
        return {"name": self.name, **self.model_dump(mode="json", include=set(names))}

    def reading(self) -> dict[str, Any]:
        """How its files are read: what the extract stage's key has of it."""
        names = {"kind", "format", "columns", "licence", "language", "opt_outs"}
        return self.model_dump(mode="json", include=names)


class TakenIn(Config):
    """The configuration of the stage: where its sources are."""

    sources: tuple[SourceConfig, ...]

    def identity(self) -> dict[str, Any]:
        """Without local paths: the same files in another place are the same sources."""
        return {"sources": [source.place() for source in self.sources]}


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, as the artifact holds it."""

    source: str
    path: str
    """Within the source."""
    name: str
    """Logical name in the artifact."""
    origin: str
    """Path, URL or data set that it came from."""
    bytes: int
    sha256: str


class Files(Artifact):
    """The sources' files (`files/<source>/<path>`) and where each came from (`listing/*.jsonl`).

    A line of the listing has what `SourceFile` has. Counts: `files`, `bytes` and `files.<source>`.
    """

    stage, role = "sources", "sources"

    def listing(self) -> Iterator[SourceFile]:
        """Every file, by source and path."""
        found = []
        for path in self.paths("listing/"):
            with path.open(encoding="utf-8") as lines:
                found += [SourceFile(**json.loads(line)) for line in lines]
        yield from sorted(found, key=lambda file: (file.source, file.path))


@dataclass(frozen=True)
class Sources:
    """Files, and how they are to be read."""

    files: Files
    settings: Mapping[str, SourceConfig]
    """By name."""
    listed: "tuple[tuple[str, str, int], ...]"
    """Source, path and bytes of what is on this machine: what a plan knows of it."""

    def expected(self) -> dict[Kind, tuple[float, float]]:
        """About how many documents there are of each kind, and how many bytes: a document each, or in a
        container as many as its bytes let expect. Of what is remote nothing is known before it is here."""
        listed = self.listed
        if self.files.exists():
            listed = tuple((file.source, file.path, file.bytes) for file in self.files.listing())
        found: dict[Kind, tuple[float, float]] = {}
        for source, path, size in listed:
            settings = self.settings[source]
            format = format_by_name(path) if settings.format == "auto" else settings.format
            documents, size_of_kind = found.get(settings.kind, (0.0, 0.0))
            inside = size / DOCUMENT_BYTES[format] if format in CONTAINERS else 1
            found[settings.kind] = documents + inside, size_of_kind + size
        return found


def take_in(store: Store, sources: Sequence[SourceConfig], compute: Compute) -> Sources | None:
    """The files of all sources, in the store; None if there are none.

    Raises NoSuchSourceError where a path leads to nothing, UnreachableSourceError where an address
    does not answer.
    """
    from pipeline.corpus.local_files import list_local

    if not sources:
        return None
    config = TakenIn(sources=tuple(sources))
    local = {
        source.name: list_local(source) for source in sources if not source.remote() and not source.on_hub()
    }
    content = {f"{name}/{file.path}": file.sha256 for name, files in local.items() for file in files}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    size = sum(file.bytes for files in local.values() for file in files)
    files = store.make(
        Files,
        config,
        {},
        partial(_build, config=config, local=local, compute=compute),
        content={"files": digest},
        work=lambda: {"files": len(content), "bytes": size},
    )
    listed = tuple((name, file.path, file.bytes) for name, inside in local.items() for file in inside)
    return Sources(files, {source.name: source for source in sources}, listed)


def _build(attempt: Attempt, config: TakenIn, local: Mapping[str, Any], compute: Compute) -> Made:
    from pipeline.corpus import sources_shards as shards

    copied = compute.map_shards(
        attempt, "copy", shards.copies(config, local), shards.copy, beside_driver=True
    )
    fetched = compute.map_shards(attempt, "fetch", shards.fetches(attempt, config), shards.fetch)
    loaded = compute.map_shards(attempt, "load", shards.loads(config), shards.load)
    records = copied + fetched + loaded
    shutil.rmtree(attempt.scratch(), ignore_errors=True)
    return Made(files=files_of(records), counts=counts_of(records), incomplete=any_lost(records))

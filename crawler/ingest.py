"""The stage `ingest`: WARC files that exist already, Common Crawl's among them, enter the road in place
of a crawl.

robots.txt was obeyed, or not, by whoever made them; what a page says itself against its use is obeyed here.
What a task does with a file is in ingest_shards.py; this module holds the stage's configuration, its
artifact, and which files there are to read.
"""

import contextlib
import glob
import gzip
import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from crawler.crawl import WEB_PAGE_BYTES
from crawler.scope import Patterns
from crawler.settings import ContentTypes, Snapshot
from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.opt_outs import Honoured
from pipeline.corpus.pages import PACKED, Pages
from pipeline.errors import InputError, StageError
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Attempt, Made, ShardRecord, Store, Work, sha256_of
from pipeline.store.storage import cache_folder

URL_ARCHIVE_BYTES = 1e9
"""Of an archive that is fetched, as a plan reckons: Common Crawl's have about a gigabyte."""
GLOB_CHARACTERS = "*?["
IDENTITY_CHARACTERS = 16
SHA256_CHARACTERS = 64
SOURCES = "archives.jsonl"


class IngestConfig(Config):
    """Which archives are read, and which of their pages are taken. What is in them is part of the key,
    not where they lie; of an archive on the web its URL is."""

    archives: tuple[str, ...] = ()
    """WARC files: paths, patterns such as "crawls/*.warc.gz", or http(s) URLs."""
    list_file: str | None = None
    """A text file with more of them, one a line, such as Common Crawl's warc.paths.gz."""
    prefix: str = ""
    """Put before each line of the list, such as https://data.commoncrawl.org/."""
    max_archives: int | None = Field(default=None, ge=1)
    """Lines of the list that are read, from its beginning. Default: all."""
    snapshot: Snapshot = None
    """The web changes: a later date fetches the same URLs again (YYYY-MM-DD)."""
    allow: Patterns = ()
    """Patterns (`host/path`, with `*`; see crawler/scope.py) of which a URL must match one. Default: all."""
    deny: Patterns = ()
    """Patterns of URLs that are not taken, whatever `allow` says."""
    opt_outs: Honoured = Honoured()
    """Which of a page's own statements against its use are obeyed."""
    content_types: ContentTypes = ("text/html", "application/xhtml+xml")
    """What is taken as a page; everything else is counted."""
    max_bytes: int = Field(default=16 << 20, ge=1)
    """Of one page, after decompression."""
    keep_truncated: bool = False
    """Take pages too that whoever archived them cut off (WARC-Truncated), at a megabyte for example."""

    @model_validator(mode="after")
    def names_archives(self) -> Self:
        if not self.archives and self.list_file is None:
            raise ValueError('there is nothing to ingest: set archives, such as ["crawls/*.warc.gz"]')
        if self.list_file is None and (self.prefix or self.max_archives):
            raise ValueError("prefix and max_archives are about a list: set list_file, or leave them out")
        return self

    def identity(self) -> dict[str, Any]:
        """Without where the archives lie: their content is identity enough."""
        places = ("archives", "list_file", "prefix", "max_archives")
        return {name: value for name, value in super().identity().items() if name not in places}


class IngestedPages(Pages):
    """Pages taken from archives that others wrote: as a crawl's, with `archives.jsonl`, a line for each
    archive read (`place`, `bytes`, `sha256`, `records` by type, `damage`).

    The crawl log has a line for each URL captured: its latest page, or else what its latest capture
    was. To a crawl's outcomes come `truncated`, `not-http`, `out-of-scope`, and `no-original` (a
    revisit of what is in none of the archives). `archive` and `archive_offset` tell the record that it
    was taken from. Counts also have `archives`, `captures`, `damaged` and `records.<type>`.
    """

    stage, role, revision = "ingest", "pages", 1


class ArchiveMissingError(InputError):
    """An archive, or the list of them, is not there."""

    remedy = "Correct ingest.archives or ingest.list_file; relative paths count from the working folder."


class ArchiveChangedError(StageError):
    """A file was written to after the run began."""

    remedy = "Let nothing write to the archives meanwhile, then run again."


class NoArchiveError(StageError):
    """A file holds no web pages as they were received: it is no WARC file, or one of extracted text."""

    passes = False
    remedy = "Leave the file out, or name the WARC file that it was made from."


class DamagedArchiveError(StageError):
    """An archive is torn or damaged: some of it could not be read."""

    remedy = "Get the file again; compute.damaged_records lets the stage leave out what cannot be read."


class NoPagesInArchivesError(StageError):
    """The archives were read, and not one page was taken."""

    passes = False
    remedy = "Name other archives, or widen ingest.allow and ingest.content_types."


@dataclass(frozen=True)
class Source:
    """An archive to be read."""

    place: str
    """A path or a URL."""
    content: str
    """The SHA-256 of a file; of a URL, the URL."""

    @property
    def is_remote(self) -> bool:
        return is_url(self.place)

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()[:IDENTITY_CHARACTERS]

    @property
    def name(self) -> str:
        return (urlsplit(self.place).path if self.is_remote else self.place).rsplit("/", 1)[-1]


def ingest(store: Store, config: IngestConfig, compute: Compute) -> IngestedPages:
    """Take the pages out of the archives. Of a URL that was captured several times, the latest.

    Interrupted, it continues with the archives that are not read yet, and within one that is being
    fetched. Raises ArchiveMissingError, NoArchiveError, DamagedArchiveError or NoPagesInArchivesError.
    """
    sources = sources_of(config)
    content = hashlib.sha256("\n".join(sorted(source.content for source in sources)).encode()).hexdigest()
    return store.make(
        IngestedPages,
        config,
        {},
        partial(_build, sources=sources, config=config, compute=compute),
        content={"archives": content},
        work=partial(_work, sources),
    )


def _work(sources: list[Source]) -> Work:
    """As if all that the archives hold were pages of the usual size."""
    size = 0.0
    for source in sources:
        if source.is_remote:
            size += URL_ARCHIVE_BYTES * PACKED
        else:
            size += Path(source.place).stat().st_size * (PACKED if source.place.endswith(".gz") else 1)
    return {"archives": len(sources), "pages": max(1, int(size / WEB_PAGE_BYTES)), "bytes": size}


def _build(attempt: Attempt, sources: list[Source], config: IngestConfig, compute: Compute) -> Made:
    from crawler.cdxj import INDEX, index_archive
    from crawler.ingest_shards import Captured, Part, read_archive, write_log

    agent = f"moinho/{importlib.metadata.version('moinho')}"
    parts = {source.identity: Part(attempt, source, config, agent) for source in sources}
    read = compute.map_shards(attempt, "read", parts, read_archive)
    _check_damage(attempt, read, compute.config.damaged_records)
    found = files_of(read)
    index = index_archive(compute, attempt, found)
    captures, archives = tuple(below(found, "captures")), tuple(below(found, "archives"))
    captured = Captured(attempt, captures, archives, index[INDEX])
    logged = compute.map_shards(attempt, "log", {"00": captured}, write_log)
    counts = counts_of([*read, *logged])
    if not counts["pages"]:
        raise _no_pages(counts, config)
    shutil.rmtree(attempt.scratch(), ignore_errors=True)
    warcs = {name: file for name, file in found.items() if name.startswith("warc/")}
    files = warcs | {INDEX: index[INDEX]} | files_of(logged)
    return Made(files=files, counts=counts, incomplete=any_lost([*read, *logged]))


def below(files: Mapping[str, Any], folder: str) -> Iterator[Any]:
    """The files below a logical folder, in the order of their names."""
    for name in sorted(files):
        if name.startswith(f"{folder}/"):
            yield files[name]


def _check_damage(attempt: Attempt, read: list[ShardRecord], allowed: int) -> None:
    """Raises DamagedArchiveError if more is damaged than the user lets pass."""
    damaged = counts_of(read).get("damaged", 0)
    if damaged <= allowed:
        return
    told = next(
        json.loads(attempt.storage.read(f"{attempt.base}/{file.path}"))
        for record in read
        if record.counts.get("damaged")
        for file in below(record.files, "archives")
    )
    first = told["damage"][0]
    raise DamagedArchiveError(
        f"{told['place']}, offset {first['offset']:,}: {first['fault']}. {damaged} places in all cannot be "
        f"read; get the file again, or leave them out by --set compute.damaged_records={damaged}"
    )


def _no_pages(counts: Mapping[str, int], config: IngestConfig) -> NoPagesInArchivesError:
    outcomes = [
        f"{name.removeprefix('outcome.')} {count:,}"
        for name, count in counts.items()
        if name.startswith("outcome.")
    ]
    wanted = f" that match {' or '.join(config.allow)}" if config.allow else ""
    return NoPagesInArchivesError(
        f"{counts['archives']} archives have {counts['captures']:,} captures and no page "
        f"({', '.join(outcomes)}). Pages are answers with status 200{wanted} and "
        f"{' or '.join(config.content_types)}; name other archives, or widen the filters"
    )


def sources_of(config: IngestConfig) -> list[Source]:
    """The archives of the configuration, each content once. Raises ArchiveMissingError."""
    named = [*config.archives, *_listed(config)]
    found: dict[str, Source] = {}
    for place in (each for name in named for each in _places(name)):
        source = Source(place, place if is_url(place) else _content_of(Path(place)))
        found.setdefault(source.content, source)
    return list(found.values())


def is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _listed(config: IngestConfig) -> Iterator[str]:
    if config.list_file is None:
        return
    path = Path(config.list_file).expanduser()
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ArchiveMissingError(
            f"ingest.list_file {path} cannot be read ({error}); it is a text file with a path or URL a line"
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    for line in wanted[: config.max_archives]:
        yield line if is_url(line) else config.prefix + line


def _places(name: str) -> list[str]:
    """Files that a path or pattern means, with their whole paths; a URL is its own place."""
    if is_url(name):
        return [name]
    if "://" in name:
        raise ArchiveMissingError(f"ingest.archives: {name} is not read; write a path, or an http(s) URL")
    path = Path(name).expanduser()
    if path.is_file():
        return [str(path.absolute())]
    if path.is_dir():
        raise ArchiveMissingError(f"ingest.archives: {path} is a folder; write {path}/*.warc.gz")
    found = sorted(glob.glob(str(path), recursive=True)) if set(GLOB_CHARACTERS) & set(name) else []
    files = [str(Path(each).absolute()) for each in found if Path(each).is_file()]
    if not files:
        raise ArchiveMissingError(f"ingest.archives: there is no file {path} (from {Path.cwd()})")
    return files


def _content_of(path: Path) -> str:
    """The file's SHA-256, remembered for as long as its size and its time stamp stay."""
    try:
        about = path.stat()
        state = f"{path.resolve()}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ino}"
        known = cache_folder() / "archives" / hashlib.sha256(state.encode()).hexdigest()
        if known.exists() and len(digest := known.read_text()) == SHA256_CHARACTERS:
            return digest
        digest = sha256_of(path)
    except OSError as error:
        raise ArchiveMissingError(f"ingest.archives: {path} cannot be read ({error})") from error
    with contextlib.suppress(OSError):  # it only saves reading the file again
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(digest)
    return digest

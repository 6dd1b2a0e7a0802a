"""From the files of a source to candidates: which file, or part of a file, a task reads, and how."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.candidates import Candidate, Refused, Stated
from pipeline.corpus.extract import ExtractConfig, limit_of
from pipeline.corpus.extractor_process import Failure
from pipeline.corpus.formats import CONTAINERS, Format, format_by_name, format_of
from pipeline.corpus.readers.read import Reading
from pipeline.corpus.readers.rows import json_rows, parquet_rows
from pipeline.corpus.readers.unreadable import UnreadableFileError
from pipeline.corpus.readers.warc import archived
from pipeline.corpus.sources import Files, SourceConfig, SourceFile, Sources

KINDS_WITH_THREADS = frozenset({"web", "thread"})
"""On pages of these kinds a thread is looked for."""
FILES_PER_PART, BYTES_PER_PART = 100, 64_000_000
"""Of files that are a document each, and of a container that can be cut. No document depends on it."""
COMPRESSED = (".gz", ".zst")
NAME_CHARACTERS = 60


@dataclass(frozen=True)
class SourcePart:
    """What one task reads: files that are a document each, or a stretch of a container."""

    files: Files
    settings: SourceConfig
    entries: tuple[SourceFile, ...]
    config: ExtractConfig
    start: int = 0
    end: int | None = None
    """Bytes of a container: what begins between them is read."""

    def candidates(self) -> Iterator[Candidate | Refused]:
        """Every document of the part, or why it is not read. Raises UnreadableFileError."""
        for entry in self.entries:
            path = self.files.path(entry.name)
            named = self.settings.format
            format = format_of(path, entry.path) if named == "auto" else named
            yield from self._candidates_of(entry, path, format)

    def _candidates_of(
        self, entry: SourceFile, path: Path, format: Format | None
    ) -> Iterator[Candidate | Refused]:
        url = f"{entry.source}/{entry.path}"
        limit = limit_of(format, self.config)
        if not entry.bytes:
            yield Refused(url, entry.source, Failure("empty", "the file has no bytes"))
        elif format is None:
            told = "neither its name nor its first bytes tell its format; set the source's format"
            yield Refused(url, entry.source, Failure("unknown-format", told))
        elif format in CONTAINERS:
            yield from self._contained(url, path, format)
        elif entry.bytes > limit:
            yield Refused(url, entry.source, Failure("too-large", f"{entry.bytes} bytes", limit))
        else:
            yield self.candidate(url, path.read_bytes(), Reading(format, threads=self.threads))

    def _contained(self, url: str, path: Path, format: Format) -> Iterator[Candidate | Refused]:
        found = {"jsonl": json_rows, "parquet": parquet_rows, "warc": archived}[format](self, url, path)
        try:
            first = next(found, None)
        except UnreadableFileError as error:
            if self.start:
                return  # the part at the file's beginning says it for the whole file
            if len(self.entries) == 1:
                raise
            # Its name did not tell what it is, so it came among files that are a document each.
            first = self.refused(url, "unreadable", str(error))
        if first is not None:
            yield first
            yield from found
        elif self.start == 0 and self.end is None:
            yield Refused(url, self.settings.name, Failure("empty", "the file holds no document"))

    @property
    def threads(self) -> bool:
        return self.settings.kind in KINDS_WITH_THREADS

    def candidate(
        self,
        url: str,
        data: bytes,
        reading: Reading,
        beside: Stated | None = None,
        content: str | None = None,
    ) -> Candidate | Refused:
        """A document of this part, unless it is too long."""
        limit = limit_of(reading.format, self.config)
        if len(data) > limit:
            return Refused(url, self.settings.name, Failure("too-large", f"{len(data)} bytes", limit))
        of_source = Stated(licence=self.settings.licence, language=self.settings.language)
        return Candidate(
            url,
            self.settings.name,
            self.settings.kind,
            data,
            reading,
            beside=beside or Stated(),
            of_source=of_source,
            content=content,
        )

    def unreadable(self, url: str, told: str) -> UnreadableFileError:
        """The error to raise where nothing in a file can be counted."""
        name = self.settings.name
        return UnreadableFileError(f"source {name!r}, file {url.removeprefix(f'{name}/')}: {told}")

    def refused(self, url: str, reason: str, detail: str, threshold: float | None = None) -> Refused:
        return Refused(url, self.settings.name, Failure(reason, detail[:500], threshold))


def parts_of(sources: Sources, config: ExtractConfig) -> Mapping[str, SourcePart]:
    """All files of all sources in parts. The identity of a container's part has the file's name."""
    found: dict[str, SourcePart] = {}
    single: dict[str, list[SourceFile]] = {}
    for entry in sources.files.listing():
        settings = sources.settings[entry.source]
        format = format_by_name(entry.path) if settings.format == "auto" else settings.format
        if format in CONTAINERS:
            for start, end in _stretches(entry, format):
                part = SourcePart(sources.files, settings, (entry,), config, start, end)
                found[f"{_slug(entry)}-{start:013d}"] = part
        else:
            single.setdefault(entry.source, []).append(entry)
    for name, entries in single.items():
        for number in range(0, len(entries), FILES_PER_PART):
            inside = tuple(entries[number : number + FILES_PER_PART])
            part = SourcePart(sources.files, sources.settings[name], inside, config)
            found[f"{name}-{number:07d}"] = part
    return found


def _stretches(entry: SourceFile, format: Format) -> Iterator[tuple[int, int | None]]:
    if format == "warc" or entry.path.endswith(COMPRESSED) or entry.bytes <= BYTES_PER_PART:
        yield 0, None
        return
    for start in range(0, entry.bytes, BYTES_PER_PART):
        yield start, start + BYTES_PER_PART


def _slug(entry: SourceFile) -> str:
    """A name for a file that no other file of its source has."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", entry.path)[-NAME_CHARACTERS:].strip("-.")
    return f"{entry.source}-{readable}-{hashlib.sha256(entry.path.encode()).hexdigest()[:8]}"

"""The stage that reads: crawled pages and the user's sources → raw documents, or a reason why there is none.

Which code reads what is in extract_shards.py; this module holds the stage's configuration,
its artifact and the order of its steps.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.formats import Format
from pipeline.corpus.kinds import Kind
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, ShardRecord, Store, Work

if TYPE_CHECKING:
    from pipeline.corpus.pages import Pages
    from pipeline.corpus.sources import SourceConfig, Sources

PAGES_PER_SHARD = 100
"""Pages that one Ray task reads. The documents are the same whatever this is."""


class ExtractConfig(Config):
    """How text is taken out of pages and files."""

    extractor: Literal["trafilatura", "resiliparse", "fast-then-careful"] = "trafilatura"
    """trafilatura finds the main text best, resiliparse is several times as fast; fast-then-careful asks
    trafilatura only where resiliparse is unsure."""
    kind: Kind = "web"
    """What the crawled pages are; the quality rules' profile follows it. A source has its own."""
    shards: int = Field(default=4, ge=1, le=10_000)
    """Files that the documents are spread over, by a hash of their id."""
    page_bytes: int = Field(default=20_000_000, ge=1)
    """A page, a text or a row that is longer is dropped."""
    file_bytes: int = Field(default=100_000_000, ge=1)
    """A PDF or an EPUB that is longer is dropped; its pictures count."""
    cpu_seconds: float = Field(default=30.0, gt=0)
    """CPU time per page; a page that takes longer is tried once more by itself, then dropped."""
    memory_bytes: int = Field(default=2_000_000_000, ge=50_000_000)
    """Memory that the extractor may take for one page."""


def limit_of(format: Format | None, config: ExtractConfig) -> int:
    """Bytes that a document of this format may have."""
    return config.file_bytes if format in {"pdf", "epub"} else config.page_bytes


class RawDocuments(Artifact):
    """Every page as a raw document in `raw/`, or with the reason why it is none in `dropped/`.

    Files that could not be read at all, within the user's limit, are named in `set-aside.jsonl`.
    Counts: `pages` = `raw` + the sum of `dropped.<reason>`; `bytes` are those of the documents as they came;
    both of documents by kind are `raw.<kind>` and `bytes.<kind>`. Where there are any,
    `replaced-characters` are U+FFFD in the raw documents' text, for bytes that are no character of their
    encoding (most often of invalid UTF-8), `removed-nuls` NUL characters that were taken out;
    `documents-with-replaced` and `documents-with-nuls` have such. `threads-unrecognised` are the
    HTML pages of kind thread, if there are any, in which no thread was found: who asks and who answers
    is lost.
    """

    stage, role, revision = "extract", "raw", 5


def extract(
    store: Store, pages: "Pages | None", sources: "Sources | None", config: ExtractConfig, compute: Compute
) -> RawDocuments:
    """Raw documents from crawled pages and from sources, spread over shards by document id, sorted within.

    For every page, file or row there is one raw document or one dropped page with its reason; the
    counts say so. A file that cannot be read at all loses its shard.
    """
    settings = sources.settings if sources is not None else {}
    return store.make(
        RawDocuments,
        config,
        {"pages": pages, "sources": sources.files if sources else None},
        partial(_build, pages=pages, sources=sources, config=config, compute=compute),
        content=_reading(settings),
        work=partial(_work, pages, sources, config),
    )


def raw_documents(
    store: Store, pages: "Pages | None", sources: "Sources | None", config: ExtractConfig
) -> RawDocuments:
    """What `extract` finds or makes of these."""
    settings = sources.settings if sources is not None else {}
    inputs = {"pages": pages, "sources": sources.files if sources else None}
    return store.handle(RawDocuments, config, inputs, _reading(settings))


def _reading(settings: "Mapping[str, SourceConfig]") -> dict[str, str]:
    """How each source is read; what it holds is in the key of its files."""
    return {
        f"source {name}": json.dumps(source.reading(), sort_keys=True)
        for name, source in sorted(settings.items())
    }


def _work(pages: "Pages | None", sources: "Sources | None", config: ExtractConfig) -> Work:
    """All that there is, and of each kind (`raw.<kind>`, `bytes.<kind>`), as if nothing were dropped."""
    kinds: dict[Kind, tuple[float, float]] = {} if sources is None else sources.expected()
    if pages is not None:
        found, size = kinds.get(config.kind, (0.0, 0.0))
        kinds[config.kind] = found + pages.counts()["pages"], size + pages.page_bytes()
    together = sum(size for _, size in kinds.values())
    return {
        "pages": max(1.0, sum(found for found, _ in kinds.values())),
        "bytes": together,
        f"{config.extractor}.bytes": together,
        **{f"raw.{kind}": found for kind, (found, _) in kinds.items()},
        **{f"bytes.{kind}": size for kind, (_, size) in kinds.items()},
    }


def _build(
    attempt: Attempt,
    pages: "Pages | None",
    sources: "Sources | None",
    config: ExtractConfig,
    compute: Compute,
) -> Made:
    from pipeline.corpus import extract_shards
    from pipeline.corpus.readers.files import parts_of
    from pipeline.corpus.tables import require_all

    read: list[ShardRecord] = []
    if pages is not None:
        slices = dict(extract_shards.slices(pages, config, PAGES_PER_SHARD))
        read += compute.map_shards(attempt, "read", slices, extract_shards.read_slice)
    if sources is not None:
        parts = parts_of(sources, config)
        read += compute.map_shards(attempt, "read-sources", parts, extract_shards.read_part)
    buckets: dict[str, Any] = {
        f"{number:05d}": extract_shards.Bucket(attempt, number, extract_shards.parts(read, number))
        for number in range(config.shards)
    }
    written = compute.map_shards(attempt, "redistribute", buckets, extract_shards.write_bucket)
    counts, lost = counts_of(written), any_lost(read + written)
    files = files_of(written)
    if lost:
        files |= _set_aside(attempt, [record for record in read + written if record.lost])
    else:
        require_all("extract", counts_of(read).get("pages", 0), counts.get("pages", 0))
    return Made(files=files, counts=counts_of(read) | counts, incomplete=lost)


def _set_aside(attempt: Attempt, lost: list[ShardRecord]) -> dict[str, Any]:
    """The names of the shards that could not be read, each with the reason."""
    path = attempt.path("set-aside.jsonl")
    with path.open("w", encoding="utf-8") as lines:
        for record in lost:
            lines.write(
                json.dumps({"shard": record.identity, "reason": record.lost}, ensure_ascii=False) + "\n"
            )
    return {"set-aside.jsonl": attempt.publish(path)}

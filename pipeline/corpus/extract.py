"""The stage that reads pages: WARC records → raw documents, or a reason why there is none.

Which code reads the pages is in extract_shards.py; this module holds the stage's configuration,
its artifact and the order of its steps.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.compute import Compute, any_lost, counts_of, files_of
from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store, Work

if TYPE_CHECKING:
    from pipeline.corpus.pages import Pages

PAGES_PER_SHARD = 100
"""Pages that one Ray task reads. The documents are the same whatever this is."""


class ExtractConfig(Config):
    """How text is taken out of pages."""

    extractor: Literal["trafilatura", "resiliparse"] = "trafilatura"
    """trafilatura finds the main text best; resiliparse is about seven times as fast."""
    kind: Literal["web", "documentation"] = "web"
    """What the pages are; the quality rules' profile follows it."""
    shards: int = Field(default=4, ge=1, le=10_000)
    """Files that the documents are spread over, by a hash of their id."""
    page_bytes: int = Field(default=20_000_000, ge=1)
    """A page whose HTML is longer is dropped."""
    cpu_seconds: float = Field(default=30.0, gt=0)
    """CPU time per page; a page that takes longer is tried once more by itself, then dropped."""
    memory_bytes: int = Field(default=2_000_000_000, ge=50_000_000)
    """Memory that the extractor may take for one page."""


class RawDocuments(Artifact):
    """Every page as a raw document in `raw/`, or with the reason why it is none in `dropped/`."""

    stage, role, revision = "extract", "raw", 2


def extract(store: Store, pages: "Pages", config: ExtractConfig, compute: Compute) -> RawDocuments:
    """Raw documents from the crawled pages, spread over shards by document id and sorted within.

    For every page there is one raw document or one dropped page with its reason; the counts say so.
    """
    return store.make(
        RawDocuments,
        config,
        {"pages": pages},
        partial(_build, pages=pages, config=config, compute=compute),
        work=partial(_work, pages, config),
    )


def _work(pages: "Pages", config: ExtractConfig) -> Work:
    size = pages.page_bytes()
    return {"pages": pages.counts()["pages"], "bytes": size, f"{config.extractor}.bytes": size}


def _build(attempt: Attempt, pages: "Pages", config: ExtractConfig, compute: Compute) -> Made:
    from pipeline.corpus import extract_shards
    from pipeline.corpus.tables import require_all

    slices = dict(extract_shards.slices(pages, config, PAGES_PER_SHARD))
    read = compute.map_shards(attempt, "read", slices, extract_shards.read_slice)
    buckets: dict[str, Any] = {
        f"{number:05d}": extract_shards.Bucket(attempt, number, extract_shards.parts(read, number))
        for number in range(config.shards)
    }
    written = compute.map_shards(attempt, "redistribute", buckets, extract_shards.write_bucket)
    counts, lost = counts_of(written), any_lost(read + written)
    if not lost:
        require_all("extract", counts_of(read).get("pages", 0), counts.get("pages", 0))
    return Made(files=files_of(written), counts=counts, incomplete=lost)

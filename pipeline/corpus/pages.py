"""What a crawl made: archived pages, and a log with a line for each URL tried."""

import heapq
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from pipeline.store import Artifact, File, Storage

PACKED = 4.5
"""Bytes of HTML for a byte of WARC; between 3.9 and 6.3 in four crawls of documentation."""


EARLIER = "earlier"
"""Name of the input that a recrawl stands on."""
STORED = frozenset({"page", "changed"})
"""Outcomes of pages whose body is in the crawl's own archive; `changed` is another than the earlier one's."""
TAKEN_OVER = frozenset({"unchanged", "not-due"})
"""Outcomes of pages whose body is the one that the earlier crawl has."""
KEPT = STORED | TAKEN_OVER
"""Outcomes of all pages that a crawl has."""


class OriginalMissingError(StageError):
    """A recrawl's page is said to be unchanged, and the crawl before has none of it."""

    remedy = "Discard the recrawl with `moinho rm`, then run again."


@dataclass(frozen=True)
class PageEntry:
    """Where a page's body lies: in a response record."""

    url: str
    crawl: str
    """Key of the crawl whose archive has it: of this one, or of an earlier one."""
    warc: str
    """Logical name of the WARC file."""
    offset: int
    """Of the record's gzip member, in bytes."""
    length: int
    content_type: str | None
    sha256: str | None
    """Of the body."""


@dataclass(frozen=True)
class Archive:
    """A WARC file in the store, also one of a crawl that is not finished."""

    storage: Storage
    base: str
    """Folder of the crawl."""
    file: File

    def path(self) -> Path:
        """A local file with its content."""
        return self.storage.download(f"{self.base}/{self.file.path}", self.file.sha256)


class Pages(Artifact):
    """Web pages as WARC 1.1 (`warc/*.warc.gz`), the crawl log (`crawl-log/*.jsonl`, sorted by URL), and a
    report (`report.html`).

    A line of the log has `url`, `outcome` (one of KEPT, or why there is no page), `status`, `content_type`,
    `bytes`, `depth` (links from a seed), `referrer`, `warc`, `offset`, `length`, `sha256` (of the
    body), `fetched` (UTC) and `detail`; what does not apply is null. Counts: `pages`, `tried`,
    `left` (known, but beyond the limits of the configuration), `outcome.<name>` and `out-of-scope.<reason>`
    (URLs that were found and are not wanted; beyond 1,000 an estimate).

    A recrawl has an earlier crawl as its input `earlier`. A page that is `unchanged` (its place is then a
    revisit record's) or was `not-due` to be asked for has the body that it has in the earlier crawl; so
    that is kept for as long as this one is, and read together with it.
    """

    stage, role, revision = "crawl", "pages", 1

    def log(self) -> Iterator[dict[str, Any]]:
        """What became of each URL tried, by partition and URL."""
        for path in self.paths("crawl-log/"):
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield json.loads(line)

    @property
    def earlier(self) -> "Pages | None":
        """The crawl that this one stands on, if it is a recrawl."""
        given = self.record.inputs.get(EARLIER)
        return Pages(self.storage, given.key) if given is not None else None

    def of_crawl(self, key: str) -> "Pages":
        """This crawl, or the earlier one that has the key."""
        pages: Pages | None = self
        while pages is not None and pages.key != key:
            pages = pages.earlier
        if pages is None:
            raise KeyError(f"{self.base} does not stand on a crawl {key}")
        return pages

    def archive(self, warc: str) -> Archive:
        return Archive(self.storage, self.base, self.record.files[warc])

    def page_bytes(self) -> float:
        """About how much HTML there is, or in a plan is expected to be."""
        if not self.exists():
            return self.counts()["bytes"]
        own = PACKED * sum(file.bytes for name, file in self.record.files.items() if name.startswith("warc/"))
        if self.earlier is None:
            return own
        taken = sum(self.counts().get(f"outcome.{outcome}", 0) for outcome in TAKEN_OVER)
        return own + self.earlier.page_bytes() * taken / max(1, self.earlier.counts()["pages"])

    def entries(self) -> Iterator[PageEntry]:
        """Every page, by URL. Raises OriginalMissingError if a body is not where it should be."""
        before = self.earlier.entries() if self.earlier is not None else iter(())
        original = next(before, None)
        for line in self._sorted_log():
            if line["outcome"] in STORED:
                yield entry_of(line, self.key)
            elif line["outcome"] in TAKEN_OVER:
                while original is not None and original.url < line["url"]:
                    original = next(before, None)
                if original is None or original.url != line["url"]:
                    raise self._no_original(line)
                yield original

    def _sorted_log(self) -> Iterator[dict[str, Any]]:
        """What became of each URL tried, by URL: the partitions' logs are sorted each."""
        with ExitStack() as stack:
            logs = [
                map(json.loads, stack.enter_context(path.open(encoding="utf-8")))
                for path in self.paths("crawl-log/")
            ]
            yield from heapq.merge(*logs, key=lambda line: line["url"])

    def _no_original(self, line: dict[str, Any]) -> OriginalMissingError:
        stands_on = f"in {self.earlier.base}" if self.earlier is not None else "and there is no earlier crawl"
        return OriginalMissingError(
            f"{self.base}: {line['url']} is {line['outcome']}, and has no page {stands_on}; discard it "
            f"with `moinho rm {self.base}`, then run again"
        )


def entry_of(line: dict[str, Any], crawl: str) -> PageEntry:
    """Where the body lies of which a line of the crawl's log tells."""
    return PageEntry(
        line["url"],
        crawl,
        line["warc"],
        line["offset"],
        line["length"],
        line["content_type"],
        line.get("sha256"),
    )

"""What a crawl made: archived pages, and a log with a line for each URL tried."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.store import Artifact

PACKED = 4.5
"""Bytes of HTML for a byte of WARC; between 3.9 and 6.3 in four crawls of documentation."""


@dataclass(frozen=True)
class PageEntry:
    """Where a page's response record lies."""

    url: str
    warc: str
    """Logical name of the WARC file."""
    offset: int
    """Of the record's gzip member, in bytes."""
    length: int
    content_type: str | None


class Pages(Artifact):
    """Web pages as WARC 1.1 (`warc/*.warc.gz`), the crawl log (`crawl-log/*.jsonl`, sorted by URL), and a
    report (`report.html`).

    A line of the log has `url`, `outcome` (`page`, or why there is none), `status`, `content_type`,
    `bytes`, `depth` (links from a seed), `referrer`, `warc`, `offset`, `length`, `sha256` (of the
    body), `fetched` (UTC) and `detail`; what does not apply is null. Counts: `pages`, `tried`,
    `left` (known, but beyond the limits of the configuration) and `outcome.<name>`.
    """

    stage, role, revision = "crawl", "pages", 1

    def log(self) -> Iterator[dict[str, Any]]:
        """What became of each URL tried, by partition and URL."""
        for path in self.paths("crawl-log/"):
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield json.loads(line)

    def page_bytes(self) -> float:
        """About how much HTML there is, or in a plan is expected to be."""
        if not self.exists():
            return self.counts()["bytes"]
        return PACKED * sum(
            file.bytes for name, file in self.record.files.items() if name.startswith("warc/")
        )

    def entries(self) -> Iterator[PageEntry]:
        """Every stored page, by partition and URL."""
        for line in self.log():
            if line["outcome"] == "page":
                yield PageEntry(
                    line["url"], line["warc"], line["offset"], line["length"], line["content_type"]
                )

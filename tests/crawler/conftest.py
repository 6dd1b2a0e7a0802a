"""One partition's crawl without Ray: the real child process against a real server."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crawler.child import run_spider
from crawler.crawl import hosts_of
from crawler.frontier import Frontier
from crawler.options import FRONTIER, Options
from pipeline.store import Journal, Storage

Crawl = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(
        folder=str(tmp_path / "crawl"),
        seeds=[],
        allowed_hosts=[],
        user_agent="moinho/test (+https://example.org/moinho)",
        max_pages=1000,
        max_depth=None,
        max_seconds=None,
        delay_seconds=0.0,
        requests_per_host=4,
        requests=16,
        timeout_seconds=5.0,
        max_bytes=1 << 20,
        content_types=["text/html", "application/xhtml+xml"],
        hosts={},
        private_hosts=["127.0.0.1"],
    )


@pytest.fixture
def crawl_here(options: Options, tmp_path: Path) -> Crawl:
    """Crawls from seeds to the end; gives the crawl log's lines by URL."""

    def crawl(*seeds: str, **changes: Any) -> dict[str, dict[str, Any]]:
        changed = replace(options, seeds=list(seeds), allowed_hosts=hosts_of(seeds), **changes)
        folder = Path(changed.folder)
        folder.mkdir(exist_ok=True)
        journal = Journal(Storage(str(tmp_path)), "journal", "spider")
        run_spider(changed, journal, folder / "spider.log")
        frontier = Frontier(folder / FRONTIER)
        lines = {line["url"]: line for line in frontier.log()}
        frontier.close()
        return lines

    return crawl

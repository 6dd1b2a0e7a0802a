"""Pages per CPU-second of a whole crawl, against a spider of a few lines that keeps the same pages."""

import argparse
import contextlib
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType

from crawler.child import run_spider
from crawler.crawl import OWN_SITE_REQUESTS, hosts_of
from crawler.options import Options
from pipeline.store import Journal, Storage
from tests.benchmarks.measure import Result, cpu_seconds, in_turn

PAGES, LINKS = 5_000, 60
REQUESTS = 32


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, default=PAGES, help="pages of the site")
    parser.add_argument("--links", type=int, default=LINKS, help="links of a page")


def run(given: argparse.Namespace) -> Result:
    """The CPU time is that of all processes of a crawl, from the start of the interpreter to its end."""
    with (
        tempfile.TemporaryDirectory(prefix="moinho-crawl-") as folder,
        _site(given.pages, given.links) as url,
    ):
        crawls = Crawls(Path(folder), url, given.pages)
        pairs = in_turn(crawls.ours, crawls.reference, given.pairs)
        return Result(
            "crawl", "pages per CPU-second", 1.0, pairs, {"pages": given.pages, "links": given.links}
        )


@contextlib.contextmanager
def _site(pages: int, links: int) -> Iterator[str]:
    """The address of a site's front page. Its server's CPU time is nobody's."""
    command = [sys.executable, "-m", "tests.benchmarks.served_site", str(pages), str(links)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/"


class Crawls:
    """Both crawls of one site. Each run begins with nothing, and is checked for having kept every page."""

    def __init__(self, folder: Path, url: str, pages: int) -> None:
        self.folder, self.url, self.pages = folder, url, pages
        self.kept: dict[str, bytes] = {}
        """What the first run kept, by URL; every other one must have kept the same."""

    def ours(self) -> float:
        """The child process that the stage's Ray task starts, and what its parent does meanwhile."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            journal = Journal(Storage(name), "journal", "spider")
            with cpu_seconds() as used:
                run_spider(self._options(folder), journal, folder / "spider.log")
            self._check(_archived(folder / "warc"))
        return self.pages / used[0]

    def reference(self) -> float:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            file = Path(name) / "pages.jsonl.gz"
            limits = [str(REQUESTS), str(OWN_SITE_REQUESTS)]
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.reference_spider",
                self.url,
                str(file),
                *limits,
            ]
            with cpu_seconds() as used:
                subprocess.run(command, check=True)
            with gzip.open(file, "rt") as lines:
                self._check({line["url"]: line["html"].encode() for line in map(json.loads, lines)})
        return self.pages / used[0]

    def _options(self, folder: Path) -> Options:
        return Options(
            folder=str(folder),
            seeds=[self.url],
            allowed_hosts=hosts_of([self.url]),
            user_agent="moinho/benchmark",
            max_pages=10 * self.pages,
            max_depth=None,
            max_seconds=None,
            delay_seconds=0.0,
            requests_per_host=OWN_SITE_REQUESTS,
            requests=REQUESTS,
            timeout_seconds=30.0,
            max_bytes=16 << 20,
            content_types=["text/html", "application/xhtml+xml"],
            hosts={},
            private_hosts=["127.0.0.1"],
        )

    def _check(self, found: dict[str, bytes]) -> None:
        if len(found) != self.pages or (self.kept and found != self.kept):
            raise RuntimeError(f"{len(found)} pages were kept, {self.pages} should be, the same by both")
        self.kept = found


def _archived(folder: Path) -> dict[str, bytes]:
    return {
        record.headers["WARC-Target-URI"]: record.reader.read()
        for path in sorted(folder.glob("*.warc.gz"))
        for record in ArchiveIterator(str(path), record_types=WarcRecordType.response)
    }

"""Whole sites of Debian's documentation, served as plain files: every page that links lead to, and no other.

What can be reached is counted by the standard library's parser over the files, without anything of
the crawler's. The server names types and no character sets.
"""

import contextlib
import http.server
import posixpath
import re
import subprocess
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pyarrow.parquet as parquet
import pytest

from crawler.crawl import CrawlConfig, crawl
from pipeline.compute import Compute
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.store import Store
from tests.machine import SERVICES_REQUIRED

LINKING = {"a": "href", "area": "href", "frame": "src", "iframe": "src"}
"""Elements that lead to pages, and where they say to which."""
ACCENTED = re.compile(r"\b\w*[áàâãéêíóôõúç]\w*\b", re.IGNORECASE)
WORDS = 12
"""Accented words of a page that are looked for in its text."""


@dataclass(frozen=True)
class Documentation:
    """A site that a Debian package installs."""

    package: str
    folder: str
    seeds: tuple[str, ...] = ("/index.html",)
    fewest: int = 50
    """Pages that there are at least, lest both counts be of nothing."""


SITES = (
    Documentation("python3.11-doc", "/usr/share/doc/python3.11/html", fewest=500),
    Documentation("git-doc", "/usr/share/doc/git-doc", fewest=200),
    Documentation("apache2-doc", "/usr/share/doc/apache2-doc/manual", fewest=1_000),
)
PORTUGUESE = Documentation(
    "focalinux-html",
    "/usr/share/doc/focalinux/html",
    tuple(f"/{part}/index.html" for part in ("iniciante", "intermediario", "avancado")),
    fewest=70,
)


class _Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def list_directory(self, path: object) -> None:  # type: ignore[override]
        self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.found = "", list[str]()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = dict(attributes)
        if tag == "base" and not self.base:
            self.base = said.get("href") or ""
        link = said.get(LINKING.get(tag, ""))
        if link is not None:
            self.found.append(link.strip())


def reachable(folder: Path, seeds: tuple[str, ...]) -> set[str]:
    """Paths of the HTML files that links lead to, as the files themselves say."""
    waiting, reached = list(seeds), set(seeds)
    pages = set()
    while waiting:
        path = waiting.pop()
        file = folder / unquote(path).lstrip("/")
        if file.is_dir():
            path = f"{path.rstrip('/')}/"  # to which servers redirect
            file = file / "index.html"
        if file.suffix not in (".html", ".htm") or not file.is_file():
            continue
        pages.add(path)
        for target in _targets(path, file):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return pages


def _targets(path: str, file: Path) -> Iterator[str]:
    """Paths on the same site."""
    parser = _Links()
    parser.feed(file.read_text(encoding="latin-1"))
    base = urljoin(f"http://here{path}", parser.base)
    for link in parser.found:
        with contextlib.suppress(ValueError):
            parts = urlsplit(urljoin(base, link))
            if parts.scheme == "http" and parts.netloc == "here":
                yield posixpath.normpath(parts.path) + ("/" if parts.path[1:].endswith("/") else "")


def require(site: Documentation) -> Path:
    folder = Path(site.folder)
    if not folder.is_dir():
        missing = f"{site.package} is not installed (infra/install-test-services.sh)"
        if SERVICES_REQUIRED:
            pytest.fail(missing)
        pytest.skip(missing)
    return folder


def config_for(origin: str, site: Documentation) -> CrawlConfig:
    return CrawlConfig(
        seeds=tuple(origin + path for path in site.seeds),
        private_hosts=("127.0.0.1",),
        delay_seconds=0,
        requests_per_host=8,
        contact="https://crawler.example/",
    )


@pytest.mark.everything
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("site", [*SITES, PORTUGUESE], ids=lambda site: site.package)
def test_a_real_site_is_crawled_to_its_last_page(site: Documentation, store: Store, compute: Compute) -> None:
    folder = require(site)
    with served(folder) as origin:
        pages = crawl(store, None, config_for(origin, site), compute)
    expected = reachable(folder, site.seeds)
    assert len(expected) >= site.fewest
    found = [unquote(urlsplit(entry.url).path) for entry in pages.entries()]
    assert set(found) == expected
    assert len(found) == len(expected) == pages.counts()["pages"]


@pytest.mark.everything
@pytest.mark.timeout(1800)
def test_portuguese_in_iso_8859_comes_out_right(store: Store, compute: Compute) -> None:
    """The words of iconv's own conversion of a file are in the text that was extracted from its page."""
    folder = require(PORTUGUESE)
    with served(folder) as origin:
        pages = crawl(store, None, config_for(origin, PORTUGUESE), compute)
    raw = extract(store, pages, None, ExtractConfig(), compute)
    rows = [row for path in raw.paths("raw/") for row in parquet.read_table(path).to_pylist()]
    texts = {unquote(urlsplit(row["url"]).path): row["text"] for row in rows}
    assert len(texts) >= PORTUGUESE.fewest * 0.9
    checked = 0
    for path, text in texts.items():
        words = ACCENTED.findall(_body_text(folder / path.lstrip("/")))[:WORDS]
        found = unicodedata.normalize("NFC", text)
        checked += sum(word in found for word in words)
        assert "\ufffd" not in text, path
        assert sum(word in found for word in words) >= 0.7 * len(words), (path, words)
    assert checked > 500


def _body_text(file: Path) -> str:
    """What a file says between its tags within <p>, as iconv reads it."""
    command = ["iconv", "-f", "ISO-8859-1", "-t", "UTF-8", str(file)]
    html = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    paragraphs = re.findall(r"<p>(.*?)</p>", html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", each) for each in paragraphs)

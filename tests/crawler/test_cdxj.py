"""The index: keys as the Internet Archive's tools make them, captures where other readers find them."""

import base64
import dataclasses
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st

from crawler import line_sort
from crawler.cdxj import INDEX, Index, index_archive, key_of, lines_of
from crawler.line_sort import sort_lines
from crawler.warc import Archive, Original
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.corpus.pages import Pages
from pipeline.store import Attempt, Made, Store
from tests.corpus.conftest import InThisProcess
from tests.crawler.test_warc import exchange

URLS = st.builds(
    "http://{}.org/{}?{}".format,
    st.sampled_from(["a", "b", "a.b", "www.a", "aa"]),
    st.text("abA/.%é ", max_size=4),
    st.text("ab=&", max_size=3),
)


@pytest.fixture
def here() -> Compute:
    return InThisProcess(ComputeConfig())


@pytest.mark.parametrize(
    ("url", "key"),
    [  # as the package surt 0.3.1 makes them
        ("http://example.org", "org,example)/"),
        ("https://www.Example.org:8080/a/B?c=1&b=2#f", "org,example:8080)/a/b?b=2&c=1"),
        ("https://www2.example.org:443/A/", "org,example)/a"),
        ("http://example.org:443/a", "org,example:443)/a"),
        ("http://wwwx.org./", "org,wwwx)/"),
        ("http://1.2.3.4/a", "4,3,2,1)/a"),
        ("http://[2001:db8::1]/x", "2001:db8::1)/x"),
        ("http://user@example.org/%7Euser/caf%c3%a9", "org,example)/~user/caf%c3%a9"),
        ("http://éx.org/é", "org,xn--x-9fa)/%c3%a9"),
        ("http://example.org/a%20b/./c//../d", "org,example)/a%20b/d"),
        ("http://example.org/a?", "org,example)/a"),
        ("http://example.org/a?b=&a", "org,example)/a?a&b="),
        ("http://example.org/a?q=c+d&q=c%20d", "org,example)/a?q=c%20d&q=c+d"),
        ("http://example.org/a;b?u=http://other.org/x?y", "org,example)/a;b?u=http://other.org/x?y"),
        ("dns:example.org", "dns:example.org"),
    ],
)
def test_a_key_is_the_url_with_its_host_reversed(url: str, key: str) -> None:
    assert key_of(url) == key


@given(st.text())
def test_every_text_has_a_key_of_one_word(text: str) -> None:
    assert len(f"{key_of(text)}x".split()) == 1
    assert len(f"{key_of(f'http://{text}/{text}')}x".split()) == 1


@pytest.fixture
def archive_folder(tmp_path: Path) -> Path:
    """WARC files with pages, a revisit and opt-outs, on several hosts."""
    archive = Archive(tmp_path, "00", "moinho/test", file_bytes=2_000)
    urls = [f"http://{host}.org/{number}" for host in ("b", "www.a", "a") for number in (10, 9)]
    for url in ["http://a.org/?z=1&a=2", "http://a.org/Caf%C3%A9", *urls]:
        stored = archive.write(exchange(url, f"body of {url}".encode()))
    first = exchange(urls[0], b"body")
    archive.write_revisit(first, Original(first.url, first.fetched, stored.record_id, stored.digest))
    archive.write(dataclasses.replace(first, opt_outs=(("X-Robots-Tag", "noai"),)))
    archive.close()
    return tmp_path


def indexed(lines: Iterable[str]) -> list[tuple[str, str, dict[str, str]]]:
    split = [line.split(" ", 2) for line in lines]
    return [(key, timestamp, json.loads(fields)) for key, timestamp, fields in split]


def test_the_index_is_the_one_that_another_tool_makes(
    store: Store, here: Compute, archive_folder: Path
) -> None:
    def build(attempt: Attempt) -> Made:
        for path in archive_folder.glob("*.warc.gz"):
            shutil.copy(path, attempt.path(f"warc/{path.name}"))
        files = attempt.publish_folder("warc")
        return Made(files=files | index_archive(here, attempt, files))

    warcs = sorted(map(str, archive_folder.glob("*.warc.gz")))
    assert len(warcs) > 2
    archive = store.make(Pages, Config(), {}, build)
    found = archive.path(INDEX).read_bytes().splitlines()
    assert found == sorted(found)
    tool = subprocess.run(
        [sys.executable, "-c", "from cdxj_indexer.main import main; main()", *warcs],
        check=True,
        capture_output=True,
        text=True,
    )
    expected = indexed(tool.stdout.splitlines())
    assert len(expected) == 10
    assert sorted(map(str, indexed(line.decode() for line in found))) == sorted(map(str, expected))
    check = [sys.executable, "-m", "warcio.cli", "check", *warcs]
    assert subprocess.run(check, check=False).returncode == 0


def test_a_capture_is_where_its_line_says(archive_folder: Path) -> None:
    seen = 0
    for path in sorted(archive_folder.glob("*.warc.gz")):
        for _, _, fields in indexed(line.decode() for line in lines_of(path, path.name)):
            with path.open("rb") as file:
                file.seek(int(fields["offset"]))
                record = next(iter(ArchiveIterator(io.BytesIO(file.read(int(fields["length"]))))))
            assert record.headers["WARC-Target-URI"] == fields["url"]
            if fields["mime"] != "warc/revisit":
                digest = base64.b32encode(hashlib.sha1(record.reader.read()).digest()).decode()
                assert fields["digest"] == f"sha1:{digest}"
            seen += 1
    assert seen == 10


@given(urls=st.lists(URLS, max_size=30), asked=URLS)
def test_every_capture_of_a_url_is_found_and_no_other(
    urls: list[str], asked: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("index") / "index.cdxj"
    lines = [
        f"{key_of(url)} 20260101000000 "
        + json.dumps({"url": url, "offset": str(number), "length": "1", "filename": "a"})
        for number, url in enumerate(urls)
    ]
    sort_lines((f"{line}\n".encode() for line in lines), path)
    with Index(path) as index:
        for url in [*urls, asked]:
            expected = [number for number, other in enumerate(urls) if key_of(other) == key_of(url)]
            assert sorted(capture.offset for capture in index.captures(url)) == expected


def test_lines_that_memory_does_not_hold_are_sorted_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_sort, "PIECE_LINES", 3)
    monkeypatch.setattr(line_sort, "MERGED_FILES", 2)
    lines = [b"%d\n" % (number * 7919 % 104729) for number in range(50)]
    sort_lines(iter(lines), tmp_path / "sorted")
    assert (tmp_path / "sorted").read_bytes() == b"".join(sorted(lines))
    assert [path.name for path in tmp_path.iterdir()] == ["sorted"]

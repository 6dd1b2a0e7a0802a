"""Large files come whole, whatever happens on the way, and what has come is not fetched again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.corpus import http_download
from pipeline.corpus.http_download import TRIES, DownloadError, download
from tests.crawler.file_server import Files, serve_files

DATA = bytes(range(256)) * 4000
AGENT = "moinho/test"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(http_download, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(http_download, "BLOCK_BYTES", 1000)
    with serve_files({"/a": DATA}) as served:
        yield served


def test_a_connection_that_breaks_is_continued_where_it_was(files: Files, tmp_path: Path) -> None:
    files.faults = ["300000", 503, "1000", 429]
    download(files.url("/a"), tmp_path / "a", AGENT)
    assert (tmp_path / "a").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert files.ranges == [None, *["bytes=300000-"] * 2, *["bytes=301000-"] * 2]


def test_a_later_call_goes_on_where_an_earlier_one_was_killed(files: Files, tmp_path: Path) -> None:
    files.faults = ["300000", *[503] * TRIES]
    with pytest.raises(DownloadError, match="answered 503 Service Unavailable; 300,000 bytes came and stay"):
        download(files.url("/a"), tmp_path / "a", AGENT)
    download(files.url("/a"), tmp_path / "a", AGENT)
    assert (tmp_path / "a").read_bytes() == DATA
    assert files.ranges[-1] == "bytes=300000-"
    asked = len(files.ranges)
    download(files.url("/a"), tmp_path / "a", AGENT)
    assert len(files.ranges) == asked


@pytest.mark.parametrize("tag", ['"two"', 'W/"weak"', ""])
def test_a_file_that_is_another_by_now_is_fetched_from_its_beginning(
    files: Files, tmp_path: Path, tag: str
) -> None:
    files.faults = ["300000", *[503] * TRIES]
    with pytest.raises(DownloadError):
        download(files.url("/a"), tmp_path / "a", AGENT)
    files.content["/a"], files.tag = DATA[::-1], tag
    files.faults = ["1000"]
    download(files.url("/a"), tmp_path / "a", AGENT)
    assert (tmp_path / "a").read_bytes() == DATA[::-1]


def test_a_refusal_is_told_at_once(files: Files, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/missing answered 404 Not Found; correct the address"):
        download(files.url("/missing"), tmp_path / "a", AGENT)
    assert len(files.ranges) == 1


def test_redirects_lead_to_the_same_host_or_to_public_addresses_alone(files: Files, tmp_path: Path) -> None:
    files.faults = [files.url("/b"), "/a"]
    download(files.url("/a"), tmp_path / "a", AGENT)
    assert (tmp_path / "a").read_bytes() == DATA
    for target in (f"http://127.0.0.2:{files.port}/a", "http://169.254.169.254/a", "file:///etc/passwd"):
        files.faults = [target]
        with pytest.raises(DownloadError, match=r"which is not fetched|is not public"):
            download(files.url("/a"), tmp_path / "b", AGENT)
    files.faults = ["/a"] * 20
    with pytest.raises(DownloadError, match="redirects more than 10 times"):
        download(files.url("/a"), tmp_path / "b", AGENT)

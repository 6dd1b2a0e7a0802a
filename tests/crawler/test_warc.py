"""The archive: any exchange comes back as it was, and a torn tail is cut off."""

from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

import crawler.warc
from crawler.warc import Archive, Exchange


def exchange(url: str, body: bytes, headers: list[tuple[str, str]] | None = None) -> Exchange:
    return Exchange(
        url=url,
        fetched="2026-01-01T00:00:00Z",
        address="93.184.215.14",
        request_headers=[("Host", "example.org")],
        protocol="HTTP/1.1",
        status="200 OK",
        response_headers=headers or [("Content-Type", "text/html"), ("Content-Encoding", "gzip")],
        body=body,
    )


def bodies(folder: Path) -> list[bytes]:
    return [
        record.reader.read()
        for path in sorted(folder.glob("*.warc.gz"))
        for record in ArchiveIterator(str(path), record_types=WarcRecordType.response)
    ]


TOKENS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=9
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)


@settings(max_examples=50, deadline=None)
@given(body=st.binary(max_size=400), headers=st.lists(st.tuples(TOKENS, VALUES), max_size=4))
def test_any_body_comes_back_through_two_readers(
    body: bytes, headers: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("warc")
    archive = Archive(folder, "00", "moinho/test", 0, 0)
    place = archive.write(
        exchange("http://example.org/%C3%A7", body, [("Content-Type", "text/html"), *headers])
    )
    archive.close()
    assert bodies(folder) == [body]
    with (folder / place.warc).open("rb") as file:
        file.seek(place.offset)
        record = next(iter(WarcioIterator(file)))
        assert record.rec_type == "response"
        assert record.content_stream().read() == body


def test_headers_about_the_bodys_encoding_are_corrected(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test", 0, 0)
    archive.write(exchange("http://example.org/", b"<p>decoded</p>"))
    archive.close()
    (record,) = ArchiveIterator(str(tmp_path / archive.name), record_types=WarcRecordType.response)
    headers = dict(record.http_headers)
    assert "Content-Encoding" not in headers
    assert headers["Content-Length"] == "14"


def test_what_lies_beyond_the_committed_place_is_cut_off(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test", 0, 0)
    archive.write(exchange("http://example.org/1", b"one"))
    number, offset = archive.number, archive.offset
    archive.write(exchange("http://example.org/2", b"two"))
    archive.close()
    (tmp_path / "00-00001.warc.gz").write_bytes(b"a later file, not committed")

    again = Archive(tmp_path, "00", "moinho/test", number, offset)
    again.write(exchange("http://example.org/3", b"three"))
    again.close()
    assert bodies(tmp_path) == [b"one", b"three"]


def test_files_are_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawler.warc, "FILE_BYTES", 2_000)
    archive = Archive(tmp_path, "00", "moinho/test", 0, 0)
    written = [f"body {number}".encode() for number in range(12)]
    for body in written:
        archive.write(exchange("http://example.org/", body))
    archive.close()
    assert bodies(tmp_path) == written
    files = sorted(tmp_path.glob("*.warc.gz"))
    assert len(files) > 2
    assert all(path.stat().st_size < 3_500 for path in files)

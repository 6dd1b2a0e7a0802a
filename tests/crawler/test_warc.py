"""The archive: what each record says, and that a torn tail is cut off. test_warc_fuzz.py has any content."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

import crawler.warc
from crawler.members import members
from crawler.warc import Archive, Exchange, Original


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


def test_headers_about_the_bodys_encoding_are_corrected(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test")
    archive.write(exchange("http://example.org/", b"<p>decoded</p>"))
    archive.close()
    (record,) = ArchiveIterator(str(tmp_path / archive.name), record_types=WarcRecordType.response)
    headers = dict(record.http_headers)
    assert "Content-Encoding" not in headers
    assert headers["Content-Length"] == "14"


def test_what_lies_beyond_the_committed_place_is_cut_off(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test")
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
    archive = Archive(tmp_path, "00", "moinho/test")
    written = [f"body {number}".encode() for number in range(12)]
    for body in written:
        archive.write(exchange("http://example.org/", body))
    archive.close()
    assert bodies(tmp_path) == written
    files = sorted(tmp_path.glob("*.warc.gz"))
    assert len(files) > 2
    assert all(path.stat().st_size < 3_500 for path in files)


def test_a_kill_at_any_byte_loses_no_whole_record_and_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a killed process needs none, and it takes long
    archive = Archive(tmp_path, "00", "moinho/test")
    archive.write(exchange("http://example.org/", b"body"))
    archive.close()
    path = tmp_path / archive.name
    whole = path.read_bytes()
    ends = [member.offset + member.length for member in members(path)]
    assert ends[-1] == len(whole)
    last = exchange("http://example.org/last", b"the last")
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        again = Archive(tmp_path, "00", "moinho/test")
        assert again.offset == max((end for end in ends if end <= cut), default=0)
        assert path.stat().st_size == again.offset
        place = again.write(last)
        again.close()
        types = [record.headers.get("WARC-Type") for record in ArchiveIterator(str(path))]
        kept = ["warcinfo", "response", "request"][: sum(end <= cut for end in ends) or 1]
        assert types == [*kept, "response", "request"]
        with path.open("rb") as file:
            file.seek(place.offset)
            assert next(iter(ArchiveIterator(file))).reader.read() == last.body


def test_without_a_committed_place_it_goes_on_in_the_last_file(tmp_path: Path) -> None:
    first = Archive(tmp_path, "00", "moinho/test", file_bytes=1)
    for number in range(3):
        first.write(exchange("http://example.org/", str(number).encode()))
    first.close()
    again = Archive(tmp_path, "00", "moinho/test")
    assert (again.name, again.offset) == (first.name, first.offset)
    again.write(exchange("http://example.org/", b"3"))
    again.close()
    assert bodies(tmp_path) == [b"0", b"1", b"2", b"3"]


def test_an_archive_that_lost_what_was_committed_is_not_filled_with_zeros(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test")
    archive.write(exchange("http://example.org/", b"one"))
    archive.close()
    (tmp_path / archive.name).write_bytes(b"")
    with pytest.raises(OSError, match=rf"0 bytes, but {archive.offset} were committed"):
        Archive(tmp_path, "00", "moinho/test", archive.number, archive.offset)


def test_an_unchanged_page_is_a_revisit_of_its_original(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test")
    first = exchange("http://example.org/", b"<p>the same</p>")
    stored = archive.write(first)
    original = Original(first.url, first.fetched, stored.record_id, stored.digest)
    not_modified = Exchange(**{**vars(first), "status": "304 Not Modified", "body": b""})
    for again in (first, not_modified):
        archive.write_revisit(again, original)
    archive.close()
    same, unchanged = ArchiveIterator(str(tmp_path / archive.name), record_types=WarcRecordType.revisit)
    for record, profile in ((same, "identical-payload-digest"), (unchanged, "server-not-modified")):
        assert record.headers["WARC-Profile"] == f"http://netpreserve.org/warc/1.1/revisit/{profile}"
        assert record.headers["WARC-Refers-To-Target-URI"] == first.url
        assert record.headers["WARC-Refers-To-Date"] == first.fetched
        assert record.headers["WARC-Refers-To"] == stored.record_id
        assert record.headers["WARC-Payload-Digest"] == stored.digest
    command = [sys.executable, "-m", "warcio.cli", "check", str(tmp_path / archive.name)]
    assert subprocess.run(command, check=False).returncode == 0


def test_opt_outs_are_a_metadata_record_of_their_page(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test")
    page = exchange("http://example.org/", b"<p>mine</p>")
    opt_outs = (("X-Robots-Tag", "noai"), ("tdm-reservation", "1"))
    stored = archive.write(Exchange(**{**vars(page), "opt_outs": opt_outs}))
    archive.write(page)
    archive.close()
    records = ArchiveIterator(str(tmp_path / archive.name), record_types=WarcRecordType.metadata)
    found = [(record.headers.to_dict(), record.reader.read()) for record in records]
    ((headers, fields),) = found
    assert headers["WARC-Concurrent-To"] == stored.record_id
    assert headers["Content-Type"] == "application/warc-fields"
    assert fields == b"X-Robots-Tag: noai\r\ntdm-reservation: 1\r\n"

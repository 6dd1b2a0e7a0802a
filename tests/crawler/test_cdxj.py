"""The index: keys as the Internet Archive's tools make them, captures where other readers find them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler import line_sort
from crawler.cdxj import Index, key_of, lines_of
from crawler.line_sort import sort_lines
from crawler.warc import Archive, Original
from tests.crawler.test_warc import exchange

URLS = st.builds(
    "http://{}.org/{}?{}".format,
    st.sampled_from(["a", "b", "a.b", "www.a", "aa"]),
    st.text("abA/.%é ", max_size=4),
    st.text("ab=&", max_size=3),
)


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


def test_captures_are_where_another_reader_finds_them(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "00", "moinho/test")
    for number in range(4):
        stored = archive.write(exchange(f"http://example.org/{number}", b"body %d" % number))
    first = exchange("http://example.org/1", b"body 1")
    archive.write_revisit(first, Original(first.url, first.fetched, stored.record_id, stored.digest))
    archive.close()
    path = tmp_path / archive.name
    fields = "warc-target-uri,warc-payload-digest,offset,length,filename,warc-type"
    command = [sys.executable, "-m", "warcio.cli", "index", "-f", fields, str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    expected = [
        {
            "url": found["warc-target-uri"],
            "mime": "warc/revisit" if found["warc-type"] == "revisit" else "text/html",
            "status": "200",
            "digest": found["warc-payload-digest"],
            "length": found["length"],
            "offset": found["offset"],
            "filename": found["filename"],
        }
        for found in map(json.loads, told.splitlines())
        if found["warc-type"] in ("response", "revisit")
    ]
    lines = [line.decode().split(" ", 2) for line in lines_of(path, archive.name)]
    assert [json.loads(fields) for _, _, fields in lines] == expected
    assert [key for key, _, _ in lines] == [f"org,example)/{number}" for number in (0, 1, 2, 3, 1)]
    assert {timestamp for _, timestamp, _ in lines} == {"20260101000000"}


@settings(deadline=None)
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

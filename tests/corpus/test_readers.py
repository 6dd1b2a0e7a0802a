import io
import zipfile
from pathlib import Path
from random import Random

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.candidates import Candidate, Refused
from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.readers import epub as epub_reader
from pipeline.corpus.readers.epub import read_epub
from pipeline.corpus.readers.files import parts_of
from pipeline.corpus.readers.pdf import read_pdf
from pipeline.corpus.readers.plain import read_plain
from pipeline.corpus.readers.read import TooLargeError, UnreadableError
from pipeline.corpus.sources import SourceConfig, take_in
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from tests.corpus.books import PACKAGE, epub, pdf
from tests.corpus.conftest import InThisProcess
from tests.corpus.labelled_pages import agreement
from tests.corpus.samples import ENGLISH, PORTUGUESE, html

CHAPTERS = {
    f"Chapter {number}": [" ".join(Random(10 * number + each).sample(ENGLISH, 4)) for each in range(8)]
    for number in (1, 2, 3)
}


def test_a_pdf_is_read_as_headings_and_whole_paragraphs() -> None:
    label = "\n\n".join(f"{title}\n\n" + "\n\n".join(inside) for title, inside in CHAPTERS.items())
    found = read_pdf(pdf(CHAPTERS))
    assert agreement([(label, found.text)]).f1 >= 0.9
    blocks = found.text.split("\n\n")
    assert [block for block in blocks if block.startswith("#")] == [f"# {title}" for title in CHAPTERS]
    whole = {paragraph for inside in CHAPTERS.values() for paragraph in inside}
    assert sum(block in whole for block in blocks) >= 0.9 * 24
    assert "valley -" not in found.text
    assert "Page " not in found.text
    assert (found.title, found.author, found.date, found.language) == (
        "The mill", "Ana Lima", "2021-03-04", "en-GB",
    )  # fmt: skip


@pytest.mark.parametrize("damage", [b"", b"%PDF-1.7\nnothing more", pdf(CHAPTERS)[:2_000], b"\0" * 5_000])
def test_a_pdf_that_is_none_is_refused(damage: bytes) -> None:
    with pytest.raises(UnreadableError, match="not a PDF that can be read"):
        read_pdf(damage)


def test_an_epub_is_read_in_the_order_of_its_spine() -> None:
    chapters = [
        f"<h1>Capítulo {number}</h1>" + "".join(f"<p>{text}</p>" for text in PORTUGUESE[number::2])
        for number in (0, 1)
    ]
    found = read_epub(epub(chapters))
    label = "\n".join(f"Capítulo {number}\n" + "\n".join(PORTUGUESE[number::2]) for number in (0, 1))
    assert agreement([(label, found.text)]).f1 >= 0.9
    assert found.text.startswith("# Capítulo 0\n\n" + PORTUGUESE[0])
    assert found.text.index("# Capítulo 0") < found.text.index("# Capítulo 1")
    assert "Contents" not in found.text
    assert (found.title, found.author, found.date) == ("O moinho do vale", "Ana Lima; Bruno Sá", "2019-05-02")
    assert (found.language, found.licence) == ("pt-BR", "https://creativecommons.org/licenses/by/4.0/")


def test_an_epub_that_unpacks_to_too_much_is_refused_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epub_reader, "UNPACKED_BYTES", 1_000_000)
    bomb = epub(["<p>" + "0" * 10_000_000 + "</p>"])
    assert len(bomb) < 50_000
    with pytest.raises(TooLargeError, match="unpacks to over 1000000 bytes"):
        read_epub(bomb)


@pytest.mark.parametrize("spoil", ["no container", "missing chapter", "no zip", "torn"])
def test_an_epub_that_is_none_is_refused(spoil: str) -> None:
    data = epub(["<p>one</p>"])
    if spoil == "no zip":
        data = b"PK\x03\x04 nothing"
    elif spoil == "torn":
        data = data[: len(data) // 2]
    else:
        left_out = "META-INF/container.xml" if spoil == "no container" else "OPS/text/chapter 0.xhtml"
        kept = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(kept, "w") as part:
            for name in whole.namelist():
                if name != left_out:
                    part.writestr(name, whole.read(name))
        data = kept.getvalue()
    with pytest.raises(UnreadableError):
        read_epub(data)


def test_a_book_may_lie_in_a_folder_of_its_archive() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(epub(["<p>one</p>"]))) as whole, zipfile.ZipFile(packed, "w") as part:
        for name in whole.namelist():
            part.writestr(f"epub/{name}", whole.read(name))
    assert read_epub(packed.getvalue()).text == "one"


def test_entities_of_a_package_are_not_followed() -> None:
    entities = '<!DOCTYPE package [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    package = f'<?xml version="1.0"?>{entities}{PACKAGE.partition("?>")[2]}'.replace("Ana Lima", "&b;")
    found = read_epub(epub(["<p>one</p>"], package))
    assert found.text == "one"
    assert "aaa" not in (found.author or "")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Água e pão.\r\nNão é?\0".encode(), "Água e pão.\nNão é?"),
        (("Água e pão para todos. " * 20).encode("utf-16"), ("Água e pão para todos. " * 20).strip()),
        (("Pão e lenha não são caros. " * 20).encode("cp1252"), ("Pão e lenha não são caros. " * 20).strip()),
        (b"\xef\xbb\xbfone\n\n\n\n\ntwo  \n", "one\n\ntwo"),
    ],
)  # fmt: skip
def test_plain_text_in_any_encoding(data: bytes, text: str) -> None:
    assert read_plain(data, None, markdown=False).text == text


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(UnreadableError, match="no text"):
        read_plain(bytes(range(32)) * 40, None, markdown=False)


def warc(records: int, gzip: bool) -> tuple[bytearray, list[int]]:
    """An archive of so many pages, each after its request, and where their responses begin."""
    data, places = io.BytesIO(), []
    writer = WARCWriter(data, gzip=gzip)
    for number in range(records):
        request = StatusAndHeaders(f"GET /{number} HTTP/1.1", [("Host", "x")], is_http_request=True)
        writer.write_record(writer.create_warc_record(f"http://x/{number}", "request", http_headers=request))
        places.append(data.tell())
        status = "404 Not Found" if number == 1 else "200 OK"
        headers = StatusAndHeaders(status, [("Content-Type", "text/html")], protocol="HTTP/1.1")
        body = html((*ENGLISH, f"This is the page number {number}."), language=None).encode()
        writer.write_record(
            writer.create_warc_record(
                f"http://x/{number}", "response", io.BytesIO(body), http_headers=headers
            )
        )
    return bytearray(data.getvalue()), places


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("damage", ["none", "body", "beginning", "torn"])
def test_a_broken_record_costs_only_itself(tmp_path: Path, gzip: bool, damage: str) -> None:
    data, places = warc(6, gzip)
    third, fourth = places[2], places[3]
    if damage == "body":
        data[third + 40 : third + 200] = b"\xff" * 160
    elif damage == "beginning":
        data[third : third + 12] = b"\0" * 12
    elif damage == "torn":
        data = data[:-100]
    (tmp_path / "a.warc.gz").write_bytes(data)
    store = Store(str(tmp_path / "store"))
    found = list(_candidates(store, tmp_path / "a.warc.gz"))
    read = [each.url for each in found if isinstance(each, Candidate)]
    lost = [(each.url, each.failure.reason) for each in found if isinstance(each, Refused)]
    assert ("http://x/1", "http-status") in lost
    expected = {f"http://x/{number}" for number in (0, 2, 3, 4, 5)}
    if damage == "none":
        assert set(read) == expected
        assert len(lost) == 1
    else:
        gone = "http://x/5" if damage == "torn" else "http://x/2"
        assert set(read) == expected - {gone}
        assert [reason for _, reason in lost].count("broken-record") == 1
    assert fourth > third


OPTED_OUT = {
    "header": ([("X-Robots-Tag", "otherbot: noindex, moinho: noai")], ""),
    "meta": ([], '<meta name="Robots" content="noindex">'),
    "tdm": ([("tdm-reservation", "1")], ""),
    "freed": ([("tdm-reservation", "1")], '<meta name="tdm-reservation" content="0">'),
    "usage": ([("Content-Usage", "train-ai=n")], ""),
    "free": ([("X-Robots-Tag", "otherbot: noindex")], '<meta name="robots" content="nofollow">'),
}


def test_archived_pages_that_ask_not_to_be_used_are_not(store: Store, here: Compute, tmp_path: Path) -> None:
    with (tmp_path / "a.warc.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for name, (headers, head) in OPTED_OUT.items():
            told = StatusAndHeaders("200 OK", [("Content-Type", "text/html"), *headers], protocol="HTTP/1.1")
            body = io.BytesIO(html(ENGLISH, head=head).encode())
            writer.write_record(
                writer.create_warc_record(f"http://x/{name}", "response", body, http_headers=told)
            )

    def kept_and_dropped(**settings: object) -> tuple[set[str], dict[str, str]]:
        given = {"name": "web", "path": str(tmp_path / "a.warc.gz"), **settings}
        sources = take_in(store, [SourceConfig.model_validate(given)], here)
        raw = extract(store, None, sources, ExtractConfig(shards=1), here)
        dropped = read_rows(raw.paths("dropped/"))
        assert {row["reason"] for row in dropped} <= {"opt-out"}
        return (
            {row["url"].removeprefix("http://x/") for row in read_rows(raw.paths("raw/"))},
            {row["url"].removeprefix("http://x/"): row["detail"] for row in dropped},
        )

    assert kept_and_dropped() == (
        {"free", "freed"},
        {
            "header": "noai (header)",
            "meta": "noindex (meta)",
            "tdm": "tdm-reservation=1 (header)",
            "usage": "train-ai=n (header)",
        },
    )
    kept, _ = kept_and_dropped(opt_outs={"noindex": False, "tdmrep": False})
    assert kept == {"free", "freed", "meta", "tdm"}


def _candidates(store: Store, path: Path) -> list[Candidate | Refused]:
    sources = take_in(store, [SourceConfig(name="web", path=str(path))], InThisProcess(ComputeConfig()))
    assert sources is not None
    (part,) = parts_of(sources, ExtractConfig()).values()
    return list(part.candidates())


def test_bad_files_are_dropped_with_their_reasons_and_the_rest_goes_on(
    store: Store, here: Compute, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good.html").write_text(html(ENGLISH))
    (folder / "deep.html").write_bytes(b"<div>" * 100_000 + b"deep")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (folder / "bomb.epub").write_bytes(epub(["<p>" + "0" * 70_000_000 + "</p>"]))
    (folder / "binary.txt").write_bytes(bytes(range(32)) * 40)
    (folder / "empty.md").touch()
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(50_000_000)
    (folder / "wet.warc.wet.gz").write_bytes(_wet())
    sources = take_in(store, [SourceConfig(name="f", path=str(folder))], here)
    raw = extract(store, None, sources, ExtractConfig(shards=1), here)
    dropped = {row["url"]: row["reason"] for row in read_rows(raw.paths("dropped/"))}
    assert dropped == {
        "f/deep.html": "too-deep",
        "f/broken.pdf": "unreadable",
        "f/bomb.epub": "too-large",
        "f/binary.txt": "unreadable",
        "f/empty.md": "empty",
        "f/huge.txt": "too-large",
    }
    assert {row["url"] for row in read_rows(raw.paths("raw/"))} == {"f/good.html", "http://x/pt"}


def _wet() -> bytes:
    data = io.BytesIO()
    writer = WARCWriter(data, gzip=True)
    text = io.BytesIO("\n".join(PORTUGUESE).encode())
    record = writer.create_warc_record("http://x/pt", "conversion", text, warc_content_type="text/plain")
    writer.write_record(record)
    return data.getvalue()

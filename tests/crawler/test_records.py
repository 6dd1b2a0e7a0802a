"""Records of WARC files that others wrote, in each packing, and what is read past damage."""

import gzip
import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawler.records import records

BODIES = [b"<p>one</p>", b"", b"\r\n\r\nWARC/1.0\r\n\r\n", b"x" * 400_000]


def written(bodies: list[bytes], version: str = "WARC/1.0") -> list[bytes]:
    """A plain record for each body, as warcio writes it."""
    found = []
    for number, body in enumerate(bodies):
        plain = io.BytesIO()
        writer = WARCWriter(plain, gzip=False, warc_version=version)
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        url = f"http://example.org/{number}"
        writer.write_record(
            writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers)
        )
        found.append(plain.getvalue())
    return found


PLAIN = written(BODIES)
PACKINGS = {
    "plain": b"".join(PLAIN),
    "a member each": b"".join(map(gzip.compress, PLAIN)),
    "one member": gzip.compress(b"".join(PLAIN)),
    "two members": gzip.compress(b"".join(PLAIN[:2])) + gzip.compress(b"".join(PLAIN[2:])),
    "one line end": b"".join(plain.removesuffix(b"\r\n") for plain in PLAIN),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_record_is_read_however_it_is_packed(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "archive"
    data = PACKINGS[packing]
    path.write_bytes(data)
    found = list(records(path))
    assert [each.fault for each in found] == [None] * len(BODIES)
    assert [each.plain + b"\r\n\r\n" for each in found] == PLAIN
    assert [each.headers["warc-target-uri"][-1] for each in found] == ["0", "1", "2", "3"]
    for each in found:
        if packing == "a member each":
            assert each.member is not None
            assert data[each.offset :].startswith(each.member)
            assert gzip.decompress(each.member).startswith(each.plain)
        else:
            assert each.member is None
        if packing == "plain":
            assert data[each.offset :].startswith(each.plain)


@pytest.mark.parametrize("packing", ["plain", "a member each", "one member"])
def test_of_a_record_that_is_too_long_the_headers_are_read(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(PACKINGS[packing])
    found = list(records(path, limit=10_000))
    assert [each.is_cut for each in found] == [False, False, False, True]
    assert found[3].headers["warc-target-uri"].endswith("/3")
    assert (found[3].plain[-4:], found[3].member) == (b"\r\n\r\n", None)


def test_what_is_damaged_is_told_with_its_place_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    packed = list(map(gzip.compress, PLAIN))
    path.write_bytes(packed[0] + b"\xff" * 50 + packed[2][:-30] + packed[3] + packed[1][:-5])
    found = list(records(path))
    assert [each.plain[-4:] for each in found if each.fault is None] == [BODIES[0][-4:], BODIES[3][-4:]]
    faults = [each for each in found if each.fault is not None]
    assert faults[0].offset == len(packed[0])
    assert faults[-1].offset == path.stat().st_size - len(packed[1]) + 5
    assert "ends within" in str(faults[-1].fault)


def test_a_plain_file_is_read_on_behind_damage(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(
        PLAIN[0] + b"garbage, and then\r\n" + PLAIN[1].replace(b"Content-Length", b"Length") + PLAIN[3]
    )
    found = list(records(path))
    assert [each.plain[-4:] for each in found if each.fault is None] == [BODIES[0][-4:], BODIES[3][-4:]]
    told = [str(each.fault) for each in found if each.fault is not None]
    assert told == [
        "found b'garbage, and then\\r\\nW', where a record's headers should be",
        "found a record with the Content-Length ''",
    ]


def test_headers_that_go_on_in_the_next_line_are_one(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(PLAIN[0].replace(b"WARC-Date:", b"X-Long: a\r\n\tb\r\nWARC-Date:"))
    (found,) = records(path)
    assert found.headers["x-long"] == "a b"


def fuzz_records(path: Path, data: bytes) -> None:
    """Damage a file as `data` says. Nothing is raised, and what lies whole behind or before is read."""
    packing = ["a member each", "plain", "one member"][data[0] % 3 if data else 0]
    small = PLAIN[:3]
    whole = {"plain": b"".join(small), "one member": gzip.compress(b"".join(small))}
    file = bytearray(whole.get(packing) or b"".join(map(gzip.compress, small)))
    touched = len(file)
    for at in range(1, len(data) - 2, 3):
        place = int.from_bytes(data[at : at + 2], "big") % max(1, len(file))
        match data[at + 2] % 4:
            case 0:
                del file[place:]
            case 1:
                del file[place : place + data[at]]
            case 2:
                file[place:place] = data
            case _:
                file[place : place + 1] = data[at + 2 : at + 3]
        touched = min(touched, place)
    path.write_bytes(file)
    found = list(records(path))
    assert all(first.offset <= second.offset for first, second in pairwise(found))
    if packing == "a member each":
        ends = [sum(len(gzip.compress(each)) for each in small[: count + 1]) for count in range(len(small))]
        before = [plain for plain, end in zip(small, ends, strict=True) if end <= touched]
        assert [each.plain + b"\r\n\r\n" for each in found[: len(before)]] == before


@settings(max_examples=300)
@given(data=st.binary(max_size=60))
def test_no_damage_is_too_much(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    fuzz_records(tmp_path_factory.getbasetemp() / "damaged", data)

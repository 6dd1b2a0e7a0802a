import lzma
import shutil
import subprocess

import pytest

from pipeline.evaluation.compression import bare_lzma_bytes, last_bytes, primed_bytes, xz_bytes
from tests.tokens.texts import documentation

TEXT = "\n\n".join(documentation()).encode()


@pytest.mark.parametrize("size", [0, 1, 700, 5_000, 300_000])
def test_the_size_is_that_of_the_preset_9(size: int) -> None:
    assert xz_bytes(TEXT[:size]) == len(lzma.compress(TEXT[:size], preset=9))


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz command")
def test_the_size_is_that_of_the_xz_command() -> None:
    for data in (TEXT[:1500], TEXT[:50_000]):
        command = ["xz", "-9", "--threads=1", "--stdout"]
        written = subprocess.run(command, input=data, capture_output=True, check=True).stdout
        assert xz_bytes(data) == len(written)


def test_without_its_container_it_is_smaller_by_header_checksum_and_index() -> None:
    assert 30 <= xz_bytes(TEXT[:1500]) - bare_lzma_bytes(TEXT[:1500]) <= 80


def test_text_that_was_read_before_costs_next_to_nothing() -> None:
    known, again, new = TEXT[:100_000], TEXT[:2_000], TEXT[-2_000:]
    assert primed_bytes(known, again) < 80
    assert primed_bytes(known, again) < primed_bytes(known, new) < xz_bytes(new)


def test_the_last_bytes_of_the_training_text_are_kept() -> None:
    assert last_bytes(["ab", "cdé"], 100) == "ab\n\ncdé\n\n".encode()
    assert last_bytes(["ab", "cdé"], 5) == "dé\n\n".encode()
    assert last_bytes(["ab"], 0) == b""

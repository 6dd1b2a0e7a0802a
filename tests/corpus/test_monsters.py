"""Each bad document costs only itself, whatever its size, and the memory that is taken has a limit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.monsters import GOOD, write_monsters
from tests.corpus.samples import ENGLISH, PORTUGUESE

MEMORY_BYTES = 100_000_000
TASK_BYTES = 250_000_000
"""Of the process that reads the sources: most of it are the libraries that it has loaded."""
EXTRACTOR_BYTES = 300_000_000
"""What an extractor has loaded when it is ready, and MEMORY_BYTES."""
CELL = 4.5
"""Bytes that Arrow takes for each byte of the longest cell of a table, which it only reads whole."""
REASONS = {
    "files/long.txt": "too-large",
    "files/long.html": "too-large",
    "files/long.pdf": "too-large",
    "files/deep.html": "too-deep",
    "files/deaths.pdf": "extractor-crash",
    "files/bomb.epub": "extractor-memory",
    "files/nul.txt": "unreadable",
    "files/empty.txt": "empty",
    "files/truncated.epub": "unreadable",
    "rows/empty.jsonl": "empty",
    "rows/blank.jsonl": "empty",
    "http://packed/1": "too-large",
    "http://plain/1": "too-large",
}
ROWS = ["broken-record", "broken-record", "too-large"]
"""Of each of two files: what is no UTF-8, nothing but NUL, and far too long."""


@pytest.mark.parametrize("size", [50_000_000, pytest.param(500_000_000, marks=pytest.mark.everything)])
def test_bad_documents_cost_only_themselves(tmp_path: Path, size: int) -> None:
    write_monsters(tmp_path / "in", size)
    told = extracted(tmp_path)
    found = told["files"]
    twice = 2  # the good rows, which lie in two files
    assert found["pages"] == len(found["kept"]) + len(found["dropped"]) + twice
    reasons = {url: reason for url, (reason, _) in found["dropped"].items()}
    for name in ("plain.jsonl", "p.jsonl.gz"):
        assert sorted(reasons.pop(url) for url in list(reasons) if url.startswith(f"rows/{name}#")) == ROWS
    assert reasons == REASONS
    kept = found["kept"]
    assert kept["files/good.txt"] == kept["rows#good"] == kept["rows#last"] == GOOD
    assert PORTUGUESE[0] in kept["files/charset.html"]
    assert PORTUGUESE[0] in kept["files/latin.txt"]
    assert all(ENGLISH[0] in kept[f"http://{name}/0"] for name in ("packed", "plain"))
    assert all(PORTUGUESE[0] in kept[f"http://{name}/2"] for name in ("packed", "plain"))
    assert found["memory"][0] <= TASK_BYTES
    assert found["memory"][1] <= EXTRACTOR_BYTES

    table = told["table"]
    assert {url[-1]: reason for url, (reason, _) in table["dropped"].items()} == {
        "1": "broken-record",
        "2": "too-large",
    }
    assert {url[-1]: text for url, text in table["kept"].items()} == {"0": "good", "3": GOOD}
    assert table["memory"][0] <= TASK_BYTES + CELL * size


def extracted(folder: Path) -> dict[str, Any]:
    """What became of the sources, by a process of its own, so that its memory can be measured."""
    command = [sys.executable, "-m", "tests.corpus.monsters", str(folder / "in"), str(folder / "store")]
    ended = subprocess.run(
        [*command, str(MEMORY_BYTES)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told

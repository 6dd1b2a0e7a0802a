import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.corpus.extractor_process import (
    ExtractorNotStartedError,
    ExtractorProcess,
    Failure,
    Limits,
)
from pipeline.corpus.readers.read import Extracted, Reading
from tests.corpus.samples import ENGLISH, html

HOSTILE = [sys.executable, str(Path(__file__).with_name("hostile_extractor.py"))]
GOOD = html(ENGLISH).encode()


@pytest.fixture
def process() -> Iterator[ExtractorProcess]:
    with ExtractorProcess("trafilatura", Limits(cpu_seconds=0.3, memory_bytes=1 << 30), HOSTILE) as process:
        yield process


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("SLEEP", "extractor-timeout"),
        ("BURN", "extractor-timeout"),
        ("CRASH", "extractor-crash"),
        ("GROW", "extractor-memory"),
        ("RAISE", "extractor-error"),
    ],
)
def test_a_page_that_ruins_the_extractor_costs_only_itself(
    process: ExtractorProcess, word: str, reason: str
) -> None:
    assert isinstance(process.extract(GOOD, Reading("html", "utf-8")), Extracted)
    failure = process.extract(f"<p>{word}</p>".encode(), Reading("html"))
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert failure.detail
    assert isinstance(process.extract(GOOD, Reading("html", "utf-8")), Extracted)


def test_an_extractor_that_cannot_start_is_not_the_pages_fault() -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no module named trafilatura')"]
    with (
        ExtractorProcess("trafilatura", Limits(cpu_seconds=1, memory_bytes=1 << 30), broken) as process,
        pytest.raises(ExtractorNotStartedError, match=r"exit code 1 .*no module named trafilatura"),
    ):
        process.extract(GOOD, Reading("html", "utf-8"))


def test_what_an_extractor_prints_is_not_taken_for_its_answer(process: ExtractorProcess) -> None:
    found = process.extract(GOOD.replace(b"</article>", b"<p>PRINT</p></article>"), Reading("html", "utf-8"))
    assert isinstance(found, Extracted)
    assert found.title == "The mill"


def test_no_extractor_outlives_the_process_that_started_it() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, os\n"
            "from pipeline.corpus.extractor_process import ExtractorProcess, Limits\n"
            "from pipeline.corpus.readers.read import Reading\n"
            f"process = ExtractorProcess('trafilatura', Limits(60, 1 << 30), {HOSTILE!r})\n"
            "process.extract(b'<p>hello</p>', Reading('html'))\n"
            "print(process.child.pid, flush=True)\n"
            "process.extract(b'<p>SLEEP</p>', Reading('html'))\n",
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.1)
    pytest.fail("the extractor is still there 10 s after its parent was killed")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")

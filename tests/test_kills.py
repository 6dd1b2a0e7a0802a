"""kill -9 in the middle of every stage, then the same command again: nothing lost, nothing twice."""

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.road import Run

pytestmark = [pytest.mark.everything, pytest.mark.timeout(900)]

STAGES = (
    "site",
    "crawl",
    "extract",
    "clean",
    "hold-out",
    "vocabulary",
    "tokens",
    "pretrain",
    "conversations",
    "finetune",
    "evaluate",
)
SAME_BYTES = ("site", "extract", "clean", "hold-out", "vocabulary", "tokens", "pretrain", "conversations")
"""Stages whose files are promised to be equal; a crawl's archive carries dates, an evaluation's
plots may differ in metadata."""
EAGER = "compute.compile=false"


def digests(store: Path) -> dict[str, str]:
    found = {}
    for path in store.glob("*/*/artifact.json"):
        record = json.loads(path.read_text())
        found[record["stage"]] = record["digest"]
    return found


def requested(store: Path) -> Counter[str]:
    """URLs of the pages in the crawl's archive, each as often as it stands there."""
    from warcio.archiveiterator import ArchiveIterator

    urls: Counter[str] = Counter()
    for record_path in store.glob("crawl/*/artifact.json"):
        record: dict[str, Any] = json.loads(record_path.read_text())
        for name, file in record["files"].items():
            if name.startswith("warc/"):
                with (record_path.parent / file["path"]).open("rb") as stream:
                    urls.update(
                        entry.rec_headers.get_header("WARC-Target-URI")
                        for entry in ArchiveIterator(stream)
                        if entry.rec_type == "response"
                    )
    return urls


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    run = Run.start(store, EAGER)
    assert run.wait(600) == 0, run.text()
    return store


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_that_is_killed_in_every_stage_ends_with_the_same_bytes(
    seed: int, undisturbed: Path, tmp_path: Path
) -> None:
    chance, store = random.Random(seed), tmp_path / "store"
    for stage in STAGES:
        run = Run.start(store, EAGER)
        run.wait_until(f"> {stage} ")
        time.sleep(chance.uniform(0, 8 if stage in ("site", "pretrain", "finetune") else 2))
        if run.process.poll() is None:
            run.kill()
    run = Run.start(store, EAGER)
    assert run.wait(600) == 0, run.text()
    killed, whole = digests(store), digests(undisturbed)
    assert {stage: killed[stage] for stage in SAME_BYTES} == {stage: whole[stage] for stage in SAME_BYTES}
    assert requested(store) == requested(undisturbed)
    assert set(requested(store).values()) == {1}
    assert len(list(store.glob("*/*/artifact.json"))) == len(STAGES)

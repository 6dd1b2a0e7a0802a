"""The road with stages side by side makes what it makes with one after the other."""

from pathlib import Path

import pytest

from pipeline.store import Store
from tests.road import Run

pytestmark = [pytest.mark.everything, pytest.mark.timeout(900)]

SAME = ("extract", "clean", "hold-out", "vocabulary", "tokens", "pretrain", "conversations", "finetune")


def made_in(folder: Path) -> dict[str, tuple[str, str]]:
    """Stage → key and digest of what was made."""
    records = Store(str(folder)).records()
    return {record.stage: (record.key, record.digest) for record in records if record.stage in SAME}


def test_stages_side_by_side_make_the_same_artifacts(filled_road: Path, tmp_path: Path) -> None:
    run = Run.start(tmp_path / "store", "compute.compile=false", "compute.overlap=true")
    assert run.wait(600) == 0, run.text()
    assert made_in(tmp_path / "store") == made_in(filled_road / "undisturbed")
    lines = run.text().splitlines()
    begun = next(number for number, line in enumerate(lines) if line.startswith("> pretrain"))
    ended = next(number for number, line in enumerate(lines) if line.startswith("✓ pretrain"))
    beside = {line.split()[1] for line in lines[begun:ended] if line.startswith("✓")}
    assert beside & {"card", "conversations"}, "something was made while the model learned"

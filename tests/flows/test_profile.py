"""`moinho profile` as a user runs it."""

import gzip
import json
from pathlib import Path

import pytest

from tests.road import Run


@pytest.mark.everything
def test_a_profile_goes_through_ray_and_leaves_a_page_a_picture_and_a_trace(tmp_path: Path) -> None:
    run = Run.start(
        tmp_path / "store",
        "pretrain.steps=5",
        "compute.compile=false",
        "compute.training_workers=2",
        outputs=tmp_path,
        word="profile",
        before=["env", "-C", str(tmp_path)],
    )
    assert run.wait() == 0, run.text()
    (folder,) = (tmp_path / "profiles" / "road").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["summary.md", "summary.png", "trace.json.gz"]
    assert "| waiting for the batch |" in (folder / "summary.md").read_text()
    assert "2 × cpu" in run.text()
    assert f"{folder}/summary.md" in run.text().replace("\n", "")
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    assert {"forward_backward", "reduce", "update"} <= {event.get("name") for event in trace["traceEvents"]}
    assert not list((tmp_path / "store").glob("pretrain*"))

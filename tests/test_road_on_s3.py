"""The road with its store in a bucket: made, killed, gone on with, verified, reused, talked to."""

import time
from pathlib import Path

import pytest

from tests.object_store import BUCKET, s3_server
from tests.road import Run, moinho

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1200)]


def test_the_road_runs_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"s3://{BUCKET}/road"
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        here = tmp_path / "run"
        first = Run.start(root, "compute.compile=false", outputs=here)
        first.wait_until("> pretrain ")
        time.sleep(5)
        first.kill()
        second = Run.start(root, "compute.compile=false", outputs=here)
        assert second.wait(900) == 0, second.text()
        assert "reused" in second.text()
        told = moinho("verify", "--store", root)
        assert told.returncode == 0, told.stdout
        assert "sound: 11 artifacts" in told.stdout
        assert moinho("complete", "road/base", "The function", "--store", root).returncode == 0
        start = time.monotonic()
        third = Run.start(root, "compute.compile=false", outputs=here)
        assert third.wait(120) == 0, third.text()
        assert "> pretrain" not in third.text()
        assert time.monotonic() - start < 60
        left = [path for path in (tmp_path / "cache" / "attempts").rglob("*") if path.is_file()]
        assert left == [], "copies of attempts stay on the machine"

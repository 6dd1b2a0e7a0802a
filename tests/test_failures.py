"""What happens to a run when things around it fail: full disks, and so on, each made for real."""

import shutil
from pathlib import Path

import pytest

from tests.machine import check_sound, small_disk
from tests.road import Run
from tests.test_kills import EAGER, SAME_BYTES, STAGES, digests

pytestmark = [pytest.mark.everything, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that one run from nothing has filled. Tests work on copies."""
    import os

    if given := os.environ.get("BASE"):
        return Path(given)
    store = tmp_path_factory.mktemp("road") / "store"
    run = Run.start(store, EAGER)
    assert run.wait(600) == 0, run.text()
    run.wait_for_family()
    return store


def copy_up_to(stage: str, road: Path, store: Path) -> int:
    """A copy of the road's store that lacks `stage` and all after it; bytes of what the stage had made."""
    shutil.copytree(road, store, symlinks=True)
    size = sum(path.stat().st_size for path in (store / stage).rglob("*") if path.is_file())
    for later in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(store / later)
    shutil.rmtree(store / "names")
    return size


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_told_once_and_with_room_the_run_goes_on(
    stage: str, road: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = disk.folder / "store"
        size = copy_up_to(stage, road, store)
        before = digests(store)
        disk.leave(size // 2)
        run = Run.start(store, EAGER, outputs=tmp_path)
        assert run.wait() == 1, run.text()
        print(run.text())
        assert f"no room left on the disk of {store}" in run.text().replace("\n", " ")
        assert "Make room there" in run.text()
        assert "Traceback" not in run.text()
        assert "lost_shards" not in run.text()
        check_sound(store)
        assert digests(store) == before
        run.wait_for_family()

        disk.resize(256 << 20)
        run = Run.start(store, EAGER, outputs=tmp_path)
        run.wait_until(f"✓ {stage}")
        run.kill()
        check_sound(store)
        if stage in SAME_BYTES:
            assert digests(store)[stage] == digests(road)[stage]

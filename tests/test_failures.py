"""What happens to a run when things around it fail: full disks, stores that may not be written or were
moved, clocks that are set back, kills and signals. Each is made for real."""

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Storage
from pipeline.tracking import Destination, Flow, Tracker
from tests.kills import EAGER, OTHER_BYTES, ROAD_STAGES, digests
from tests.machine import Clock, check_sound, not_permitted, obeying, read_only, small_disk
from tests.road import CONFIG, Run, moinho
from tests.test_road import served_ui
from tests.tracking.recorded import Recorded

pytestmark = pytest.mark.timeout(1500)
everything = pytest.mark.everything

LONG = 900
"""Seconds that a stage may take on a machine that does other things too."""
A_MONTH = 30 * 86_400
LOCKED_OUT = [read_only, not_permitted]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that one run from nothing has filled. Tests work on copies."""
    store = tmp_path_factory.mktemp("road") / "store"
    run = Run.start(store, EAGER)
    assert run.wait(LONG) == 0, run.text()
    run.wait_for_family()
    return store


def copy_up_to(stage: str, road: Path, store: Path) -> int:
    """A copy of the road's store that lacks `stage` and all after it; bytes of what the stage had made."""
    shutil.copytree(road, store, symlinks=True)
    size = sum(path.stat().st_size for path in (store / stage).rglob("*") if path.is_file())
    for later in ROAD_STAGES[ROAD_STAGES.index(stage) :]:
        shutil.rmtree(store / later)
    shutil.rmtree(store / "names")
    return size


def sent(store: Path) -> Recorded:
    """What stands in MLflow once a later run has sent what was left."""
    tracker = Tracker(Storage(str(store)), Flow("later", {}))
    assert tracker.close(300) is None
    found = Recorded(Destination.of(Storage(str(store))).uri)
    found.check_sound()
    return found


def newest_flow(found: Recorded) -> Any:
    """The last run that was named after the road."""
    return [flow for flow in found.flows() if flow.info.run_name == "road"][-1]


def told(run: Run) -> str:
    """What was printed, in one line and without a traceback."""
    assert "Traceback" not in run.text()
    return " ".join(run.text().split())


# --- full disks ---


@everything
@pytest.mark.parametrize("stage", ROAD_STAGES)
def test_a_full_disk_is_told_once_and_with_room_the_run_goes_on(
    stage: str, road: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = disk.folder / "store"
        size = copy_up_to(stage, road, store)
        before = digests(store)
        disk.leave(size // 2)
        run = Run.start(store, EAGER, outputs=tmp_path)
        assert run.wait(LONG) == 1, run.text()
        assert f"no room left on the disk of {store}" in told(run)
        assert told(run).count("Make room") == 1
        assert "lost_shards" not in told(run)
        check_sound(store)
        assert digests(store) == before
        run.wait_for_family()

        disk.resize(256 << 20)
        run = Run.start(store, EAGER, outputs=tmp_path)
        run.wait_until(f"✓ {stage}", LONG)
        run.kill()
        check_sound(store)
        if stage not in OTHER_BYTES:
            assert digests(store)[stage] == digests(road)[stage]


def test_a_full_disk_for_temporary_files_is_told_before_ray_is_started(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        disk.leave(100_000)
        run = Run.start(tmp_path / "store", environment={"RAY_TMPDIR": str(disk.folder)})
        assert run.wait(120) == 1, run.text()
        assert f"no room left on the disk of {disk.folder}" in told(run)
        assert "$RAY_TMPDIR" in told(run)
        assert not list(disk.folder.iterdir())


# --- a store that may not be written ---


@pytest.mark.parametrize("locked_out", LOCKED_OUT)
def test_a_run_that_would_have_to_write_is_refused_before_anything_starts(
    locked_out: Callable[[Path, Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    (tmp_path / "store/locks").mkdir(parents=True)
    with locked_out(tmp_path / "store", tmp_path / "seen") as store:
        run = Run.start(store, outputs=tmp_path, before=obeying())
        assert run.wait(120) == 2, run.text()
        assert f"error: the store {store} cannot be written" in told(run)
        assert "choose another with --store" in told(run)


@everything
@pytest.mark.parametrize("locked_out", LOCKED_OUT)
def test_what_is_in_a_store_that_may_only_be_read_can_be_used(
    locked_out: Callable[[Path, Path], AbstractContextManager[Path]], road: Path, tmp_path: Path
) -> None:
    with locked_out(road, tmp_path / "seen") as store:
        for command, printed in (
            (("ls",), "road/chat"),
            (("show", "road/chat"), "vocabulary"),
            (("plan", str(CONFIG)), "in the store"),
            (("config", str(CONFIG)), "[pretrain]"),
            (("complete", "road/base", "The function"), "%"),
            (("chat", "road/chat"), "moinho"),
            (("tokenize", "road/vocabulary", "The mill"), "tokens"),
        ):
            ended = moinho(*command, store=store, stdin="What is asyncio?\n", before=obeying())
            assert ended.returncode == 0, ended.stderr
            assert printed in ended.stdout
        run = Run.start(store, EAGER, outputs=tmp_path, before=obeying())
        assert run.wait(120) == 0, run.text()
        assert f"this run is not recorded in MLflow: the store {store} cannot be written" in told(run)
        run = Run.start(store, EAGER, 'name="other"', outputs=tmp_path, before=obeying())
        assert run.wait(120) == 0, run.text()
        assert "not all names other/… could be given" in told(run)
        run = Run.start(store, "pretrain.steps=61", outputs=tmp_path, before=obeying())
        assert run.wait(120) == 2, run.text()
        assert f"error: the store {store} cannot be written" in told(run)


# --- a store that was moved, a clock that was set back, a driver that was killed ---


def interrupted_in_pretraining(road: Path, store: Path) -> None:
    """A store whose driver was killed when the first checkpoint after the beginning was there."""
    copy_up_to("pretrain", road, store)
    run = Run.start(store, EAGER, "compute.checkpoint_seconds=0")
    end = time.monotonic() + LONG
    while not list(store.glob("pretrain/*/attempts/*/checkpoints/step-0000000[2-9]*/manifest.json")):
        assert time.monotonic() < end, run.text()
        assert run.process.poll() is None, run.text()
        time.sleep(0.05)
    run.kill()


def resumed_at(store: Path) -> list[int]:
    """The steps at which trainings went on."""
    return [
        line["step"]
        for path in sorted(store.glob("pretrain/*/attempts/*/journal/*.jsonl"))
        for line in map(json.loads, path.read_text().splitlines())
        if line["kind"] == "resumed"
    ]


@everything
@pytest.mark.parametrize("change", ["moved", "clock"])
def test_an_interrupted_training_goes_on_and_the_dead_drivers_runs_are_closed(
    change: str, road: Path, tmp_path: Path
) -> None:
    store, environment = tmp_path / "first" / "store", {}
    interrupted_in_pretraining(road, store)
    if change == "moved":
        store = store.rename(tmp_path / "second")
        assert not list((tmp_path / "first").iterdir())
    else:
        clock = Clock(tmp_path / "clock")
        clock.set_back(A_MONTH)
        environment = clock.environment
    run = Run.start(store, EAGER, outputs=tmp_path, environment=environment)
    run.wait_until("✓ pretrain", LONG)
    run.kill_family()  # under libfaketime Ray's workers do not always notice that their node is gone
    (step,) = resumed_at(store)
    assert step >= 2
    assert digests(store)["pretrain"] == digests(road)["pretrain"]
    check_sound(store)
    listed = [row["stage"] for row in json.loads(moinho("ls", "--json", store=store).stdout)]
    assert listed == list(ROAD_STAGES[: ROAD_STAGES.index("pretrain") + 1])
    assert not (tmp_path / "first/store").exists() or change == "clock"

    found = sent(store)
    dead = [flow for flow in found.flows() if flow.info.status == "KILLED"]
    assert len(dead) == 2
    assert all("without a word" in flow.data.tags["moinho.error"] for flow in dead)
    states = sorted((stage, run.info.status) for flow in dead for stage, run in found.stages(flow).items())
    assert states[-2:] == [("pretrain", "FINISHED"), ("pretrain", "KILLED")]


@everything
def test_a_moved_store_is_reused_and_its_models_and_pictures_are_found(road: Path, tmp_path: Path) -> None:
    import mlflow

    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(road, first, symlinks=True)
    sent(first)
    first.rename(second)
    run = Run.start(second, EAGER, outputs=tmp_path)
    assert run.wait(LONG) == 0, run.text()
    assert told(run).count("in the store") == len(ROAD_STAGES)
    uri = Destination.of(Storage(str(second))).uri
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for role in ("base", "chat"):
        loaded = mlflow.transformers.load_model(f"models:/road-{role}/1", return_type="components")
        assert loaded["tokenizer"]("a mill")["input_ids"]
    cleaning = next(r for r in Recorded(uri).runs if r.data.tags.get("moinho.stage") == "clean")
    with served_ui(second) as address:
        asked = f"{address}/get-artifact?path=dropped.png&run_uuid={cleaning.info.run_id}"
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.read(4) == b"\x89PNG"
    assert not first.exists()


# --- signals ---


@everything
def test_ctrl_c_twice_is_as_safe_as_once(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "store")
    run.wait_until("> site")
    run.wait_for_worker("ray::site")  # Ray's start is over: that cannot be interrupted
    stop(run, [signal.SIGINT] * 3)
    assert [flow.info.status for flow in sent(tmp_path / "store").flows()] == ["KILLED", "FINISHED"]


@everything
@pytest.mark.parametrize("signals", [[signal.SIGINT] * 3, [signal.SIGTERM], [signal.SIGHUP]])
def test_a_training_that_is_stopped_ends_at_once_and_flow_and_stage_agree(
    signals: list[signal.Signals], road: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    copy_up_to("pretrain", road, store)
    run = Run.start(store, EAGER, "pretrain.steps=100000", outputs=tmp_path)
    run.wait_until("/100,000 steps", LONG)
    stop(run, signals)
    found = sent(store)
    flow = newest_flow(found)
    stages = found.stages(flow)
    assert {flow.info.status, stages["pretrain"].info.status} == {"KILLED"}
    assert flow.data.tags["moinho.error"] == stages["pretrain"].data.tags["moinho.error"]


def stop(run: Run, signals: list[signal.Signals]) -> None:
    """Send the signals as a terminal does; the whole family is gone in time, and it says how to go on."""
    start = time.monotonic()
    for number in signals:
        os.killpg(run.process.pid, number)
        time.sleep(0.3)
    assert run.wait(60) == 130, run.text()
    assert time.monotonic() - start < 10
    run.wait_for_family(2)
    assert "stopping ..." in told(run)
    assert "to go on: moinho run" in told(run)

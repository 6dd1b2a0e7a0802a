"""A training goes on while MLflow, its database and the object store are away in turn; nothing is lost."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.store import JournalReader, Record, Storage, Store, read_record
from tests.infra.composed import Team, team_server
from tests.object_store import BUCKET, S3Server, server_to_take_away
from tests.road import Run, moinho
from tests.tracking.recorded import Recorded, SlowProxy

pytestmark = [pytest.mark.everything, pytest.mark.timeout(2400)]

STORE = f"s3://{BUCKET}/road"
CUT_SECONDS, S3_SECONDS, POSTGRES_SECONDS = 120.0, 15.0, 10.0
QUIET_SECONDS = 60.0
"""Before anything is away, and after everything is back: what the time in between is compared with."""
IN_ALL_SECONDS = 2 * QUIET_SECONDS + CUT_SECONDS + 3 * POSTGRES_SECONDS
SPARE = 1.5
"""The training is to last so many times as long as all that is done meanwhile."""
SETTINGS = (
    "pretrain.batch_tokens=2048",
    "pretrain.prompts=[]",
    "compute.compile=false",
    "compute.threads=1",
    "compute.checkpoint_seconds=20",
)
SLOWED_AT_MOST = 1.05


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    (tmp_path / "team").mkdir()
    with team_server(tmp_path / "team") as started:
        yield started


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with server_to_take_away(tmp_path, monkeypatch) as server:
        yield server


def test_a_training_loses_nothing_and_hardly_slows_down_while_its_services_are_away(
    team: Team, objects: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", team.secrets["MLFLOW_AUTH_ADMIN_PASSWORD"])
    with SlowProxy(int(team.uri.rpartition(":")[2])) as line:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{line.port}")
        short = start(tmp_path, "quiet", steps=100)
        assert short.wait(900) == 0, short.text()
        per_second = speed(journalled(record_of("quiet")), 0.0, time.time())
        run = start(tmp_path, "road", steps=round(per_second * SPARE * IN_ALL_SECONDS))
        run.wait_until(" steps, loss", 600)
        began = time.time()
        time.sleep(QUIET_SECONDS)
        away = time.time()
        line.hold()
        time.sleep(CUT_SECONDS / 2)
        objects.kill()
        time.sleep(S3_SECONDS)
        objects.start()
        time.sleep(CUT_SECONDS / 2 - S3_SECONDS)
        line.let_go()
        time.sleep(POSTGRES_SECONDS)
        team.postgres.stop()
        time.sleep(POSTGRES_SECONDS)
        team.postgres.start()
        time.sleep(POSTGRES_SECONDS)
        back = time.time()
        time.sleep(QUIET_SECONDS)
        ended = time.time()
        assert run.process.poll() is None, "all of it was to happen within the training"
        assert run.wait(900) == 0, run.text()

    told = journalled(record_of("road"))
    found = Recorded(team.uri)
    found.check_sound()
    flows = {flow.info.run_name: flow for flow in found.flows()}
    assert {flow.info.status for flow in flows.values()} == {"FINISHED"}
    trainings = {name: found.stages(flow)["pretrain"] for name, flow in flows.items()}
    assert found.steps(trainings["road"], "loss") == [step for _, step in told]
    assert found.files(trainings["road"]) == found.files(trainings["quiet"])
    assert moinho("verify", "--store", STORE).returncode == 0

    quiet = [speed(told, began, away), speed(told, back, ended)]
    slowed = sum(quiet) / 2 / speed(told, away, back)
    print(
        f"steps per second in quiet: {quiet[0]:.2f}, {quiet[1]:.2f}; between, they took {slowed:.3f} as long"
    )
    assert slowed < SLOWED_AT_MOST


def start(folder: Path, name: str, steps: int) -> Run:
    given = (*SETTINGS, f'name="{name}"', f"pretrain.steps={steps}")
    return Run.start(STORE, *given, outputs=folder, until="pretrain")


def record_of(name: str) -> Record:
    """Of the base model of a run."""
    found = Store(STORE).target_of(f"{name}/base")
    assert found is not None
    record = read_record(Storage(STORE), "/".join(found))
    assert record is not None
    return record


def journalled(record: Record) -> list[tuple[float, int]]:
    """When the training told of which step: seconds since 1970, and the step."""
    folder = f"{record.stage}/{record.key}/attempts/{record.attempt}/journal"
    lines = JournalReader(Storage(STORE), folder).read()
    told = [(line["time"], line["step"]) for line in lines if "loss" in line.get("values", {})]
    return sorted(told, key=lambda each: each[1])


def speed(told: Sequence[tuple[float, int]], since: float, until: float) -> float:
    """Steps per second between two moments."""
    within = [each for each in told if since <= each[0] <= until]
    (first, before), (last, after) = within[0], within[-1]
    return (after - before) / (last - first)

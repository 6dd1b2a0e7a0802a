"""What becomes a job, once: recipes, what travels, and the cluster's answers to two who submit."""

import dataclasses
import datetime
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType
from typer.testing import CliRunner

import flows
from flows import environments, submitting
from flows.cli import app
from flows.configuration import load
from flows.dashboard import Cluster, RequestRefusedError
from flows.environments import Environment, NoLockError, runtime_environment
from flows.jobs import ForeignJobError, JobGoesOnError, Kept, kept
from flows.on_cluster import SUBMITTED_WITH, ClusterVersionsError
from flows.submitting import Request, again_as, finished_job, for_cluster, is_in_store, pack, submit
from flows.web_to_model import WebToModel
from tests.road import CONFIG


class KeptJobs(Cluster):
    """The cluster's edge: what it does with ids, in memory; test_cluster_jobs.py has the real one."""

    def __init__(self, versions: dict[str, str] | None = None) -> None:
        self.dashboard = "http://127.0.0.1:8265"
        self.jobs: dict[str, JobDetails] = {}
        self.sent: list[dict[str, Any]] = []
        self.told_versions = versions or {}
        self.first: list[str] = []
        """Ids that another submits just before us."""

    def versions(self) -> dict[str, str]:
        return self.told_versions

    def list_jobs(self) -> list[JobDetails]:
        return list(self.jobs.values())

    def get_job_info(self, job: str) -> JobDetails:
        return self.jobs[job]

    def submit_job(self, **given: Any) -> str:
        job = given["submission_id"]
        if job in self.first:
            self.first.remove(job)
            self.submit_job(**{**given, "metadata": {**given["metadata"], "user": "other"}})
        if job in self.jobs:
            raise RequestRefusedError(f"ValueError: Job with submission_id {job} already exists.")
        self.sent.append(given)
        self.end(job, JobStatus.PENDING, given["metadata"])
        return str(job)

    def end(self, job: str, status: JobStatus, metadata: dict[str, str] | None = None) -> None:
        about = metadata if metadata is not None else self.jobs[job].metadata
        self.jobs[job] = JobDetails(
            type=JobType.SUBMISSION,
            submission_id=job,
            status=status,
            entrypoint="python",
            start_time=1_000 + len(self.jobs),
            metadata=about,
        )


def request(*settings: str, config: Path = CONFIG, begun_by: Sequence[str] = ("moinho", "submit")) -> Request:
    return Request(for_cluster(load(WebToModel, config, list(settings))), str(config), begun_by)


def test_a_recipe_is_what_decides_what_is_made_and_where_it_is_kept(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("https://one.example/\n")
    named = [f'crawl.seeds_file="{seeds}"', "compute.store=/data/store"]
    stem = request(*named).stem
    assert stem.startswith("road-")
    assert request(*named).stem == stem
    for same in ("compute.training_workers=2", "compute.mlflow=http://127.0.0.1:5000", "pretrain.depth=2"):
        assert request(*named, same).stem == stem, same
    others = {
        request(*named, other).stem for other in ("pretrain.steps=61", "compute.store=/data/o", 'name="r"')
    }
    seeds.write_text("https://two.example/\n")
    others |= {request(*named).stem, stem}
    assert len(others) == 5


def test_other_code_is_another_recipe_and_another_configuration_beside_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in submitting.SOURCES:
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").touch()
    code = tmp_path / "flows" / "run.py"
    code.write_text("one")
    monkeypatch.setattr(submitting, "source_tree", lambda: tmp_path)
    monkeypatch.setattr(submitting, "commit", lambda: "0123456789ab+")
    before = request()
    (tmp_path / "configs" / "other.toml").touch()
    assert request().source == before.source
    code.write_text("two")
    after = request()
    assert after.source != before.source
    assert after.stem != before.stem
    assert after.commit == f"0123456789ab-dirty.{after.source[:8]}"
    monkeypatch.setattr(submitting, "commit", lambda: "0123456789ab")
    assert request().commit == "0123456789ab"


def test_a_recipe_is_submitted_once_until_its_job_has_ended_badly() -> None:
    cluster, asked = KeptJobs(), request()
    first, was_there = submit(cluster, asked)
    assert (first, was_there) == (f"{asked.stem}1", False)
    for status in (JobStatus.PENDING, JobStatus.RUNNING):
        cluster.end(first, status)
        assert submit(cluster, request()) == (first, True)
    for number, status in enumerate((JobStatus.FAILED, JobStatus.STOPPED), 2):
        cluster.end(f"{asked.stem}{number - 1}", status)
        assert finished_job(cluster, asked) is None
        assert submit(cluster, asked) == (f"{asked.stem}{number}", False)
    assert submit(cluster, request("pretrain.steps=61")) != (f"{asked.stem}3", True)


def test_of_two_who_submit_at_the_same_moment_the_second_finds_the_job_of_the_first() -> None:
    cluster, asked = KeptJobs(), request()
    cluster.first = [f"{asked.stem}1"]
    assert submit(cluster, asked) == (f"{asked.stem}1", True)
    assert cluster.jobs[f"{asked.stem}1"].metadata["user"] == "other"
    assert len(cluster.jobs) == 1


def test_what_a_cluster_refuses_for_another_reason_is_told() -> None:
    class Refusing(KeptJobs):
        def submit_job(self, **given: Any) -> str:
            raise RequestRefusedError("no room")

    with pytest.raises(RequestRefusedError, match="no room"):
        submit(Refusing(), request())


def test_a_cluster_with_another_ray_or_python_is_sent_nothing() -> None:
    cluster = KeptJobs({"python": "3.7.1", "ray": "2.9.0"})
    with pytest.raises(ClusterVersionsError, match=r"the cluster has Python 3\.7\.1 and Ray 2\.9\.0"):
        submit(cluster, request())
    assert not cluster.sent


def test_what_is_finished_is_told_unless_the_store_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, asked = KeptJobs(), request()
    job, _ = submit(cluster, asked)
    cluster.end(job, JobStatus.SUCCEEDED)
    for seen, told in ((True, (job, True)), (None, (job, False)), (False, None)):
        monkeypatch.setattr(submitting, "is_in_store", lambda config, until, seen=seen: seen)
        assert finished_job(cluster, asked) == told


def test_a_store_that_is_not_here_tells_nothing_and_an_empty_one_lacks_everything(tmp_path: Path) -> None:
    assert is_in_store(request(f"compute.store={tmp_path}/none").config) is None
    assert is_in_store(request(f"compute.store={tmp_path}").config) is False


def test_a_finished_run_is_wholly_in_its_store_until_a_name_or_an_artifact_is_gone(
    filled_road: Path, tmp_path: Path
) -> None:
    from pipeline.store import Store

    config = request(f"compute.store={filled_road / 'undisturbed'}").config
    assert is_in_store(config) is True
    assert is_in_store(config.model_copy(update={"name": "other"})) is False, "a run gives names, too"
    assert Store(config.compute.store).named()


def test_the_laptops_environment_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden-2")
    cluster = KeptJobs()
    submit(cluster, request())
    (given,) = cluster.sent
    assert "hidden" not in json.dumps({**given, "runtime_env": {**given["runtime_env"]}})
    sent = given["runtime_env"]["env_vars"]
    assert set(sent) <= {"RAY_JOB_STOP_WAIT_TIME_S", "MOINHO_BEGUN_BY", "MOINHO_COMMIT", SUBMITTED_WITH}
    assert {"python", "ray", "torch"} <= set(json.loads(sent[SUBMITTED_WITH]))


def test_a_job_is_taken_up_again_from_what_the_cluster_keeps_of_it() -> None:
    cluster = KeptJobs()
    asked = request("pretrain.steps=7", "pretrain.seed=3", "crawl.snapshot=2026-02-01")
    job, _ = submit(cluster, asked)
    with pytest.raises(JobGoesOnError, match=f"{job} is pending still"):
        kept(cluster, job)
    cluster.end(job, JobStatus.STOPPED)
    before = kept(cluster, job)
    again = again_as(before, ["moinho", "resume", job])
    assert (again.source, again.commit or "unknown") == (before.source, before.commit)
    assert again.stem == asked.stem, "the recipe is the same"
    assert again.config.compute == asked.config.compute
    assert submit(cluster, again) == (f"{asked.stem}2", False)


def test_what_moinho_did_not_submit_is_not_taken_up() -> None:
    cluster = KeptJobs()
    cluster.end("raysubmit_1", JobStatus.FAILED, {"job_name": "raysubmit_1"})
    with pytest.raises(
        ForeignJobError, match=r"raysubmit_1 is a job of .*, but no run that moinho submitted"
    ):
        kept(cluster, "raysubmit_1")
    cluster.end("road-1a2b3c", JobStatus.FAILED, {"run": "road", "config": "road.toml"})
    with pytest.raises(ForeignJobError, match=r"road-1a2b3c has no configuration with it.*submit road\.toml"):
        kept(cluster, "road-1a2b3c")


def test_a_configuration_too_large_for_a_job_is_not_kept_with_it() -> None:
    cluster, asked = KeptJobs(), request()
    crawl = asked.config.crawl.model_copy(
        update={"seeds": tuple(f"https://{i}.example/" for i in range(9000))}
    )
    large = dataclasses.replace(asked, config=asked.config.model_copy(update={"crawl": crawl}))
    submit(cluster, large)
    assert "configuration" not in cluster.sent[0]["metadata"]


def test_a_run_that_ends_early_is_another_recipe_and_ends_there_again_when_it_is_taken_up() -> None:
    cluster, asked = KeptJobs(), dataclasses.replace(request(), until="tokens")
    assert asked.stem != request().stem
    job, _ = submit(cluster, asked)
    assert cluster.sent[0]["entrypoint"].endswith("--until tokens")
    cluster.end(job, JobStatus.STOPPED)
    assert again_as(kept(cluster, job), []).until == "tokens"


def test_code_that_is_not_the_jobs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, asked = KeptJobs(), request()
    before = Kept("road", _toml(asked), str(CONFIG), "other", "0123456789ab", "cluster", "")
    monkeypatch.setattr("flows.dashboard.Cluster", lambda address: cluster)
    monkeypatch.setattr("flows.jobs.kept", lambda cluster, job: before)
    told = CliRunner().invoke(app, ["resume", "road-12345678-1"])
    assert told.exit_code == 0, told.output
    assert "the code is not the job's: that was 0123456789ab" in told.output
    assert f"job        {asked.stem}1" in told.output
    told = CliRunner().invoke(app, ["resume", "road-12345678-1"])
    assert f"The same recipe waits or runs already, as {asked.stem}1" in told.output


def _toml(asked: Request) -> str:
    from flows.inspection import as_toml

    return as_toml(asked.config)


def test_finished_work_does_not_occupy_the_cluster_unless_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = KeptJobs()
    monkeypatch.setattr("flows.dashboard.Cluster", lambda address: cluster)
    monkeypatch.setattr(submitting, "is_in_store", lambda config, until: True)
    words = ["submit", str(CONFIG), "--store", "/data/store"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (job,) = cluster.jobs
    cluster.end(job, JobStatus.SUCCEEDED)
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0
    assert f"Nothing to do: {job} has succeeded, and everything is in the store /data/store." in told.output
    assert len(cluster.jobs) == 1
    assert CliRunner().invoke(app, [*words, "--again"]).exit_code == 0
    assert len(cluster.jobs) == 2


def test_a_locked_environment_is_a_file_that_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_environment(Environment.CLUSTER, tmp_path) == {}
    monkeypatch.setattr(environments, "LOCK_FOLDER", tmp_path / "locks")
    with pytest.raises(NoLockError, match=r"--environment locked: there is no .*/locks/cuda\.txt"):
        runtime_environment(Environment.LOCKED, tmp_path)
    (tmp_path / "locks").mkdir()
    names = []
    for content in ("a==1 --hash=sha256:00", "a==2 --hash=sha256:01"):
        (tmp_path / "locks" / "cpu.txt").write_text(content)
        pip = runtime_environment(Environment.LOCKED_CPU, tmp_path)["pip"]
        (asked,) = pip["packages"]
        names.append(asked.rpartition("/")[2])
        assert (tmp_path / names[-1]).read_text() == content
        assert "--require-hashes" in pip["pip_install_options"]
    assert len(set(names)) == 2, "Ray takes environments of one name for one"


def test_a_job_has_no_relative_path_and_the_recipe_of_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = load(
        WebToModel, CONFIG, ["compute.store=mine", "compute.mlflow=sqlite:///runs.db", "pretrain.steps=7"]
    )
    config = for_cluster(given)
    assert config.compute.store == str(tmp_path / "mine")
    assert config.compute.mlflow == f"sqlite:///{tmp_path}/runs.db"
    assert config.compute.ray_address == "auto"
    pack(tmp_path, config, "road.toml")
    travelled = load(WebToModel, tmp_path / "road.toml")
    assert travelled.compute == config.compute
    for section in set(WebToModel.model_fields) - {"compute", "name"}:
        there, here = getattr(travelled, section), getattr(given, section)
        assert (there and there.identity()) == (here and here.identity()), section


def test_a_job_is_given_a_snapshot_date_as_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = KeptJobs()
    monkeypatch.setattr("flows.dashboard.Cluster", lambda address: cluster)
    words = ["submit", str(CONFIG), "--snapshot", "2026-02-01", "--store", str(tmp_path)]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    (given,) = cluster.sent
    sent = tomllib.loads(given["metadata"]["configuration"])
    assert datetime.date.fromisoformat(str(sent["crawl"]["snapshot"])) == datetime.date(2026, 2, 1)
    begun_by = given["runtime_env"]["env_vars"]["MOINHO_BEGUN_BY"]
    assert "crawl.snapshot=2026-02-01" in begun_by, "the command that goes on has it too"


def test_an_object_store_stays_as_it_is() -> None:
    config = for_cluster(load(WebToModel, CONFIG, ["compute.store=s3://bucket/moinho"]))
    assert config.compute.store == "s3://bucket/moinho"


def test_what_travels_is_the_source_and_the_configuration_alone(tmp_path: Path) -> None:
    pack(tmp_path, for_cluster(load(WebToModel, CONFIG)), "road.toml")
    top = {path.name for path in tmp_path.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        *("crawler", "pipeline", "flows", "configs"),
        "road.toml",
    }
    assert not list(tmp_path.rglob("__pycache__"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 5_000_000
    assert tomllib.loads((tmp_path / "road.toml").read_text())["compute"]["ray_address"] == "auto"


def test_of_an_installed_wheel_only_the_configuration_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "__file__", str(tmp_path / "site-packages" / "flows" / "__init__.py"))
    folder = tmp_path / "job"
    folder.mkdir()
    pack(folder, for_cluster(load(WebToModel, CONFIG)), "road.toml")
    assert [path.name for path in folder.iterdir()] == ["road.toml"]
    assert request().source.startswith("moinho ")

"""The team's MLflow server as infra/mlflow/compose.yaml describes it, in processes: who gets in, and what
becomes of metrics and files when PostgreSQL is restarted."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tracking import Flow, Tracker
from tests.infra.composed import Team, await_true, team_server
from tests.tracking.recorded import Recorded, wait_for

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1800)]

OPEN = {
    ("GET", "/health"),
    ("GET", "/static-files/1"),
    ("GET", "/api/3.0/mlflow/server-info"),
    ("GET", "/ajax-api/3.0/mlflow/server-info"),
}
"""What anybody may ask: whether it runs, the files of its web pages, and which version it has."""
ROUTES = """
import json, os
os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
from mlflow.server import app as flask
from mlflow.server.auth import create_app
application = create_app()
routes = [(method, rule.rule) for rule in flask.url_map.iter_rules() for method in rule.methods]
for route in application.routes:
    routes.extend((method, route.path) for method in getattr(route, "methods", None) or ())
print("ROUTES", json.dumps(sorted(set(routes))))
"""
LIKE_ANY = re.compile(r"<[^>]*>|\{[^}]*\}")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team_server(tmp_path_factory.mktemp("team")) as started:
        yield started


@pytest.fixture
def colleague(team: Team, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A user whom the administrator added, and whose name and password this process has."""
    name, password = "ana", "a password of Ana's"
    admin = ("admin", team.secrets["MLFLOW_AUTH_ADMIN_PASSWORD"])
    found = requests.get(f"{team.uri}/api/2.0/mlflow/users/get?username={name}", auth=admin, timeout=300)
    if not found.ok:
        told = {"username": name, "password": password}
        requests.post(
            f"{team.uri}/api/2.0/mlflow/users/create", json=told, auth=admin, timeout=300
        ).raise_for_status()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    return name, password


def routes(team: Team) -> list[tuple[str, str]]:
    """All that the server answers to, as its own code knows it."""
    told = subprocess.run(
        [sys.executable, "-c", ROUTES],
        env={**team.environment, **team.secrets},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found = next(line for line in told.stdout.splitlines() if line.startswith("ROUTES "))
    return [(method, LIKE_ANY.sub("1", path)) for method, path in json.loads(found.removeprefix("ROUTES "))]


@pytest.mark.parametrize("credentials", [None, ("admin", "not the password"), ("nobody", "")])
def test_nobody_gets_anything_of_any_endpoint_without_a_password(
    team: Team, credentials: tuple[str, str] | None
) -> None:
    def answer(route: tuple[str, str]) -> int:
        method, path = route
        body = "{}" if method in ("POST", "PUT", "PATCH") else None
        headers = {"Content-Type": "application/json"} if body else {}
        given = requests.request(
            method,
            team.uri + path,
            data=body,
            headers=headers,
            auth=credentials,
            timeout=300,
            allow_redirects=False,
        )
        return given.status_code

    tried = [route for route in routes(team) if route[0] not in ("OPTIONS", "HEAD")]
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(tried, pool.map(answer, tried), strict=True))
    assert len(answers) > 200
    assert {path for _, path in answers} >= {
        "/",
        "/api/2.0/mlflow/runs/create",
        "/ajax-api/2.0/mlflow/runs/search",
    }
    let_in = {route: status for route, status in answers.items() if status not in (401, 403)}
    assert set(let_in) <= OPEN, let_in


def test_a_colleague_logs_what_the_bucket_and_others_then_have(
    team: Team, colleague: tuple[str, str]
) -> None:
    import botocore.session
    from mlflow import MlflowClient

    client = MlflowClient(team.uri)
    experiment = client.create_experiment("colleague")
    run = client.create_run(experiment)
    client.log_metric(run.info.run_id, "loss", 0.5, step=3)
    client.log_text(run.info.run_id, "written by Ana", "note.txt")
    location = run.info.artifact_uri
    assert location.startswith("mlflow-artifacts:"), (
        "the server hands files on; nobody else has the bucket's key"
    )
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [0.5]
    folder = client.download_artifacts(run.info.run_id, "note.txt")
    assert Path(folder).read_text() == "written by Ana"

    session = botocore.session.get_session()
    session.set_credentials(team.secrets["AWS_ACCESS_KEY_ID"], team.secrets["AWS_SECRET_ACCESS_KEY"])
    s3 = session.create_client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{team.s3_port}")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert f"{experiment}/{run.info.run_id}/artifacts/note.txt" in keys
    stranger = requests.get(f"http://127.0.0.1:{team.s3_port}/mlflow?list-type=2", timeout=300)
    assert stranger.status_code == 403


def test_a_colleague_does_not_administer(team: Team, colleague: tuple[str, str]) -> None:
    for method, path, body in (
        ("POST", "users/create", {"username": "eve", "password": "a password of Eve's"}),
        ("DELETE", "users/delete", {"username": "admin"}),
        ("PATCH", "users/update-admin", {"username": "ana", "is_admin": True}),
    ):
        given = requests.request(
            method, f"{team.uri}/api/2.0/mlflow/{path}", json=body, auth=colleague, timeout=300
        )
        assert given.status_code == 403, path


def test_no_password_is_in_the_log_or_on_a_command_line(
    team: Team, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import psutil

    lines = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    logs = [path.read_text(errors="replace") for path in tmp_path_factory.getbasetemp().glob("team*/*.log")]
    assert logs
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD"):
        assert not any(team.secrets[name] in text for text in (*lines, *logs)), name


class Long(Artifact):
    stage, role = "pretrain", "long"


def test_no_metric_is_lost_when_postgres_is_restarted_while_a_run_sends(
    team: Team, colleague: tuple[str, str], store: Store
) -> None:
    def has_some() -> bool:
        try:
            return any("loss" in run.data.metrics for run in Recorded(team.uri).runs)
        except AssertionError:  # there is no experiment yet
            return False

    def curve(attempt: Attempt) -> Made:
        journal = attempt.journal("train")
        for step in range(1500):
            journal.metrics(step, loss=1 / (step + 1))
        wait_for(has_some, 300)
        team.postgres.stop()
        for step in range(1500, 3000):
            journal.metrics(step, loss=1 / (step + 1))
        # Until the sender has met the server without its database.
        await_true(lambda: "does not take it" in tracker.status, 120, "the sender noticed nothing")
        team.postgres.start()
        for step in range(3000, 4500):
            journal.metrics(step, loss=1 / (step + 1))
        return Made({})

    tracker = Tracker(store.storage, Flow("little", {}), team.uri)
    store.listeners.append(tracker)
    store.make(Long, Config(), {}, curve)
    assert tracker.close(300) is None
    found = Recorded(team.uri)
    found.check_sound()
    (flow,) = found.flows()
    assert found.steps(found.stages(flow)["pretrain"], "loss") == list(range(4500))
    assert flow.info.status == "FINISHED"

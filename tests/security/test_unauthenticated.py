"""Who has no token, or another one, gets nothing from a cluster; who has no password nothing from MLflow.

Each way in is tried without, with a wrong, and with the right secret: only the last one works.
"""

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.store import Storage
from pipeline.tracking import Destination, Flow, Tracker, ui_command
from pipeline.tracking.destination import ui_environment
from tests.cluster import RunningCluster, running_cluster
from tests.object_store import free_ports
from tests.security.strangers import ASK, JOIN, asked

pytestmark = [pytest.mark.everything, pytest.mark.timeout(900)]

PUBLIC = ("/", "/api/gcs_healthz", "/api/authentication_mode")
"""Of the dashboard: an empty page that asks for the token, and whether the cluster is alive."""
PRIVATE = (
    "/api/jobs/",
    "/api/jobs/any-job",
    "/api/jobs/any-job/logs",
    "/api/version",
    "/api/cluster_status",
    "/api/v0/tasks",
    "/api/v0/actors",
    "/api/v0/logs?node_id=0",
    "/nodes?view=summary",
    "/logical/actors",
    "/api/packages/gcs/any.zip",
    "/api/grafana_health",
    "/no/such/page",
)
START_SECONDS = ANSWER_SECONDS = 300
"""Long, for a machine that does much else."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(1, tmp_path_factory.mktemp("cluster"), with_client=True) as found:
        yield found


def status(url: str, headers: Mapping[str, str], body: bytes | None = None, method: str | None = None) -> int:
    """The status of the answer; the body is only sent."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def token_of(cluster: RunningCluster) -> str:
    return Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text()


@pytest.mark.parametrize("path", PRIVATE)
def test_the_dashboard_answers_nobody_without_its_token(cluster: RunningCluster, path: str) -> None:
    url, wrong = cluster.address + path, secrets.token_hex(32)
    for method in ("GET", "PUT", "POST", "DELETE"):
        assert status(url, {}, method=method) == 401
        assert status(url, bearer(wrong), method=method) == 403
        assert status(url, {"Cookie": f"ray-authentication-token={wrong}"}, method=method) == 403
    assert status(url, bearer(token_of(cluster))) not in (401, 403)


def test_what_the_dashboard_tells_everybody_is_that_it_is_there(cluster: RunningCluster) -> None:
    for path in PUBLIC:
        assert status(cluster.address + path, {}) not in (401, 403)
    assert status(f"{cluster.address}/api/authenticate", bearer(secrets.token_hex(32)), b"") == 403


def test_nobody_without_the_token_runs_a_program_as_a_job(cluster: RunningCluster, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    body = json.dumps({"entrypoint": f"mkdir {marker}"}).encode()
    url, json_body = f"{cluster.address}/api/jobs/", {"Content-Type": "application/json"}
    assert status(url, json_body, body) == 401
    assert status(url, json_body | bearer(secrets.token_hex(32)), body) == 403
    assert status(url, json_body | bearer(token_of(cluster)), body) == 200
    wait_until(marker.exists)


@pytest.mark.parametrize("program", [JOIN, ASK], ids=["join", "ask"])
def test_the_port_that_nodes_and_drivers_join_wants_the_token(cluster: RunningCluster, program: str) -> None:
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for environment in ({"RAY_AUTH_MODE": "disabled"}, wrong):
        told = asked(program, cluster.gcs, environment)
        assert "answer" not in told
        assert "uthenticat" in told or "token" in told, told
    assert "answer" in asked(program, cluster.gcs, cluster.environment)


def test_the_client_s_port_wants_the_token(cluster: RunningCluster) -> None:
    assert cluster.client is not None
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for environment in ({"RAY_AUTH_MODE": "disabled"}, wrong):
        assert "answer" not in asked(JOIN, cluster.client, environment)
    # It gives a connection half a minute, which a busy machine may need.
    tries = (asked(JOIN, cluster.client, cluster.environment) for _ in range(3))
    assert any("answer 42" in told for told in tries)


# --- MLflow ---

PAGES = (
    "/",
    "/version",
    "/graphql",
    "/api/2.0/mlflow/experiments/search?max_results=5",
    "/ajax-api/2.0/mlflow/experiments/search?max_results=5",
    "/api/2.0/mlflow/registered-models/search",
    "/api/2.0/mlflow/users/get?username=admin",
    "/api/2.0/mlflow-artifacts/artifacts",
    "/get-artifact?path=a&run_uuid=b",
    "/signup",
)


@dataclass(frozen=True)
class MlflowServer:
    """A server with one user."""

    address: str
    user: str
    password: str

    def credentials(self, password: str) -> dict[str, str]:
        pair = base64.b64encode(f"{self.user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


def wait_until(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder, (port,) = tmp_path_factory.mktemp("mlflow"), free_ports(1)
    password = secrets.token_hex(16)
    destination = Destination(f"sqlite:///{folder}/runs.db", None, "server")
    destination.prepare()
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/users.db\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        **ui_environment(destination),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
    }
    command = [*ui_command(destination, port=port), "--app-name", "basic-auth"]
    command += ["--artifacts-destination", str(folder / "files")]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until(lambda: process.poll() is not None or socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        assert process.poll() is None, (folder / "log.txt").read_text()
        yield MlflowServer(f"http://127.0.0.1:{port}", "admin", password)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("page", PAGES)
def test_mlflow_answers_nobody_without_a_password(server: MlflowServer, page: str) -> None:
    assert status(server.address + page, {}) == 401
    assert status(server.address + page, server.credentials(secrets.token_hex(16))) == 401
    assert status(server.address + page, server.credentials(server.password)) != 401


def test_nobody_without_a_password_writes_to_mlflow(server: MlflowServer) -> None:
    url = f"{server.address}/api/2.0/mlflow/experiments/create"
    body, headers = json.dumps({"name": "mine"}).encode(), {"Content-Type": "application/json"}
    upload = f"{server.address}/api/2.0/mlflow-artifacts/artifacts/mine.txt"
    assert status(url, headers, body) == 401
    assert status(upload, {}, b"mine", "PUT") == 401
    assert status(url, headers | server.credentials(secrets.token_hex(16)), body) == 401
    assert status(url, headers | server.credentials(server.password), body) == 200


def test_a_run_is_recorded_with_the_password_of_its_environment_and_kept_without(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path / "store"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", server.user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secrets.token_hex(16))
    unsent = Tracker(storage, Flow("refused", {})).close(ANSWER_SECONDS)
    assert unsent is not None
    assert f"not everything has reached MLflow ({server.address}" in unsent
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.password)
    assert Tracker(storage, Flow("taken", {})).close(ANSWER_SECONDS) is None
    url = f"{server.address}/api/2.0/mlflow/runs/search"
    request = urllib.request.Request(
        url,
        data=json.dumps({"experiment_ids": ["1"]}).encode(),
        headers={"Content-Type": "application/json", **server.credentials(server.password)},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
        names = [each["info"]["run_name"] for each in json.loads(answer.read())["runs"]]
    assert sorted(names) == ["refused", "taken"], "what was refused is sent by the next run"

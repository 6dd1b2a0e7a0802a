"""Jobs without a cluster: what is refused, in which words, and what would travel."""

import asyncio
import datetime
import socket
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from ray.job_submission import JobDetails, JobStatus, JobType
from typer.testing import CliRunner

import flows
from flows.cli import app
from flows.configuration import load
from flows.jobs import (
    AddressError,
    Cluster,
    ClusterUnreachableError,
    Log,
    RequestRefusedError,
    TokenError,
    UnknownJobError,
    _job,
    _pack,
    for_cluster,
)
from flows.web_to_model import WebToModel
from pipeline.errors import MoinhoError
from tests.road import CONFIG, moinho


@pytest.fixture(autouse=True)
def without_ray_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # a Cluster sets it; so it is taken back


@pytest.fixture
def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class Answering(BaseHTTPRequestHandler):
    status, text = 200, "a page"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def other_server() -> Iterator[tuple[type[Answering], str]]:
    """A web server that is no dashboard, and its address."""
    kind = type("AnsweringHere", (Answering,), {})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Refusing(Cluster):
    """A client that is connected already: only what it makes of answers is tried."""

    def __init__(self) -> None:
        self.dashboard = "http://127.0.0.1:8265"


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (404, UnknownJobError, "does not exist; `moinho jobs` lists them"),
        (500, RequestRefusedError, "answered with status 500: Job a-1 does not exist"),
    ],
)
def test_what_a_cluster_refuses_is_told_in_its_words(
    status: int, error: type[MoinhoError], told: str
) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = status, b"Job a-1 does not exist\nTraceback"
    with pytest.raises(error, match=told):
        Refusing()._raise_error(answer)


def test_an_unreachable_cluster_is_told_in_one_line(free_address: str) -> None:
    done = moinho("jobs", "--address", free_address)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: no Ray cluster answers at {free_address} (Connection refused)")


def test_a_configuration_is_refused_before_any_cluster_is_asked(free_address: str) -> None:
    done = moinho("submit", str(CONFIG), "--address", free_address, "--set", "pretrain.stepps=3")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --set pretrain.stepps=3: pretrain.stepps: unknown key; did you mean pretrain.steps?"
    ]


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8265", "ray://127.0.0.1:10001", "auto", "http://", "http://a:b"]
)
def test_an_address_of_another_kind_is_refused_with_one_that_would_do(address: str) -> None:
    with pytest.raises(AddressError, match=r"--address, such as http://127\.0\.0\.1:8265"):
        Cluster(address)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:8265", "http:// is missing, write http://127.0.0.1:8265"),
        ("ray://127.0.0.1:10001", "the dashboard's (mostly 8265) is meant"),
    ],
)
def test_what_an_address_lacks_is_told(address: str, told: str) -> None:
    with pytest.raises(AddressError) as caught:
        Cluster(address)
    assert told in str(caught.value)


@pytest.mark.parametrize(("status", "text"), [(404, "none"), (200, "<html>"), (200, "{}"), (500, "broken")])
def test_a_server_that_is_no_dashboard_is_told_so(
    other_server: tuple[type[Answering], str], status: int, text: str
) -> None:
    kind, address = other_server
    kind.status, kind.text = status, text
    with pytest.raises(AddressError, match="answers, but not as the dashboard of a Ray cluster does"):
        Cluster(address)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_told_with_the_variables_that_hold_it(
    other_server: tuple[type[Answering], str], status: int
) -> None:
    kind, address = other_server
    kind.status = status
    with pytest.raises(TokenError, match="RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH"):
        Cluster(address)


def test_a_given_address_wins_over_the_environment_and_loses_what_a_browser_adds(
    free_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:2")
    with pytest.raises(ClusterUnreachableError, match=f"at {free_address} "):
        Cluster(f"{free_address}/#/jobs")


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
    _pack(tmp_path, config, "road.toml")
    travelled = load(WebToModel, tmp_path / "road.toml")
    assert travelled.compute == config.compute
    for section in set(WebToModel.model_fields) - {"compute", "name"}:
        there, here = getattr(travelled, section), getattr(given, section)
        assert (there and there.identity()) == (here and here.identity()), section


def test_a_job_is_given_a_snapshot_date_as_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[WebToModel, list[str]]] = []

    def keep(cluster: Cluster, config: WebToModel, path: Path, begun_by: list[str]) -> str:
        sent.append((config, begun_by))
        return "road-1"

    monkeypatch.setattr("flows.jobs.Cluster", lambda address: Refusing())
    monkeypatch.setattr("flows.jobs.submit", keep)
    words = ["submit", str(CONFIG), "--snapshot", "2026-02-01", "--store", str(tmp_path)]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    ((config, begun_by),) = sent
    assert config.crawl.snapshot == datetime.date(2026, 2, 1)
    assert "crawl.snapshot=2026-02-01" in begun_by, "the command that goes on has it too"


def test_an_object_store_stays_as_it_is() -> None:
    config = for_cluster(load(WebToModel, CONFIG, ["compute.store=s3://bucket/moinho"]))
    assert config.compute.store == "s3://bucket/moinho"


def test_what_travels_is_the_source_and_the_configuration_alone(tmp_path: Path) -> None:
    _pack(tmp_path, for_cluster(load(WebToModel, CONFIG)), "road.toml")
    top = {path.name for path in tmp_path.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        *("crawler", "pipeline", "flows", "configs"),
        "road.toml",
    }
    assert not list(tmp_path.rglob("__pycache__"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 5_000_000
    assert tomllib.loads((tmp_path / "road.toml").read_text())["compute"]["ray_address"] == "auto"


def test_a_failed_job_is_listed_with_what_its_log_says_of_the_fault() -> None:
    log = "Job entrypoint command failed with exit code 2, last logs:\n> site\nerror: no pages\nlog: x\n"
    details = JobDetails(
        type=JobType.SUBMISSION,
        submission_id="road-1",
        status=JobStatus.FAILED,
        entrypoint="python",
        message=log,
        start_time=1_000,
        end_time=61_000,
        metadata={"run": "road"},
    )
    job = _job(details)
    assert (job.run, job.status, job.seconds, job.message) == ("road", "failed", 60.0, "error: no pages")


def test_a_log_that_is_read_again_from_its_beginning_is_written_once() -> None:
    class Interrupted:
        reads = 0

        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            self.reads += 1
            parts: list[Any] = (
                ["one\ntw", RuntimeError()] if self.reads == 1 else ["one\n", "two\nth", "ree\n"]
            )
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield part

    written: list[str] = []
    log, cluster = Log(written.append), cast(Cluster, Interrupted())
    with pytest.raises(RuntimeError):
        asyncio.run(log.read(cluster, "road-1"))
    asyncio.run(log.read(cluster, "road-1"))
    assert "".join(written) == "one\ntwo\nthree\n"


def test_of_an_installed_wheel_only_the_configuration_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "__file__", str(tmp_path / "site-packages" / "flows" / "__init__.py"))
    folder = tmp_path / "job"
    folder.mkdir()
    _pack(folder, for_cluster(load(WebToModel, CONFIG)), "road.toml")
    assert [path.name for path in folder.iterdir()] == ["road.toml"]

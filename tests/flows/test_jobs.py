"""Jobs without a cluster: what is refused and in which words, what is listed, how far a job is."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest
import requests
from ray.job_submission import JobDetails, JobStatus, JobType
from typer.testing import CliRunner

from flows.cli import app
from flows.dashboard import (
    AddressError,
    Cluster,
    ClusterUnreachableError,
    RequestRefusedError,
    TokenError,
    UnknownJobError,
)
from flows.job_lines import status_lines
from flows.job_log import Progress
from flows.jobs import ForeignJobError, Log, _job, find, newest, with_stages
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


class Listing(Refusing):
    """A connected client with jobs and logs to show."""

    def __init__(self, *told: JobDetails, logs: dict[str, str] | None = None) -> None:
        super().__init__()
        self.told, self.logs = told, logs or {}

    def list_jobs(self) -> list[JobDetails]:
        return list(self.told)

    def get_job_info(self, job: str) -> JobDetails:
        return next(told for told in self.told if job in (told.submission_id, told.job_id))

    def get_job_logs(self, job: str) -> str:
        if job not in self.logs:
            raise RequestRefusedError("the node of the log does not answer")
        return self.logs[job]


def details(job: str, status: JobStatus, user: str = "ana", start: int = 1_000, **more: str) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id=job,
        status=status,
        entrypoint="python",
        start_time=start,
        end_time=61_000,
        metadata={"run": "road", "user": user, "store": "/data/store", "commit": "0123456789ab", **more},
    )


def test_of_what_runs_the_listing_tells_the_stage_if_its_log_can_be_had() -> None:
    log = (
        "= crawl         in the store, 00\n> pretrain      making 01\n"
        "  pretrain      12 s: 3/60 steps, loss 3.1\n"
    )
    jobs = [details(name, JobStatus.RUNNING) for name in ("road-1", "road-2")]
    ended = details("road-3", JobStatus.SUCCEEDED)
    cluster = Listing(*jobs, ended, logs={"road-1": log})
    rows = with_stages(cluster, [_job(told) for told in cluster.list_jobs()])
    assert [row.stage for row in rows] == ["pretrain 12 s: 3/60 steps, loss 3.1", "", ""]


def test_the_newest_of_mine_is_meant_where_no_job_is_named() -> None:
    jobs = [
        details(f"road-{number}", JobStatus.RUNNING, user, start=number)
        for number, user in enumerate(("ana", "ana", "rui"), 1)
    ]
    cluster = Listing(*jobs)
    assert newest(cluster, "ana").id == "road-2"
    with pytest.raises(UnknownJobError, match="eva has submitted no run there"):
        newest(cluster, "eva")


def test_a_job_of_another_program_has_no_status() -> None:
    driver = JobDetails(type=JobType.DRIVER, job_id="01000000", status=JobStatus.RUNNING, entrypoint="")
    with pytest.raises(ForeignJobError, match=r"01000000 is a job of .*, but no run"):
        find(Listing(driver), "01000000")


def typed(*words: str) -> str:
    return " ".join(("moinho", *words))


@pytest.mark.parametrize(
    ("status", "far", "told"),
    [
        (
            JobStatus.RUNNING,
            Progress(
                {"pretrain": "12 s: 3/60 steps"}, ["crawl"], page="http://m.test/#/experiments/1/runs/a"
            ),
            {
                "status": "running for 1:00 min",
                "finished": "crawl",
                "stage": "pretrain 12 s: 3/60 steps",
                "MLflow": "http://m.test/#/experiments/1/runs/a",
                "follow": "moinho logs -f road-1",
                "stop": "moinho cancel road-1",
            },
        ),
        (
            JobStatus.FAILED,
            Progress({}, ["crawl"], ended="clean", last="log: /x", error="no pages"),
            {
                "status": "failed after 1:00 min",
                "stage": "clean",
                "error": "no pages",
                "last line": "log: /x",
                "log": "moinho logs road-1",
                "go on": "moinho resume road-1",
            },
        ),
        (
            JobStatus.SUCCEEDED,
            Progress(last="next:"),
            {"status": "succeeded after 1:00 min", "look": "moinho ls road --store /data/store"},
        ),
    ],
)
def test_the_status_says_how_far_a_job_is_and_what_to_type_next(
    status: JobStatus, far: Progress, told: dict[str, str]
) -> None:
    lines = status_lines(_job(details("road-1", status)), far, typed)
    assert told.items() <= lines.items()
    assert lines["submitted"].endswith(", by ana, commit 0123456789ab")
    assert lines["store"] == "/data/store"


def test_before_mlflow_has_the_run_its_status_says_where_it_will_be(free_address: str) -> None:
    job = _job(details("road-1", JobStatus.RUNNING, mlflow=free_address))
    told = status_lines(job, Progress(), typed)["MLflow"]
    assert told == f"{free_address}/#/experiments (experiment moinho, run road)"


def test_the_command_tells_the_status_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    log = "MLflow run: http://m.test/#/experiments/1/runs/a\n> crawl         making 00\n"
    cluster = Listing(details("road-1", JobStatus.RUNNING), logs={"road-1": log})
    monkeypatch.setattr("flows.dashboard.Cluster", lambda address: cluster)
    done = CliRunner().invoke(app, ["status", "road-1", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["id"], told["status"], told["stage"]) == ("road-1", "running", "crawl")
    assert told["page"] == "http://m.test/#/experiments/1/runs/a"
    assert "crawl" in CliRunner().invoke(app, ["status", "road-1"]).stdout


def test_of_a_traceback_the_innermost_fault_is_told() -> None:
    answer = requests.Response()
    answer.status_code = 500
    answer._content = (
        b"Traceback (most recent call last):\n  File x\nRuntimeError: Request failed with status code 400: "
        b'Traceback (most recent call last):\n  File "y"\nValueError: Job with submission_id a-1 already '
        b"exists. Please use a different submission_id.\n."
    )
    with pytest.raises(
        RequestRefusedError, match="status 500: ValueError: Job with submission_id a-1 already"
    ):
        Refusing()._raise_error(answer)

"""Runs as jobs of a Ray cluster: submitted, listed, followed and stopped through the cluster's dashboard."""

import asyncio
import getpass
import importlib.metadata
import os
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient, JobType

import flows
from flows.inspection import as_toml
from flows.run import BEGUN_BY
from flows.web_to_model import WebToModel
from pipeline.errors import InputError, MoinhoError
from pipeline.store import Storage
from pipeline.store.records import COMMIT, commit
from pipeline.store.storage import is_object_store

SOURCES = ("crawler", "pipeline", "flows", "configs")
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
STOP_SECONDS = 60
"""From the signal that stops a job to the one that kills it. Ray's three are too few to end MLflow's runs."""
POLL_SECONDS = 0.5
LOST_CONNECTIONS = 5
"""In a row, after which following a log gives up."""


class AddressError(InputError):
    """The address is not that of a Ray cluster's dashboard."""

    remedy = "Give the dashboard's address, such as http://127.0.0.1:8265."


class TokenError(InputError):
    """The cluster wants a token, and there is none, or another."""

    remedy = "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's own."


class UnknownJobError(InputError):
    """The cluster knows no job of this name."""

    remedy = "Use an id that `moinho jobs` shows."


class ClusterUnreachableError(MoinhoError):
    """Nothing answers at the address, or not any more."""

    remedy = (
        "Look whether the cluster runs and whether its dashboard can be reached from here; "
        "`ray start --head` starts one on this machine, with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH set "
        "as infra/README.md says: whoever reaches its dashboard runs programs there."
    )


class RequestRefusedError(MoinhoError):
    """The cluster understood what was asked, and did not do it."""

    remedy = "Read what the cluster answered, which the message repeats."


class Cluster(JobSubmissionClient):
    """Ray's client for jobs. It waits for an answer for a limited time, and tells a fault in one line."""

    def __init__(self, address: str) -> None:
        self.dashboard = _checked(address)
        # Ray lets this variable win over what its client is given, and the user gave the address to us.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.dashboard
        try:
            super().__init__(self.dashboard)
        except AuthenticationError as error:
            raise self._token_error(error) from None
        except (RuntimeError, ValueError, KeyError, requests.RequestException) as error:
            raise AddressError(
                f"{self.dashboard} answers, but not as the dashboard of a Ray cluster does "
                f"({_first_line(error)}); give the address of its dashboard, such as http://HOST:8265"
            ) from None

    def _do_request(self, method: str, endpoint: str, **given: Any) -> requests.Response:
        try:
            return super()._do_request(method, endpoint, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), **given)
        except AuthenticationError as error:
            raise self._token_error(error) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ClusterUnreachableError(
                f"no Ray cluster answers at {self.dashboard} ({_reason(error)}); look whether it runs and "
                "whether this machine can reach it, or give another address with --address http://HOST:8265; "
                "to start one here: RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE ray start --head, as in "
                "infra/README.md (without a cluster: moinho run)"
            ) from None

    def _raise_error(self, answer: requests.Response) -> NoReturn:
        if answer.status_code == requests.codes.not_found:
            raise UnknownJobError(f"{self.dashboard}: {_first_line(answer.text)}; `moinho jobs` lists them")
        raise RequestRefusedError(
            f"{self.dashboard} answered with status {answer.status_code}: {_first_line(answer.text)}"
        )

    def _token_error(self, error: Exception) -> TokenError:
        told = _first_line(error).partition(". ")[0]
        return TokenError(
            f"{self.dashboard}: {told}. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH (a file) or "
            "RAY_AUTH_TOKEN to the token that the cluster was started with"
        )


def _checked(address: str) -> str:
    """The address without what a browser puts behind it. Raises AddressError."""
    try:
        parts = urlsplit(address)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise AddressError(
            f"{address!r} is not the address of a Ray cluster's dashboard{_lacks(address)}; "
            "give one with --address, such as http://127.0.0.1:8265"
        )
    return parts._replace(query="", fragment="").geturl().rstrip("/")


def _lacks(address: str) -> str:
    """What is wrong with it, where that can be told."""
    if address.startswith("ray://"):
        return ": ray:// is the port of Ray's client, and the dashboard's (mostly 8265) is meant, by http://"
    host, _, port = address.partition("/")[0].rpartition(":")
    return f": http:// is missing, write http://{address}" if host and port.isdigit() else ""


def _first_line(told: object) -> str:
    return next((line.strip() for line in str(told).splitlines() if line.strip()), type(told).__name__)


def _reason(error: BaseException) -> str:
    """What the system said, from below the wrappers of requests and urllib3."""
    while error.__context__ is not None:
        error = error.__context__
    told = getattr(error, "strerror", None) or str(error)
    return told if told and told.isprintable() else type(error).__name__


def for_cluster(config: WebToModel) -> WebToModel:
    """The configuration as a job of the cluster needs it: joins the cluster, has no relative path."""
    compute = config.compute
    moved: dict[str, Any] = {"ray_address": "auto"}
    if not is_object_store(compute.store):
        moved["store"] = Storage(compute.store).full("")
    if compute.mlflow and compute.mlflow.startswith("sqlite:///"):
        moved["mlflow"] = f"sqlite:///{Path(compute.mlflow.removeprefix('sqlite:///')).absolute()}"
    changed: dict[str, Any] = {"compute": compute.model_copy(update=moved)}
    if config.site is not None:
        folders = (
            folder.model_copy(update={"path": str(Path(folder.path).expanduser().absolute())})
            for folder in config.site.folders
        )
        changed["site"] = config.site.model_copy(update={"folders": tuple(folders)})
    return config.model_copy(update=changed)


def submit(cluster: Cluster, config: WebToModel, config_path: Path, begun_by: Sequence[str]) -> str:
    """Submit the run of a configuration made by `for_cluster`; the job's id.

    The source tree travels, or nothing if moinho is an installed wheel, and the resolved
    configuration with it, so that the job needs nothing more of this machine.
    """
    job = f"{config.name}-{secrets.token_hex(3)}"
    made_from = commit()
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), BEGUN_BY: shlex.join(begun_by)}
    if made_from:
        environment[COMMIT] = made_from
    # The store on the command line wins over $MOINHO_STORE of the cluster's machines.
    command = ["python", "-m", "flows.cli", "run", config_path.name, "--store", config.compute.store]
    with tempfile.TemporaryDirectory(prefix="moinho-job-") as folder:
        _pack(Path(folder), config, config_path.name)
        cluster.submit_job(
            entrypoint=shlex.join(command),
            submission_id=job,
            runtime_env={"working_dir": folder, "env_vars": environment},
            metadata={
                "job_name": config.name,
                "run": config.name,
                "config": str(config_path),
                "commit": made_from or "unknown",
                "user": getpass.getuser(),
            },
        )
    return job


def _pack(folder: Path, config: WebToModel, name: str) -> None:
    """Fill the folder that becomes the job's working directory."""
    tree = Path(flows.__file__).resolve().parents[1]
    if (tree / "pyproject.toml").exists():
        for source in SOURCES:
            shutil.copytree(tree / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        # The version goes into the crawler's name, also where the cluster has no moinho of its own.
        about = importlib.metadata.distribution("moinho")
        described = folder / f"moinho-{about.version}.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(about.read_text("METADATA") or "", encoding="utf-8")
    (folder / name).write_text(as_toml(config), encoding="utf-8")


@dataclass(frozen=True)
class Job:
    """What a listing tells about a job."""

    id: str
    run: str | None
    """The name of the run, or None if another program submitted the job."""
    status: str
    started: float | None
    """When it was submitted, in seconds since 1970."""
    seconds: float | None
    message: str
    config: str | None
    commit: str | None
    user: str | None


def list_jobs(cluster: Cluster) -> list[Job]:
    """The jobs that were submitted to the cluster, the oldest first."""
    found = [_job(told) for told in cluster.list_jobs() if told.type is JobType.SUBMISSION]
    return sorted(found, key=lambda job: job.started or 0.0)


def _job(told: JobDetails) -> Job:
    about = told.metadata or {}
    started, ended = told.start_time, told.end_time or int(time.time() * 1000)
    return Job(
        id=told.submission_id or "",
        run=about.get("run"),
        status=str(told.status).lower(),
        started=started / 1000 if started else None,
        seconds=max(0, ended - started) / 1000 if started else None,
        message=_message(told),
        config=about.get("config"),
        commit=about.get("commit"),
        user=about.get("user"),
    )


def _message(told: JobDetails) -> str:
    """One line: of a failed job what its own log says about the fault, if it says something."""
    lines = [line.strip() for line in (told.message or "").splitlines() if line.strip()]
    if told.status is JobStatus.FAILED:
        faults = [line for line in lines if line.startswith("error:")]
        return (faults or lines or ["failed"])[-1]
    return lines[0] if lines and told.status is JobStatus.PENDING else ""


def follow(cluster: Cluster, job: str, write: Callable[[str], None]) -> JobStatus:
    """Write the log of a job as it grows; what became of the job, once it has ended.

    A connection that is lost is taken up again where it was. Raises ClusterUnreachableError
    if that does not succeed, and UnknownJobError.
    """
    cluster.get_job_info(job)
    log, lost = Log(write), 0
    while True:
        try:
            asyncio.run(log.read(cluster, job))
            status = cluster.get_job_status(job)
            if status.is_terminal():
                return status
            lost = 0
        except aiohttp.WSServerHandshakeError as error:
            raise ClusterUnreachableError(
                f"{cluster.dashboard} does not let a log be followed (status {error.status}): "
                f"`moinho logs {job}` shows what there is"
            ) from None
        except (aiohttp.ClientError, RuntimeError, ClusterUnreachableError) as error:
            lost += 1
            if lost > LOST_CONNECTIONS:
                raise ClusterUnreachableError(
                    f"the connection to {cluster.dashboard} is lost ({_reason(error)}); the job may go on "
                    f"all the same: `moinho logs -f {job}` once the cluster can be reached"
                ) from None
        time.sleep(2**lost * POLL_SECONDS)


class Log:
    """The log of a job, each part of it written once however often it is read from the beginning."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write, self.written = write, 0

    async def read(self, cluster: Cluster, job: str) -> None:
        position = 0
        async for part in cluster.tail_job_logs(job):
            fresh = part[max(0, self.written - position) :]
            position += len(part)
            if fresh:
                self.write(fresh)
                self.written += len(fresh)


def cancel(cluster: Cluster, job: str) -> tuple[bool, JobStatus]:
    """Stop a job as Ctrl-C stops a run, and wait for its end. Whether it ran, and what became of it."""
    ran = bool(cluster.stop_job(job))
    end = time.monotonic() + STOP_SECONDS + ANSWER_SECONDS
    while not (status := cluster.get_job_status(job)).is_terminal() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return ran, status

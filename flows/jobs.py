"""The jobs of a Ray cluster: listed, looked at, followed, stopped, and taken up again."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobType

from flows.dashboard import (
    ANSWER_SECONDS,
    Cluster,
    ClusterUnreachableError,
    RequestRefusedError,
    UnknownJobError,
    reason,
)
from flows.job_log import Progress, progress_of
from pipeline.errors import InputError

STOP_SECONDS = 60
"""From the signal that stops a job to the one that kills it. Ray's three are too few to end MLflow's runs."""
POLL_SECONDS = 0.5
LOST_CONNECTIONS = 5
"""In a row, after which following a log gives up."""
WAITS, RUNS = "pending", "running"


class ForeignJobError(InputError):
    """A job that should be looked at or taken up again was not submitted by moinho, or by an older one."""

    remedy = (
        "Name a job that `moinho jobs` shows with a run, or submit its configuration with `moinho submit`."
    )


class JobGoesOnError(InputError):
    """A job that should be taken up again waits or runs still."""

    remedy = "Follow it with `moinho logs -f JOB`; `moinho cancel JOB` stops it."


@dataclass(frozen=True)
class Job:
    """What the cluster keeps of a job."""

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
    store: str | None
    mlflow: str | None
    """The tracking URI of the configuration, if that names one."""
    stage: str = ""
    """What a running one makes now, in a few words, if that was looked up."""

    @property
    def has_ended(self) -> bool:
        return self.status not in (WAITS, RUNS)


@dataclass(frozen=True)
class Kept:
    """What a job can be submitted by again."""

    run: str
    configuration: str
    """As TOML, resolved."""
    config: str
    """The path of the file that it was made from, on the machine that submitted it."""
    source: str
    """Identity of the code that went with it, as `Request.source` has it."""
    commit: str
    environment: str
    until: str
    """Empty of a run that went to its end."""


def list_jobs(cluster: Cluster) -> list[Job]:
    """The jobs that were submitted to the cluster, the oldest first."""
    found = [_job(told) for told in cluster.list_jobs() if told.type is JobType.SUBMISSION]
    return sorted(found, key=lambda job: job.started or 0.0)


def with_stages(cluster: Cluster, jobs: list[Job]) -> list[Job]:
    """The same jobs, and of those that run what they are making now: a request for each."""
    return [
        replace(job, stage=progress(cluster, job.id).stage()) if job.run and job.status == RUNS else job
        for job in jobs
    ]


def find(cluster: Cluster, job: str) -> Job:
    """Raises UnknownJobError, and ForeignJobError of what is no run of moinho."""
    return _job(_run_of(cluster, job))


def _run_of(cluster: Cluster, job: str) -> JobDetails:
    told = cluster.get_job_info(job)
    if told.type is not JobType.SUBMISSION or "run" not in (told.metadata or {}):
        raise ForeignJobError(
            f"{job} is a job of {cluster.dashboard}, but no run that moinho submitted; `moinho jobs` lists "
            "those with the names of their runs"
        )
    return told


def newest(cluster: Cluster, user: str) -> Job:
    """The newest run that a user submitted. Raises UnknownJobError."""
    found = [job for job in list_jobs(cluster) if job.run is not None and job.user == user]
    if not found:
        raise UnknownJobError(
            f"{cluster.dashboard}: {user} has submitted no run there; `moinho jobs` lists those of others"
        )
    return found[-1]


def progress(cluster: Cluster, job: str) -> Progress:
    """How far a run is by its log; nothing is known while the node that has the log does not answer."""
    try:
        return progress_of(cluster.get_job_logs(job))
    except RequestRefusedError:
        return Progress()


def kept(cluster: Cluster, job: str) -> Kept:
    """What a job that has ended was submitted with.

    Raises UnknownJobError, ForeignJobError and JobGoesOnError.
    """
    told = _run_of(cluster, job)
    found, about = _job(told), told.metadata or {}
    if "configuration" not in about:
        raise ForeignJobError(
            f"{job} has no configuration with it (it was too large to be kept, or an older moinho submitted "
            f"it): submit {found.config} once more, and it goes on with what is in the store"
        )
    if not found.has_ended:
        raise JobGoesOnError(
            f"{job} is {found.status} still, so there is nothing to take up: moinho logs -f {job} follows "
            f"it, moinho cancel {job} stops it"
        )
    return Kept(
        run=found.run or "",
        configuration=about["configuration"],
        config=about["config"],
        source=about["source"],
        commit=about["commit"],
        environment=about["environment"],
        until=about.get("until", ""),
    )


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
        store=about.get("store"),
        mlflow=about.get("mlflow") or None,
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
                    f"the connection to {cluster.dashboard} is lost ({reason(error)}); the job may go on "
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

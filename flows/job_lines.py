"""What is told of a job on a terminal: label → text, in the order of telling."""

import os
import shlex
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from flows.display import duration
from flows.job_log import Progress
from flows.jobs import RUNS, WAITS, Job
from pipeline.compute_config import ComputeConfig
from pipeline.credentials import shown
from pipeline.store.storage import is_object_store
from pipeline.tracking.destination import EXPERIMENT, runs_page

Command = Callable[..., str]
"""From the words behind `moinho` to what is typed for the same cluster."""


def submitted_lines(
    dashboard: str, job: str, name: str, compute: ComputeConfig, command: Command
) -> dict[str, str]:
    """Of a job that has just been submitted, or was there already."""
    return {
        "job": job,
        "dashboard": f"{dashboard}/#/jobs/{job}",
        "store": compute.store,
        "MLflow": mlflow_told(name, compute.mlflow, compute.store),
        "follow": command("logs", "-f", job),
        "look": command("status", job),
        "stop": command("cancel", job),
    }


def status_lines(job: Job, far: Progress, command: Command) -> dict[str, str]:
    """How far it is, where to look, and what to type next."""
    who = f", by {job.user}" if job.user else ""
    lines = {"job": job.id, "submitted": f"{clock(job.started)}{who}, commit {job.commit or 'unknown'}"}
    took = (
        "" if job.seconds is None else f"{' for' if not job.has_ended else ' after'} {duration(job.seconds)}"
    )
    lines["status"] = f"{job.status}{took}"
    if far.finished:
        lines["finished"] = ", ".join(far.finished)
    if far.ended or far.running:
        lines["stage"] = far.ended or far.stage()
    if told := (far.error if job.status == "failed" else None) or job.message:
        lines["error" if job.status == "failed" else "note"] = told.removeprefix("error: ")
    if far.last:
        lines["last line"] = far.last
    if job.store is not None and job.run is not None:
        lines["store"] = job.store
        lines["MLflow"] = far.page or mlflow_told(job.run, job.mlflow, job.store)
    return lines | _next(job, command)


def _next(job: Job, command: Command) -> dict[str, str]:
    if job.status in (WAITS, RUNS):
        return {"follow": command("logs", "-f", job.id), "stop": command("cancel", job.id)}
    if job.status == "succeeded":
        store = [] if job.store is None else ["--store", job.store]
        return {"look": shlex.join(["moinho", "ls", job.run or "", *store])}
    return {"log": command("logs", job.id), "go on": command("resume", job.id)}


def clock(seconds: float | None) -> str:
    """Seconds since 1970 as the time of day here."""
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def mlflow_told(run: str, configured: str | None, store: str) -> str:
    """Where the run will be seen, as far as this machine can tell."""
    named = f"experiment {EXPERIMENT}, run {run}"
    if configured and urlsplit(configured).scheme in ("http", "https"):
        return f"{runs_page(configured, run)} ({named})"
    if configured:
        return f"{named}, at {urlsplit(configured).hostname or shown(configured)}"
    mine = " (not that of this machine)" if "MLFLOW_TRACKING_URI" in os.environ else ""
    if is_object_store(store):
        place = "a database on the node that the job runs on; name a server by --set compute.mlflow=URL"
    else:
        place = f"the store: moinho ui --store {shlex.quote(store)}"
    return f"{named}, at the cluster's $MLFLOW_TRACKING_URI{mine}, or without one in {place}"

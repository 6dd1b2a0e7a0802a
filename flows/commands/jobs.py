"""`moinho submit`, `jobs`, `logs` and `cancel`: runs on a Ray cluster."""

import logging
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.options import (
    AsJson,
    ConfigPath,
    Name,
    Settings,
    Snapshot,
    StoreRoot,
    as_typed,
    console,
    load_configuration,
    print_json,
    settings_with,
)

if TYPE_CHECKING:
    from flows.jobs import Cluster
    from flows.web_to_model import WebToModel

DASHBOARD = "http://127.0.0.1:8265"
Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
        help="The dashboard of the Ray cluster.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, as `moinho jobs` shows it.")]


def submit(
    config: ConfigPath,
    address: Address = DASHBOARD,
    settings: Settings = None,
    snapshot: Snapshot = None,
    name: Name = None,
    store: StoreRoot = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show the job's log until it ends.")] = False,
) -> None:
    """Run the flow as a job of a Ray cluster. The configuration is checked here first.

    A cluster with a token wants RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN.
    """
    settings = settings_with(settings, snapshot)
    loaded = load_configuration(config, settings, name, store)
    from flows.jobs import for_cluster
    from flows.jobs import submit as submit_job

    loaded = for_cluster(loaded)
    cluster = _connect(address)
    command = as_typed("submit", config, settings, name, store)
    job = submit_job(cluster, loaded, config, [*command, *_addressed(cluster)])
    _tell_submitted(cluster, job, loaded)
    if follow:
        _follow(cluster, job)


def jobs(address: Address = DASHBOARD, as_json: AsJson = False) -> None:
    """List the jobs of a Ray cluster, the oldest first."""
    from flows.display import duration
    from flows.jobs import list_jobs

    rows = list_jobs(_connect(address))
    if as_json:
        print_json([vars(row) for row in rows])
        return
    if not rows:
        console.print("The cluster has no jobs. `moinho submit configs/quickstart.toml` makes one.")
        return
    table = Table("id", "run", "status", "started", "took", "message", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # never cut: ids are there to be copied
    for row in rows:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)) if row.started else "-"
        took = "-" if row.seconds is None else duration(row.seconds)
        table.add_row(row.id, row.run or "-", row.status, started, took, escape(row.message))
    console.print(table)


def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    address: Address = DASHBOARD,
) -> None:
    """Show the log of a job.

    With -f the exit code tells what became of it: 0 it succeeded, 1 it failed, 130 it was stopped.
    """
    cluster = _connect(address)
    if follow:
        _follow(cluster, job)
    sys.stdout.write(cluster.get_job_logs(job))


def cancel(job: JobId, address: Address = DASHBOARD) -> None:
    """Stop a job as Ctrl-C stops a run: what is finished stays, and the same submit goes on."""
    from flows.jobs import cancel as cancel_job

    cluster = _connect(address)
    with console.status(f"stopping {job}"):
        ran, status = cancel_job(cluster, job)
    if not ran:
        console.print(f"{job} does not run any more: {str(status).lower()}")
    elif status.is_terminal():
        console.print(f"{job}: {str(status).lower()}. What it had finished stays in the store.")
    else:
        console.print(f"{job} has been told to stop, and has not yet; `moinho jobs` shows when it has")


def _connect(address: str) -> "Cluster":
    from flows.jobs import Cluster

    logging.disable(logging.INFO)  # Ray tells each step of packing and sending
    return Cluster(address)


def _addressed(cluster: "Cluster") -> list[str]:
    """What a command must be given to find the same cluster."""
    return [] if cluster.dashboard == DASHBOARD else ["--address", cluster.dashboard]


def _command(cluster: "Cluster", *words: str) -> str:
    """What to type next."""
    return shlex.join(["moinho", *words, *_addressed(cluster)])


def _tell_submitted(cluster: "Cluster", job: str, config: "WebToModel") -> None:
    from pipeline.store.storage import is_object_store

    store = config.compute.store
    lines = {
        "job": job,
        "dashboard": f"{cluster.dashboard}/#/jobs/{job}",
        "store": store,
        "MLflow": _mlflow(config),
        "follow": _command(cluster, "logs", "-f", job),
        "stop": _command(cluster, "cancel", job),
    }
    for label, told in lines.items():
        console.print(f"[bold]{label:<10}[/bold] {escape(told)}", soft_wrap=True)
    if not is_object_store(store):
        console.print(
            "[yellow]note:[/yellow] the store is a folder: every node of the cluster must see "
            f"{escape(store)} under this path, or give an object store such as s3://bucket/prefix",
            soft_wrap=True,
        )


def _mlflow(config: "WebToModel") -> str:
    """Where the run will be seen, as far as this machine can tell."""
    from pipeline.store.storage import is_object_store
    from pipeline.tracking.destination import EXPERIMENT

    run = f"experiment {EXPERIMENT}, run {config.name}"
    if config.compute.mlflow:
        return f"{run}, at {urlsplit(config.compute.mlflow).hostname or config.compute.mlflow}"
    mine = " (not that of this machine)" if "MLFLOW_TRACKING_URI" in os.environ else ""
    if is_object_store(config.compute.store):
        place = "a database on the node that the job runs on; name a server by --set compute.mlflow=URL"
    else:
        place = f"the store: moinho ui --store {shlex.quote(config.compute.store)}"
    return f"{run}, at the cluster's $MLFLOW_TRACKING_URI{mine}, or without one in {place}"


def _follow(cluster: "Cluster", job: str) -> None:
    """Show the log to the job's end; leaves with the exit code that says how it ended."""
    from flows.jobs import follow
    from flows.run import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED

    def write(part: str) -> None:
        sys.stdout.write(part)
        sys.stdout.flush()

    try:
        status = follow(cluster, job, write)
    except KeyboardInterrupt:
        follows, stops = _command(cluster, "logs", "-f", job), _command(cluster, "cancel", job)
        console.print(f"\nThe job goes on. To follow it: {follows}\nTo stop it: {stops}", soft_wrap=True)
        raise typer.Exit(EXIT_STOPPED) from None
    codes = {"SUCCEEDED": EXIT_DONE, "FAILED": EXIT_FAILED, "STOPPED": EXIT_STOPPED}
    console.print(f"{job}: {str(status).lower()}")
    raise typer.Exit(codes[str(status)])

"""`moinho submit`, `resume`, `jobs`, `status`, `logs` and `cancel`: runs on a Ray cluster."""

import logging
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

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
    Until,
    as_typed,
    console,
    load_configuration,
    print_json,
    settings_with,
)
from flows.environments import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flows.dashboard import Cluster
    from flows.submitting import Request

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
Again = Annotated[
    bool,
    typer.Option("--again", help="Submit also what a job has finished already, according to the store."),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show the job's log until it ends.")]


def submit(
    config: ConfigPath,
    address: Address = DASHBOARD,
    settings: Settings = None,
    snapshot: Snapshot = None,
    name: Name = None,
    store: StoreRoot = None,
    until: Until = None,
    environment: Annotated[
        Environment,
        typer.Option(help="Packages of the job: those of the cluster's machines, or those of a lock file."),
    ] = Environment.CLUSTER,
    again: Again = False,
    follow: Follow = False,
) -> None:
    """Run the flow as a job of a Ray cluster. The configuration is checked here first.

    The same recipe is submitted once: where such a job waits or runs, that one is told, and what is finished
    is not run again. A cluster with a token wants RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH or
    RAY_AUTH_TOKEN.
    """
    settings = settings_with(settings, snapshot)
    loaded = load_configuration(config, settings, name, store)
    from flows.submitting import Request, for_cluster

    cluster = _connect(address)
    command = [*as_typed("submit", config, settings, name, store, until), *_environed(environment)]
    again_by = [*command, *_addressed(cluster)]
    request = Request(for_cluster(loaded), str(config), again_by, environment, until)
    _submit(cluster, request, again, follow)


def resume(job: JobId, address: Address = DASHBOARD, again: Again = False, follow: Follow = False) -> None:
    """Submit a job that failed or was stopped once more, with the configuration that it had.

    The code is that of this machine; it is told if that is another than the job's.
    """
    from flows.jobs import kept
    from flows.submitting import again_as

    cluster = _connect(address)
    before = kept(cluster, job)
    request = again_as(before, ["moinho", "resume", job, *_addressed(cluster)])
    if request.source != before.source:
        console.print(
            f"[yellow]note:[/yellow] the code is not the job's: that was {escape(before.commit)}, this is "
            f"{escape(request.commit or 'unknown')}; what is finished is reused all the same",
            soft_wrap=True,
        )
    _submit(cluster, request, again, follow)


def jobs(address: Address = DASHBOARD, as_json: AsJson = False) -> None:
    """List the jobs of a Ray cluster, the oldest first."""
    from flows.display import duration
    from flows.job_lines import clock
    from flows.jobs import list_jobs, with_stages

    cluster = _connect(address)
    rows = with_stages(cluster, list_jobs(cluster))
    if as_json:
        print_json([vars(row) for row in rows])
        return
    if not rows:
        console.print("The cluster has no jobs. `moinho submit configs/quickstart.toml` makes one.")
        return
    table = Table("id", "run", "who", "status", "started", "took", "message", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # never cut: ids are there to be copied
    for row in rows:
        took = "-" if row.seconds is None else duration(row.seconds)
        told = escape(row.message or row.stage)
        table.add_row(row.id, row.run or "-", row.user or "-", row.status, clock(row.started), took, told)
    console.print(table)


def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="The id of a job. Default: your newest one.")
    ] = None,
    address: Address = DASHBOARD,
    as_json: AsJson = False,
) -> None:
    """Tell how far a job is, and where to look next."""
    from flows.jobs import find, newest, progress
    from flows.submitting import user

    cluster = _connect(address)
    found = newest(cluster, user()) if job is None else find(cluster, job)
    far = progress(cluster, found.id)
    if as_json:
        print_json({**vars(found), **vars(far), "stage": far.stage()})
        return
    from flows.job_lines import status_lines

    _tell(status_lines(found, far, partial(_command, cluster)))


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
    from flows.dashboard import Cluster

    logging.disable(logging.INFO)  # Ray tells each step of packing and sending
    return Cluster(address)


def _addressed(cluster: "Cluster") -> list[str]:
    """What a command must be given to find the same cluster."""
    return [] if cluster.dashboard == DASHBOARD else ["--address", cluster.dashboard]


def _command(cluster: "Cluster", *words: str) -> str:
    """What to type next."""
    return shlex.join(["moinho", *words, *_addressed(cluster)])


def _environed(environment: Environment) -> list[str]:
    return [] if environment is Environment.CLUSTER else ["--environment", environment]


def _submit(cluster: "Cluster", request: "Request", again: bool, follow: bool) -> None:
    from flows.job_lines import submitted_lines
    from flows.submitting import finished_job
    from flows.submitting import submit as submit_job
    from pipeline.store.storage import is_object_store

    compute = request.config.compute
    if not again:
        with console.status("looking for what is there already"):
            finished = finished_job(cluster, request)
        if finished is not None:
            job, is_seen = finished
            known = "everything is in" if is_seen else "this machine cannot look into"
            console.print(
                f"Nothing to do: {job} has succeeded, and {known} the store {escape(compute.store)}. "
                "To submit it all the same: add --again",
                soft_wrap=True,
            )
            return
    job, was_there = submit_job(cluster, request)
    if was_there:
        console.print(
            f"The same recipe waits or runs already, as {job}: nothing was submitted.", soft_wrap=True
        )
    else:
        console.print(f"Submitted as {job}.", soft_wrap=True)
    _tell(submitted_lines(cluster.dashboard, job, request.config.name, compute, partial(_command, cluster)))
    if not is_object_store(compute.store) and not was_there:
        console.print(
            "[yellow]note:[/yellow] the store is a folder: every node of the cluster must see "
            f"{escape(compute.store)} under this path, or give an object store such as s3://bucket/prefix",
            soft_wrap=True,
        )
    if follow:
        _follow(cluster, job)


def _tell(lines: "Mapping[str, str]") -> None:
    for label, told in lines.items():
        console.print(f"[bold]{label:<10}[/bold] {escape(told)}", soft_wrap=True)


def _follow(cluster: "Cluster", job: str) -> None:
    """Show the log to the job's end; leaves with the exit code that says how it ended."""
    from flows.endings import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
    from flows.jobs import follow

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

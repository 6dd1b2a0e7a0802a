"""From a configuration to a job of a Ray cluster: what travels, and that the same recipe travels once."""

import getpass
import hashlib
import importlib.metadata
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import flows
from flows.configuration import load
from flows.dashboard import Cluster, RequestRefusedError
from flows.drift import CHANGED
from flows.environments import Environment, runtime_environment
from flows.inspection import as_toml
from flows.jobs import STOP_SECONDS, Job, Kept, list_jobs
from flows.on_cluster import SUBMITTED_WITH, require_same_minor
from flows.planning import planned_artifacts
from flows.run import BEGUN_BY
from flows.web_to_model import WebToModel
from pipeline.config import Config
from pipeline.credentials import shown
from pipeline.store import Storage, Store, sha256_of
from pipeline.store.records import COMMIT, commit, versions
from pipeline.store.storage import is_object_store

SOURCES = ("crawler", "pipeline", "flows", "configs")
NOT_COMPARED = ("platform", "moinho")
"""Of the versions that records have: those that a cluster may have otherwise, and what travels."""
DIGEST_CHARACTERS = 8
SMALL_FILE_BYTES = 10_000_000
"""Files that a configuration names are told apart by their content up to here, and by their size beyond."""
KEPT_CHARACTERS = 100_000
"""Of a configuration that is kept with its job: Ray hands what belongs to a job to its driver as one variable
of the environment, and Linux takes 128 KiB."""


def user() -> str:
    """Who submits. A container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


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


@dataclass(frozen=True)
class Request:
    """A run that is to be a job."""

    config: WebToModel
    """As `for_cluster` makes it."""
    config_path: str
    """As its user typed it."""
    begun_by: Sequence[str]
    """The command that goes on with it."""
    environment: Environment = Environment.CLUSTER
    until: str | None = None
    """Stage or artifact that the run ends with, if that is not its end."""

    @cached_property
    def source(self) -> str:
        """Identity of the code that travels: its content, or the version of an installed wheel."""
        tree = source_tree()
        if tree is None:
            return f"moinho {importlib.metadata.version('moinho')}"
        digest = hashlib.sha256()
        for path in sorted(_code_in(tree)):
            digest.update(f"{path.relative_to(tree).as_posix()}\0{sha256_of(path)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def commit(self) -> str | None:
        """The commit, if it is known; of a tree with changes, which of all its states it is."""
        found = commit()
        if found is None or not found.endswith(CHANGED):
            return found
        return f"{found.removesuffix(CHANGED)}-dirty.{self.source[:DIGEST_CHARACTERS]}"

    @cached_property
    def stem(self) -> str:
        """What the ids of all jobs of this recipe begin with: the run's name, and a digest of whatever
        decides what is made and where it is kept."""
        sections = (name for name in type(self.config).model_fields if name not in ("name", "compute"))
        recipe = {name: _resolved(getattr(self.config, name)) for name in sections}
        parts = {
            "recipe": recipe,
            "files": dict(_files_named(recipe)),
            "store": self.config.compute.store,
            "source": self.source,
            **({} if self.until is None else {"until": self.until}),
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self.config.name}-{digest[:DIGEST_CHARACTERS]}-"


def again_as(before: Kept, begun_by: Sequence[str]) -> Request:
    """What was submitted once, with the code of this machine. Raises ConfigurationError if that has not all
    of its settings."""
    with tempfile.TemporaryDirectory(prefix="moinho-job-") as folder:
        path = Path(folder) / Path(before.config).name
        path.write_text(before.configuration, encoding="utf-8")
        config = load(WebToModel, path)
    return Request(config, before.config, begun_by, Environment(before.environment), before.until or None)


def submit(cluster: Cluster, request: Request) -> tuple[str, bool]:
    """Submit the run, or find the job of its recipe that waits or runs. The id, and whether it was there.

    The source tree travels, or nothing if moinho is an installed wheel, and the resolved configuration with
    it, so that the job needs nothing more of this machine. An id says how many such jobs there were before,
    and a cluster takes each id once: of two who submit at the same moment the second finds the first's job.
    Raises ClusterVersionsError.
    """
    mine = {name: version for name, version in versions().items() if name not in NOT_COMPARED}
    require_same_minor(mine, cluster.versions())
    while True:
        before = jobs_of(cluster, request)
        if before and not before[-1].has_ended:
            return before[-1].id, True
        job = f"{request.stem}{_number(before[-1].id) + 1 if before else 1}"
        try:
            _send(cluster, request, job, mine)
        except RequestRefusedError:
            if job not in (other.id for other in jobs_of(cluster, request)):
                raise
        else:
            return job, False


def jobs_of(cluster: Cluster, request: Request) -> list[Job]:
    """Those of the same recipe, the newest last."""
    found = [job for job in list_jobs(cluster) if job.id.startswith(request.stem) and _number(job.id)]
    return sorted(found, key=lambda job: _number(job.id))


def finished_job(cluster: Cluster, request: Request) -> tuple[str, bool] | None:
    """The newest job of the recipe if it succeeded and nothing that it made is missing; and whether that
    could be seen, or the store cannot be looked into from here."""
    before = jobs_of(cluster, request)
    if not before or before[-1].status != "succeeded":
        return None
    there = is_in_store(request.config, request.until)
    return None if there is False else (before[-1].id, there is True)


def is_in_store(config: WebToModel, until: str | None = None) -> bool | None:
    """Whether all that a run makes (as far as `until`) is there, under the run's names. None if this machine
    cannot tell."""
    try:
        storage = Storage(config.compute.store)
        if storage.is_local and not storage.exists(""):
            return None
        store, found = Store(config.compute.store), planned_artifacts(config, until)
        names = {f"{config.name}/{artifact.role}": (artifact.stage, artifact.key) for artifact in found}
        is_named = all(store.target_of(name) == target for name, target in names.items())
        return is_named and all(artifact.exists() for artifact in found)
    except (
        Exception
    ):  # no credentials, no route, no such folder or package on this machine: all the cluster's
        return None


def _number(job: str) -> int:
    """The how manieth of its recipe it is; 0 if it is of another kind."""
    last = job.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def _send(cluster: Cluster, request: Request, job: str, mine: Mapping[str, str]) -> None:
    config, name = request.config, Path(request.config_path).name
    environment = {
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
        BEGUN_BY: shlex.join(request.begun_by),
        SUBMITTED_WITH: json.dumps(mine),
    }
    if request.commit is not None:
        environment[COMMIT] = request.commit
    # The store on the command line wins over $MOINHO_STORE of the cluster's machines.
    command = ["python", "-m", "flows.on_cluster", "run", name, "--store", config.compute.store]
    command += [] if request.until is None else ["--until", request.until]
    with tempfile.TemporaryDirectory(prefix="moinho-job-") as folder:
        pack(Path(folder), config, name)
        needs = runtime_environment(request.environment, Path(folder))
        cluster.submit_job(
            entrypoint=shlex.join(command),
            submission_id=job,
            runtime_env={"working_dir": folder, "env_vars": environment, **needs},
            metadata=_metadata(request),
        )


def _metadata(request: Request) -> dict[str, str]:
    """What the cluster keeps with the job, for whoever asks later and from elsewhere."""
    configuration = as_toml(request.config)
    kept = {"configuration": configuration} if len(json.dumps(configuration)) <= KEPT_CHARACTERS else {}
    return {
        "job_name": request.config.name,
        "run": request.config.name,
        "config": request.config_path,
        "store": request.config.compute.store,
        "commit": request.commit or "unknown",
        "mlflow": shown(request.config.compute.mlflow or ""),
        "source": request.source,
        "environment": request.environment,
        "until": request.until or "",
        "user": user(),
        **kept,
    }


def source_tree() -> Path | None:
    """The folder that moinho runs from, or None if it is an installed wheel."""
    tree = Path(flows.__file__).resolve().parents[1]
    return tree if (tree / "pyproject.toml").exists() else None


def pack(folder: Path, config: WebToModel, name: str) -> None:
    """Fill the folder that becomes the job's working directory."""
    if (tree := source_tree()) is not None:
        for source in SOURCES:
            shutil.copytree(tree / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        # The version goes into the crawler's name, also where the cluster has no moinho of its own.
        about = importlib.metadata.distribution("moinho")
        described = folder / f"moinho-{about.version}.dist-info"
        described.mkdir()
        told = about.read_text("METADATA") or about.read_text("PKG-INFO") or ""
        (described / "METADATA").write_text(told, encoding="utf-8")
    (folder / name).write_text(as_toml(config), encoding="utf-8")


def _code_in(tree: Path) -> Iterator[Path]:
    """All that travels but the configurations: what the job's says is in its recipe, and the others are not
    read."""
    for folder in SOURCES:
        for path in (tree / folder).rglob("*"):
            is_configuration = folder == "configs" and path.suffix == ".toml"
            if path.is_file() and "__pycache__" not in path.parts and not is_configuration:
                yield path


def _resolved(section: object) -> object:
    """Sections and lists of sections as JSON types, every setting with the value that it will have."""
    if isinstance(section, Config):
        return section.resolved()
    return [_resolved(each) for each in section] if isinstance(section, tuple) else section


def _files_named(value: object) -> Iterator[tuple[str, str]]:
    """Files of this machine among the texts of a configuration, such as seeds → what they are now."""
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _files_named(each)
    elif isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value):
        path = Path(value)
        size = path.stat().st_size
        yield value, sha256_of(path) if size <= SMALL_FILE_BYTES else f"{size} bytes"

"""Where runs are recorded: an SQLite database in the store, or the server of a URI; and its web pages."""

import contextlib
import hashlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import filelock

from pipeline.credentials import require_no_secret, shown
from pipeline.errors import InputError
from pipeline.store import Storage, faults_told
from pipeline.store.storage import cache_folder
from pipeline.tracking.addresses import mend_addresses

log = logging.getLogger(__name__)

EXPERIMENT = "moinho"
IN_THE_STORE = "store"
SERVERS = ("http", "https", "databricks")
SECRET_OF_SERVER = (
    "MLflow's address ($MLFLOW_TRACKING_URI or compute.mlflow)",
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in its place",
)
QUIET_ENVIRONMENT = {
    # MLflow takes only "true" for an answer to DO_NOT_TRACK.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
BRIEF_ENVIRONMENT = {
    **QUIET_ENVIRONMENT,
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
"""For a question that can go without an answer."""


class PortInUseError(InputError):
    """Another program listens on the port already, or the address is none of this machine."""

    remedy = "Choose another with --port."


class ServedElsewhereError(InputError):
    """Runs are recorded by a server of its own, so there is nothing to serve here."""

    remedy = "Open the server's own address in a browser."


@dataclass(frozen=True)
class Destination:
    """An MLflow tracking URI, and where files go if it is a database and not a server."""

    uri: str
    artifacts: Path | None
    """Folder for files and models; None leaves it to the server."""
    label: str
    """Names the destination in the store's journals, without passwords, also after the store moved."""

    @classmethod
    def of(cls, storage: Storage, configured: str | None = None) -> "Destination":
        """The configured URI, else $MLFLOW_TRACKING_URI, else a database in the store.

        An object store cannot hold a database; its runs are kept in the cache folder of this machine. Of a
        database the environment's URI may have the password, for want of another way to give it; what a
        configuration says was checked when it was read. Raises SecretInSettingError for one of a server.
        """
        uri = configured or os.environ.get("MLFLOW_TRACKING_URI")
        if uri:
            if urlsplit(uri).scheme in SERVERS:
                require_no_secret(uri, *SECRET_OF_SERVER)
            return cls(uri, _files_of(uri), shown(uri))
        home = storage.local("")
        if home is None:
            home = cache_folder() / "tracking" / hashlib.sha256(storage.root.encode()).hexdigest()[:16]
        home = home.resolve()
        return cls(f"sqlite:///{home}/mlflow.db", home / "mlflow-artifacts", IN_THE_STORE)

    @property
    def is_server(self) -> bool:
        return urlsplit(self.uri).scheme in SERVERS

    def page(self, run: str) -> str:
        """Of the run `experiment/run`: the address at a server, or of a database what follows the address at
        which its pages are served."""
        experiment, _, identity = run.partition("/")
        path = f"/#/experiments/{experiment}/runs/{identity}"
        return f"{self.label.rstrip('/')}{path}" if self.is_server else path

    def exists(self) -> bool:
        """False of a database in a file that no run has made yet."""
        path = _sqlite_path(self.uri)
        return path is None or path.exists()

    def prepare(self) -> str:
        """Create, migrate or mend the database, before anyone else opens it; the id of our experiment.

        One process of this machine at a time: several that open a new SQLite database at once
        break each other.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        with _exclusively(self.uri):
            if self.artifacts is not None:
                self.artifacts.mkdir(parents=True, exist_ok=True)
            if not self.is_server:
                _prepare_tables(self.uri)
            if self.artifacts is not None and (database := _sqlite_path(self.uri)) is not None:
                mend_addresses(database, self.artifacts)
            client = MlflowClient(self.uri)
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            found = client.get_experiment_by_name(name)
            if found is None:
                location = None if self.artifacts is None else self.artifacts.as_uri()
                try:
                    return str(client.create_experiment(name, artifact_location=location))
                except MlflowException as error:
                    found = client.get_experiment_by_name(name)
                    if found is None:
                        raise error
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)


def runs_page(uri: str, run: str) -> str:
    """Where an MLflow server shows the runs of that name; its experiments, if it does not answer soon or has
    not ours yet."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    os.environ.update(BRIEF_ENVIRONMENT)
    pages = f"{shown(uri).rstrip('/')}/#/experiments"
    try:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = MlflowClient(uri).get_experiment_by_name(name)
    except MlflowException:
        return pages
    wanted = quote(f"attributes.run_name = '{run}'")
    return pages if found is None else f"{pages}/{found.experiment_id}/runs?searchFilter={wanted}"


def ui_command(destination: Destination, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's web pages for the `destination` of its environment."""
    command = [sys.executable, "-m", "mlflow", "server"]
    if destination.artifacts is not None:
        command += ["--default-artifact-root", destination.artifacts.as_uri()]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def ui_environment(destination: Destination) -> Mapping[str, str]:
    """With where runs are recorded, which among a command's words every user of the machine could read."""
    return {
        **os.environ,
        **QUIET_ENVIRONMENT,
        "MLFLOW_BACKEND_STORE_URI": destination.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def serve_ui(
    storage: Storage,
    configured: str | None = None,
    host: str = "127.0.0.1",
    port: int = 5000,
    tell: Callable[[str], None] = lambda address: None,
) -> int:
    """Serve MLflow's web pages until they are stopped; the server's exit code.

    `tell` gets the address once it is known that nothing stands in the way of serving there.
    Raises PortInUseError, ServedElsewhereError where runs go to a server, and NotWritableError where there
    is no database yet and none can be made.
    """
    destination = Destination.of(storage, configured)
    if destination.is_server:
        raise ServedElsewhereError(
            f"runs are recorded by the server at {destination.label}: open that address in a browser"
        )
    require_free(host, port)
    os.environ.update(QUIET_ENVIRONMENT)
    with faults_told(storage.local("")):
        destination.prepare()
    tell(f"http://{host}:{port}")
    # A group of its own: the server starts others, and all of them are to end with us.
    server = subprocess.Popen(
        ui_command(destination, host, port), env=ui_environment(destination), start_new_session=True
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def require_free(host: str, port: int) -> None:
    """Raises PortInUseError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(
                f"{host}:{port} cannot be listened on ({error.strerror}); "
                f"choose another port, such as --port {port + 1 if port < 65535 else port - 1}"
            ) from error


def _prepare_tables(uri: str) -> None:
    """Make the tables of a new database, or bring those that an older MLflow made up to date.

    A new SQLite file appears under its name only when it is complete: one whose making was
    interrupted could never be opened again.
    """
    path = _sqlite_path(uri)
    if path is None or path.exists():
        _migrate(uri)
        return
    from mlflow.store.db import utils

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{part}")  # type: ignore[no-untyped-call]
    try:
        utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()
    os.replace(part, path)


def _migrate(uri: str) -> None:
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(uri)  # type: ignore[no-untyped-call]
    try:
        if utils._all_tables_exist(engine):  # type: ignore[no-untyped-call]
            try:
                utils._verify_schema(engine)  # type: ignore[no-untyped-call]
            except Exception as error:
                log.info("migrating %s: %s", shown(uri), error)
                utils._upgrade_db(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


@contextlib.contextmanager
def _exclusively(uri: str) -> Iterator[None]:
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"moinho-locks-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / f"mlflow-{name}.lock"):
        yield


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _files_of(uri: str) -> Path | None:
    """Files lie beside an SQLite database; any other backend knows its own place."""
    path = _sqlite_path(uri)
    return None if path is None else path.parent / "mlflow-artifacts"

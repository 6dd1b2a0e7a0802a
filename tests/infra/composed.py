"""The services of infra/mlflow/compose.yaml as processes of this machine, without containers.

Each is started with the arguments and environment that stand in the file. What a container would have made
so is put in their place: names of hosts by ports of 127.0.0.1, folders of a container by temporary ones.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.object_store import PORTS, free_ports, require_weed

HERE = Path(__file__).parents[2] / "infra" / "mlflow"
START_SECONDS = 600
POSTGRES_FOLDERS = "postgresql/*/bin"
NOBODY = "postgres"
"""The user that Debian's package makes: PostgreSQL refuses to run as root."""


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HERE / "compose.yaml").read_text())
    return found


def make_secrets(folder: Path) -> dict[str, str]:
    """As the page says; what the MLflow server is told by them."""
    subprocess.run([HERE / "make-secrets.sh", folder], check=True, stdout=subprocess.DEVNULL)
    lines = (folder / "mlflow_environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def require_postgres() -> Path:
    """The folder of PostgreSQL's programs. Skips the test without them, or fails it where they must be."""
    folders = sorted(Path("/usr/lib").glob(POSTGRES_FOLDERS), key=lambda path: int(path.parent.name))
    if folders:
        return folders[-1]
    message = "PostgreSQL is not installed: apt install postgresql"
    if os.environ.get("MOINHO_REQUIRE_SERVICES"):
        pytest.fail(message)
    pytest.skip(message)


@dataclass(frozen=True)
class Postgres:
    """A server of its own, that can be stopped and started."""

    programs: Path
    folder: Path
    port: int
    password: str

    def run(self, program: str, *arguments: str, **given: Any) -> None:
        """As somebody other than root. Raises CalledProcessError."""
        who: dict[str, Any] = {}
        if os.getuid() == 0:
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        environment = os.environ | {"PGPASSWORD": self.password}
        subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            **who,
            **given,
        )

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        )
        log = str(self.folder / "log.txt")
        self.run(
            "pg_ctl",
            "start",
            "-w",
            "-t",
            str(START_SECONDS),
            "-D",
            str(self.folder / "data"),
            "-l",
            log,
            "-o",
            options,
        )

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends all connections, as a restart does; `immediate` leaves a recovery to the next start."""
        self.run("pg_ctl", "stop", "-w", "-D", str(self.folder / "data"), "-m", mode)


@contextlib.contextmanager
def postgres(password: str) -> Iterator[Postgres]:
    programs = require_postgres()
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        if os.getuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, NOBODY, NOBODY)
        server = Postgres(programs, folder, free_ports(1)[0], password)
        (folder / "password").chmod(0o600)
        server.run(
            "initdb",
            *("-D", str(folder / "data"), "--username=mlflow", "--auth=scram-sha-256"),
            *("--pwfile", str(folder / "password"), "--no-sync"),
        )
        server.start()
        try:
            server.run("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "mlflow", "mlflow")
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop("immediate")


@contextlib.contextmanager
def objects(folder: Path, secrets: Path) -> Iterator[int]:
    """The S3 server; the port on which it listens."""
    weed, ports = require_weed(), free_ports(2 * len(PORTS))
    places = {"/data": str(folder), "/run/secrets/": f"{secrets}/", "0.0.0.0": "127.0.0.1"}
    s3 = ports[PORTS.index("s3.port")]
    command = [
        _placed(argument, {**places, "8333": str(s3)})
        for argument in compose()["services"]["objects"]["command"]
    ]
    # A container has these to itself; here others may use them.
    own = [f"-{name}={port}" for name, port in zip(PORTS[:-1], ports, strict=False)]
    own += [f"-{name}.grpc={port}" for name, port in zip(PORTS, ports[len(PORTS) :], strict=True)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with running([weed, *command, *own], environment, folder.parent / "objects.log") as server:
        await_answer(f"http://127.0.0.1:{s3}/healthz", server)
        yield s3


@dataclass(frozen=True)
class Team:
    """A team's MLflow, all of it."""

    uri: str
    postgres: Postgres
    s3_port: int
    secrets: Mapping[str, str]
    """What stands in mlflow_environment."""
    environment: Mapping[str, str]
    """Of the MLflow server, without the former."""


@contextlib.contextmanager
def team_server(folder: Path) -> Iterator[Team]:
    secrets = make_secrets(folder / "secrets")
    (folder / "data").mkdir()
    with postgres(secrets["PGPASSWORD"]) as database, objects(folder / "data", folder / "secrets") as s3:
        port = free_ports(1)[0]
        places = {
            "/run/secrets/": f"{folder / 'secrets'}/",
            "/etc/mlflow/": f"{folder}/",
            "0.0.0.0": "127.0.0.1",
            "port=5000": f"port={port}",
            "postgres:5432": f"127.0.0.1:{database.port}",
            "objects:8333": f"127.0.0.1:{s3}",
        }
        (folder / "auth.ini").write_text(_placed((HERE / "auth.ini").read_text(), places))
        service = compose()["services"]["mlflow"]
        environment = {name: _placed(value, places) for name, value in service["environment"].items()}
        environment["MLFLOW_SERVER_ALLOWED_HOSTS"] = _default(environment["MLFLOW_SERVER_ALLOWED_HOSTS"])
        program, *arguments = (_placed(argument, places) for argument in service["command"])
        assert program == "mlflow"
        command = [sys.executable, "-m", "mlflow", *arguments]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with running(command, inherited | environment, folder / "mlflow.log") as server:
            uri = f"http://127.0.0.1:{port}"
            await_answer(f"{uri}/health", server)
            yield Team(uri, database, s3, secrets, inherited | environment)


def _placed(text: str, places: Mapping[str, str]) -> str:
    for before, here in places.items():
        text = text.replace(before, here)
    return text


def _default(value: str) -> str:
    """What `${NAME:-this}` stands for where NAME is not set."""
    return value.partition(":-")[2].removesuffix("}") if value.startswith("${") else value


@contextlib.contextmanager
def running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server in a process group of its own, which ends with the block."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield server
    except BaseException:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def await_answer(url: str, server: "subprocess.Popen[bytes]") -> None:
    def answers() -> bool:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        with contextlib.suppress(requests.RequestException):
            return requests.get(url, timeout=30).ok
        return False

    await_true(answers, START_SECONDS, f"{url} does not answer")


def await_true(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.3)

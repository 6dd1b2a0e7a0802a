"""A Ray cluster of machines of a network of its own, each started by infra/machines/start-node.sh."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.infra.hosts import Host, may_have_hosts
from tests.road import command_of

START = str(Path(__file__).parents[2] / "infra/machines/start-node.sh")
RAY_FOLDER = Path(f"/tmp/moinho-ray-{os.getuid()}")
"""Where start-node.sh keeps Ray's files; machines that share it would unpack a job over each other's."""
WAIT_SECONDS = 300
NODES = """
import sys
from ray._raylet import GcsClient
found = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=20).values()
print(*(node.node_manager_address for node in found if node.state == 0))
"""


def require_hosts() -> None:
    """Skips the test without namespaces, or fails it where services are required."""
    if may_have_hosts():
        return
    message = "no network namespaces here (they take root)"
    if os.environ.get("MOINHO_REQUIRE_SERVICES"):
        pytest.fail(message)
    pytest.skip(message)


def node_environment(folder: Path) -> dict[str, str]:
    """What the machines of a cluster have: the programs of ours on the path, and where the token is to be."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"PATH": path, "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_AUTH_MODE": "token"}


def start(host: Host, environment: dict[str, str], *words: str, cpus: int = 1) -> None:
    """`start-node.sh` in the foreground of a terminal that nobody looks at; it ends with its machine."""
    subprocess.Popen(
        host.inside(START, *words, f"--num-cpus={cpus}"),
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def end(host: Host, option: str) -> None:
    """As the page says: SIGTERM to the `ray start` with that option, which is gone when this returns."""
    found = [each for each in host.processes() if {"start", "--block", option} <= set(each.cmdline())]
    assert len(found) == 1, [command_of(each) for each in host.processes()]
    found[0].send_signal(signal.SIGTERM)
    psutil.wait_procs(found, WAIT_SECONDS)


def nodes_of(head: Host, environment: dict[str, str], port: int = 6379) -> set[str]:
    """Addresses of the nodes that a cluster counts as alive; empty if it does not answer."""
    ask = head.inside(sys.executable, "-c", NODES, f"{head.address}:{port}")
    done = subprocess.run(ask, capture_output=True, text=True, check=False, env=environment)
    return set(done.stdout.split())


def wait_for_nodes(head: Host, environment: dict[str, str], *others: Host, port: int = 6379) -> float:
    """Until the cluster has these nodes and no others; the seconds that it took."""
    wanted = {head.address, *(other.address for other in others)}
    began = time.monotonic()
    while (seen := nodes_of(head, environment, port)) != wanted:
        assert time.monotonic() < began + WAIT_SECONDS, f"{seen}, not {wanted}"
        time.sleep(1)
    return time.monotonic() - began

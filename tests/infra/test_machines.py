"""infra/machines/start-node.sh on several machines, each with an address of its own and a second one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.infra.hosts import Host, may_have_hosts, network_of
from tests.road import command_of

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1200)]

START = str(Path(__file__).parents[2] / "infra/machines/start-node.sh")
WAIT_SECONDS = 300
NODES = """
import sys
from ray._raylet import GcsClient
found = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=20).values()
print(*(node.node_manager_address for node in found if node.state == 0))
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    if not may_have_hosts():
        message = "no network namespaces here (they take root)"
        if os.environ.get("MOINHO_REQUIRE_SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    with network_of(("laptop", "one", "two", "three"), tmp_path_factory.mktemp("machines")) as hosts:
        for number, host in enumerate(hosts.values()):
            host.run("ip", "address", "add", f"10.78.0.{number + 1}/32", "dev", "lo")
        yield hosts


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    token = tmp_path_factory.mktemp("token") / "token"
    return kept | {"PATH": path, "RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token"}


def start(host: Host, environment: dict[str, str], *words: str) -> None:
    """`start-node.sh` in the foreground of a terminal that nobody looks at; it ends with its machine."""
    subprocess.Popen(
        host.inside(START, *words, "--num-cpus=1"),
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


def listening(host: Host) -> set[str]:
    """Address and port of all that listens on a machine."""
    told = host.run("ss", "--tcp", "--listening", "--numeric", "--no-header")
    return {line.split()[3].replace("[::ffff:", "").replace("]", "") for line in told.splitlines()}


def wait_for_no_ray(host: Host) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while left := [command_of(each) for each in host.processes() if "ray" in command_of(each)]:
        assert time.monotonic() < end, left
        time.sleep(1)


def test_machines_join_and_leave_and_the_end_of_a_node_is_no_other_ones(
    machines: dict[str, Host], environment: dict[str, str]
) -> None:
    one, two, three = machines["one"], machines["two"], machines["three"]
    start(one, environment, "head", one.address)
    wait_for_nodes(one, environment)
    start(two, environment, "worker", two.address, one.address)
    wait_for_nodes(one, environment, two)
    found = listening(one)
    assert {each for each in found if each.endswith(":8265")} == {f"{one.address}:8265"}
    # Ray has no setting for the others; the page says so.
    assert "*:6379" in found

    ports = ("--port=7379", "--dashboard-port=9265", "--ray-client-server-port=11001")
    start(two, environment, "head", two.address, *ports)
    wait_for_nodes(two, environment, port=7379)
    end(two, "--port=7379")
    assert nodes_of(one, environment) == {one.address, two.address}

    two.kill()
    print(f"a machine that lost its power was counted out after {wait_for_nodes(one, environment):.0f} s")
    start(three, environment, "worker", three.address, one.address)
    wait_for_nodes(one, environment, three)

    end(one, "--port=6379")
    wait_for_no_ray(one)
    shutil.rmtree(f"/tmp/moinho-ray-{os.getuid()}", ignore_errors=True)

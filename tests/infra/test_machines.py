"""infra/machines/start-node.sh on several machines, each with an address of its own and a second one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.hosts import Host, may_have_hosts, network_of
from tests.road import command_of

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1200)]

START = str(Path(__file__).parents[2] / "infra/machines/start-node.sh")
WAIT_SECONDS = 120
NODES = "import ray; ray.init('auto', logging_level='ERROR'); print(*(n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']))"


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


def start(host: Host, environment: dict[str, str], *words: str) -> "subprocess.Popen[bytes]":
    """`start-node.sh` in the foreground of a terminal that nobody looks at; ended with its machine."""
    return subprocess.Popen(
        host.inside(START, *words, "--num-cpus=1"),
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def nodes_seen_from(host: Host, environment: dict[str, str]) -> set[str]:
    """Addresses of the nodes that the cluster of this machine counts as alive."""
    done = subprocess.run(
        host.inside(sys.executable, "-c", NODES), capture_output=True, text=True, check=False, env=environment
    )
    return set(done.stdout.split())


def wait_for_nodes(host: Host, environment: dict[str, str], *others: Host) -> None:
    wanted = {host.address, *(other.address for other in others)}
    end = time.monotonic() + WAIT_SECONDS
    while (seen := nodes_seen_from(host, environment)) != wanted:
        assert time.monotonic() < end, f"{seen}, not {wanted}"
        time.sleep(1)


def listening(host: Host) -> set[tuple[str, str]]:
    """Address and program of all that listens on a machine."""
    found = set()
    for line in host.run("ss", "--tcp", "--listening", "--numeric", "--no-header", "--processes").splitlines():
        address = line.split()[3].rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        found.add((address, line.partition('(("')[2].partition('"')[0]))
    return found


def test_a_cluster_of_two_machines_keeps_its_dashboard_and_its_end_to_itself(
    machines: dict[str, Host], environment: dict[str, str]
) -> None:
    one, two = machines["one"], machines["two"]
    head = start(one, environment, "head", one.address)
    worker = start(two, environment, "worker", two.address, one.address)
    wait_for_nodes(one, environment, two)
    dashboard = one.run("ss", "--tcp", "--listening", "--numeric", "--no-header", "sport = :8265")
    assert {line.split()[3] for line in dashboard.splitlines()} == {f"{one.address}:8265"}
    print(sorted(listening(one)), sorted(listening(two)))

    other = start(two, environment, "head", two.address, "--port=7000", "--dashboard-port=7265")
    wait_for_second(two, environment)
    other.send_signal(signal.SIGTERM)
    other.wait(WAIT_SECONDS)
    assert nodes_seen_from(one, environment) == {one.address, two.address}
    assert worker.poll() is None

    two.kill()
    killed = time.monotonic()
    wait_for_nodes(one, environment)
    print("a killed node was noticed after", time.monotonic() - killed)
    three = machines["three"]
    start(three, environment, "worker", three.address, one.address)
    wait_for_nodes(one, environment, three)

    head.send_signal(signal.SIGTERM)
    head.wait(WAIT_SECONDS)
    end = time.monotonic() + WAIT_SECONDS
    while left := [command_of(each) for each in one.processes() if "ray" in command_of(each)]:
        assert time.monotonic() < end, left
        time.sleep(1)
    shutil.rmtree(f"/tmp/moinho-ray-{os.getuid()}", ignore_errors=True)

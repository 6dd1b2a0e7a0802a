"""infra/machines/start-node.sh on several machines, each with an address of its own and a second one."""

import re
import time
from collections.abc import Iterator

import pytest

from tests.infra.hosts import Host, network_of
from tests.infra.nodes import (
    RAY_FOLDER,
    WAIT_SECONDS,
    end,
    node_environment,
    nodes_of,
    require_hosts,
    start,
    wait_for_nodes,
)
from tests.road import command_of

OF_RAY = re.compile(r"raylet|gcs_server|ray::|/ray/")
"""In the command of a process that Ray has started."""

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    require_hosts()
    folder = tmp_path_factory.mktemp("machines")
    with network_of(("laptop", "one", "two", "three"), folder, RAY_FOLDER) as hosts:
        for number, host in enumerate(hosts.values()):
            host.run("ip", "address", "add", f"10.78.0.{number + 1}/32", "dev", "lo")
        yield hosts


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return node_environment(tmp_path_factory.mktemp("token"))


def listening(host: Host) -> set[str]:
    """Address and port of all that listens on a machine."""
    told = host.run("ss", "--tcp", "--listening", "--numeric", "--no-header")
    return {line.split()[3].replace("[::ffff:", "").replace("]", "") for line in told.splitlines()}


def wait_for_no_ray(host: Host) -> None:
    latest = time.monotonic() + WAIT_SECONDS
    while left := [told for each in host.processes() if OF_RAY.search(told := command_of(each))]:
        assert time.monotonic() < latest, left
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

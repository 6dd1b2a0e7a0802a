"""Jobs on a real Ray cluster of this machine, with a token."""

import contextlib
import json
import os
import platform
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import ray

from pipeline.store import Store
from tests.cluster import RunningCluster, running_cluster
from tests.road import CONFIG, MOINHO

pytestmark = pytest.mark.timeout(2400)
EAGER = ("--set", "compute.compile=false")


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(1, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(2, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


class Line:
    """A way to the dashboard that can be cut, as that of a laptop is now and then."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.target = (str(parts.hostname), parts.port or 80)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self.listening.accept()[0], socket.create_connection(self.target)
                self.open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.open.clear()


def start(cluster: RunningCluster, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    given = {"RAY_API_SERVER_ADDRESS": cluster.address, "COLUMNS": "200", **cluster.environment}
    return subprocess.Popen(
        [str(MOINHO), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | given | environment,
    )


def moinho(cluster: RunningCluster, *arguments: str, **environment: str) -> tuple[int, str]:
    """A command to its end: its exit code, and all that it said."""
    process = start(cluster, *arguments, **environment)
    told, _ = process.communicate(timeout=2000)
    return process.returncode, told


def job_of(told: str) -> str:
    """The id in what `moinho submit` says."""
    return next(line.split()[1] for line in told.splitlines() if line.startswith("job "))


def listed(cluster: RunningCluster, job: str) -> dict[str, Any]:
    code, told = moinho(cluster, "jobs", "--json")
    assert code == 0, told
    return next(row for row in json.loads(told) if row["id"] == job)


def runs(store: Path) -> list[tuple[str, str, str]]:
    """Id, name and status of the runs in MLflow, the oldest first."""
    with sqlite3.connect(store / "mlflow.db") as database:
        return list(database.execute("select run_uuid, name, status from runs order by start_time"))


def test_a_job_that_fails_says_why_in_its_log_in_the_list_and_by_the_exit_code(
    one_node: RunningCluster, tmp_path: Path
) -> None:
    config = tmp_path / "guide.toml"
    config.write_text(
        'name = "guide"\n[site]\nkind = "folder"\n'
        '[[site.folders]]\npath = "/nowhere"\npackage = "guide-html"\n'
    )
    code, told = moinho(one_node, "submit", str(config), "--store", str(tmp_path / "store"), "--follow")
    job = job_of(told)
    fault = (
        "error: the folder /nowhere of the site is not on this machine; install it: apt install guide-html"
    )
    assert code == 1, told
    assert told.splitlines().count(fault) == 1, (told, listed(one_node, job))
    assert f"every node of the cluster must see {tmp_path}/store under this path" in told
    row = listed(one_node, job)
    assert (row["run"], row["status"], row["message"]) == ("guide", "failed", fault)
    code, told = moinho(one_node, "status", job)
    assert code == 0, told
    assert f"error      {fault.removeprefix('error: ')}" in told
    assert f"go on      moinho resume {job}" in told


@pytest.mark.everything
def test_another_token_and_no_token_are_refused(two_nodes: RunningCluster) -> None:
    for wrong in ({"RAY_AUTH_TOKEN": secrets.token_hex(32)}, {"RAY_AUTH_MODE": "disabled"}):
        code, told = moinho(two_nodes, "submit", str(CONFIG), **wrong)
        assert code == 2, told
        assert "Set RAY_AUTH_MODE=token" in told
        assert told.count("\n") == 1


@pytest.mark.everything
def test_a_job_that_the_cluster_does_not_know_is_told_in_one_line(two_nodes: RunningCluster) -> None:
    for command in (("logs", "road-0"), ("logs", "-f", "road-0"), ("cancel", "road-0")):
        code, told = moinho(two_nodes, *command)
        assert (code, told.count("\n")) == (2, 1)
        assert "road-0 does not exist; `moinho jobs` lists them" in told


@pytest.mark.everything
def test_the_cluster_listens_on_the_loopback_address_alone(two_nodes: RunningCluster) -> None:
    addresses = set()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == two_nodes.process.pid:
                addresses |= {
                    connection.laddr.ip.removeprefix("::ffff:")
                    for connection in process.net_connections("tcp")
                    if connection.laddr and connection.status == psutil.CONN_LISTEN
                }
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    assert addresses == {"127.0.0.1"}


@pytest.mark.everything
def test_a_cancelled_job_ends_as_ctrl_c_does_and_the_same_submit_goes_on_to_the_end(
    two_nodes: RunningCluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    road = ("submit", str(CONFIG), "--store", str(store), *EAGER)
    job = job_of(moinho(two_nodes, *road, "--set", "pretrain.steps=100000")[1])
    line = Line(two_nodes.address)
    following = start(two_nodes, "logs", "-f", job, RAY_API_SERVER_ADDRESS=line.address)
    while "steps" not in moinho(two_nodes, "logs", job)[1]:
        assert listed(two_nodes, job)["status"] in ("pending", "running"), moinho(two_nodes, "logs", job)[1]
        time.sleep(2)
    line.cut()
    code, told = moinho(two_nodes, "cancel", job)
    assert code == 0
    assert told.startswith(f"{job}: stopped.")
    log, _ = following.communicate(timeout=60)
    assert following.returncode == 130
    assert log == moinho(two_nodes, "logs", job)[1] + f"{job}: stopped\n", (
        "cut in the middle, and whole all the same"
    )
    assert "Stopped. What is finished stays in the store; to go on: moinho submit" in log
    assert "SIGTERM received" not in log, "Ray's handler came first"

    code, told = moinho(two_nodes, *road, "--set", "pretrain.steps=20", "--follow")
    job = job_of(told)
    assert code == 0, told
    assert "= tokens " in told, "what the first job finished is reused"
    assert listed(two_nodes, job)["status"] == "succeeded"
    ended = [(name, status) for _, name, status in runs(store)]
    assert [name for name, status in ended if status == "KILLED"] == ["road", "pretrain"]
    assert {status for _, status in ended} == {"KILLED", "FINISHED"}
    chat = json.loads(next(store.glob("finetune/*/artifact.json")).read_text())
    assert chat["commit"] == listed(two_nodes, job)["commit"]
    assert len(nodes_that_worked(two_nodes)) == 2
    assert moinho(two_nodes, "cancel", job) == (0, f"{job} does not run any more: succeeded\n")

    code, told = moinho(two_nodes, *road, "--set", "pretrain.steps=20", "--follow")
    assert (code, told.count("\n")) == (0, 1), told
    assert told.startswith(f"Nothing to do: {job} has succeeded, and everything is in the store {store}.")
    code, told = moinho(two_nodes, "status")
    run = next(run for run, name, status in runs(store) if (name, status) == ("road", "FINISHED"))
    assert f"MLflow     http://127.0.0.1:5000/#/experiments/1/runs/{run} once it is served: moinho ui" in told
    assert f"look       moinho ls road --store {store}" in told
    assert moinho(two_nodes, "rm", "road/scores", "--yes", MOINHO_STORE=str(store))[0] == 0
    code, told = moinho(two_nodes, *road, "--set", "pretrain.steps=20", "--follow")
    assert code == 0, told
    assert job_of(told) == f"{job.removesuffix('-1')}-2", "the store lacks something, so it goes on"


def nodes_that_worked(cluster: RunningCluster) -> set[str]:
    """Nodes that ran tasks of the stages, as the cluster itself tells."""
    program = (
        "from ray.util.state import list_tasks\n"
        f"for task in list_tasks(address={cluster.address!r}, limit=10_000):\n"
        "    if ':' in task.name and task.node_id: print(task.node_id)\n"
    )
    told = subprocess.check_output(
        [sys.executable, "-c", program], text=True, env=os.environ | cluster.environment
    )
    return set(told.split())


@pytest.mark.everything
def test_two_who_submit_at_once_have_one_job_and_it_is_taken_up_from_anywhere(
    one_node: RunningCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = ("submit", str(CONFIG), "--store", str(tmp_path / "store"), *EAGER, "--name", "shared")
    both = [start(one_node, *road) for _ in range(2)]
    told = [process.communicate(timeout=2000)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    (job,) = {job_of(each) for each in told}
    assert sorted("waits or runs already" in each for each in told) == [False, True]
    assert [
        row["id"] for row in json.loads(moinho(one_node, "jobs", "--json")[1]) if row["run"] == "shared"
    ] == [job]

    program = f"from flows.dashboard import Cluster; print(Cluster({one_node.address!r}).versions())"
    versions = subprocess.check_output(
        [sys.executable, "-c", program], text=True, env=os.environ | one_node.environment
    )
    assert versions.strip() == str({"python": platform.python_version(), "ray": ray.__version__})

    code, refused = moinho(one_node, "resume", job)
    assert (code, refused.count("\n")) == (2, 1)
    assert f"error: {job} is " in refused
    while "=" not in (log := moinho(one_node, "logs", job)[1]) and "> " not in log:
        assert not log.count("error:"), log
        time.sleep(1)
    running = moinho(one_node, "status", job)[1]
    assert "status     running for " in running
    assert "stage      " in running or "finished   " in running
    assert moinho(one_node, "cancel", job)[0] == 0

    monkeypatch.chdir(tmp_path)  # the configuration is not here
    code, resumed = moinho(one_node, "resume", job)
    assert code == 0, resumed
    assert job_of(resumed) == f"{job.removesuffix('1')}2"
    assert "the code is not the job's" not in resumed
    assert moinho(one_node, "cancel", job_of(resumed))[0] == 0


@pytest.mark.everything
def test_of_two_users_who_submit_runs_that_overlap_at_one_moment_each_shared_stage_is_made_once(
    two_nodes: RunningCluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    road = ("submit", str(CONFIG), "--store", str(store), *EAGER, "--follow")
    both = [
        start(two_nodes, *road, "--set", f'name="{name}"', "--set", f"pretrain.steps={steps}", LOGNAME=name)
        for name, steps in (("ana", 20), ("bento", 21))
    ]
    for process, told in [(process, process.communicate(timeout=2000)[0]) for process in both]:
        assert process.returncode == 0, told
    assert {job["user"] for job in json.loads(moinho(two_nodes, "jobs", "--json")[1])} >= {"ana", "bento"}
    made = Counter(record.stage for record in Store(str(store)).records())
    of_each = {"pretrain", "finetune", "evaluate"}
    assert made == {stage: 2 if stage in of_each else 1 for stage in made}
    assert made.keys() >= {"crawl", "extract", "clean", "vocabulary", "tokens", "conversations", *of_each}
    attempts = Counter(path.parts[-4] for path in store.glob("*/*/attempts/*"))
    # What is extracted beside the crawl is an attempt of its own, and the rest goes on from it.
    assert made <= attempts <= made + Counter(["extract"]), "nothing was begun twice"
    assert {status for _, _, status in runs(store)} == {"FINISHED"}

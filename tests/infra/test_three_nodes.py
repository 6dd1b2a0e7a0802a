"""A run submitted to three nodes of which each in turn loses its power makes what one machine makes.

The website, the object store and MLflow are on a machine of their own, as those of a team are.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.store import Store
from tests.infra.hosts import Host, network_of
from tests.infra.nodes import RAY_FOLDER, node_environment, require_hosts, start, wait_for_nodes
from tests.object_store import BUCKET, S3Server
from tests.road import POLL_SECONDS, Run, command_of
from tests.tracking.recorded import Recorded

pytestmark = [pytest.mark.everything, pytest.mark.timeout(2400)]

SITE, HEAD, LAPTOP = "site.example", "one", "laptop"
WORKERS = ("two", "three", "four", "five", "six")
SITE_PORT, MLFLOW_PORT = 8080, 5000
STORE = f"s3://{BUCKET}/road"
CHECKPOINT_SECONDS = 5
SETTINGS = (
    f'crawl.seeds=["http://{SITE}:{SITE_PORT}/"]',
    f'crawl.private_hosts=["{SITE}"]',
    "crawl.delay_seconds=0.1",
    'extract.kind="documentation"',
    "pretrain.steps=200",
    "compute.compile=false",
    "compute.training_workers=2",
    "compute.threads=1",
    f"compute.checkpoint_seconds={CHECKPOINT_SECONDS}",
)
SAME = ("extract", "clean", "hold-out", "vocabulary", "tokens", "pretrain", "conversations", "finetune")
VICTIMS = {"crawl": "crawler.spider", "clean": "ray::clean:", "pretrain": "ray::RayTrainWorker"}
"""Stage → what the title of a process of it has."""
RECORDS = """
import json, sys
from pipeline.store import Store
print(json.dumps({record.stage: [record.key, record.digest] for record in Store(sys.argv[1]).records()}))
"""


@dataclass(frozen=True)
class Cluster:
    """The machines of the nodes, and where they were told that the services are."""

    hosts: Mapping[str, Host]
    environment: dict[str, str]
    folder: Path

    def of(self, name: str) -> dict[str, str]:
        """The environment of one machine: its home is its own, as its local copies of the store are."""
        home = self.folder / "homes" / name
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        return self.environment | {"HOME": str(home), "TMPDIR": str(home / "tmp")}

    def start(self, name: str) -> None:
        head, host = self.hosts[HEAD], self.hosts[name]
        if host is head:
            # Nothing but the driver runs there, so that each stage can lose its node.
            start(head, self.of(name), "head", head.address, cpus=0)
        else:
            start(host, self.of(name), "worker", host.address, head.address)

    def wait_for(self, *names: str) -> None:
        wait_for_nodes(self.hosts[HEAD], self.of(HEAD), *(self.hosts[name] for name in names))

    def at_work(self, title: str) -> list[str]:
        """Names of the machines that have a process with such a title."""
        return [
            name
            for name in WORKERS
            if self.hosts[name].process.poll() is None
            and any(title in command_of(process) for process in self.hosts[name].processes())
        ]

    def submit(self) -> Run:
        """From the laptop, which has the token and nothing else of what the nodes have."""
        mine = {
            name: self.of(LAPTOP)[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "HOME", "TMPDIR")
        }
        address = f"http://{self.hosts[HEAD].address}:8265"
        return Run.start(
            STORE,
            *SETTINGS,
            word="submit",
            follow=True,
            before=self.hosts[LAPTOP].inside(),
            environment=mine | {"RAY_API_SERVER_ADDRESS": address, "COLUMNS": "200"},
            outputs=self.folder,
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    require_hosts()
    site = made_site(tmp_path)
    names = (SITE, HEAD, *WORKERS, LAPTOP)
    with network_of(names, tmp_path, RAY_FOLDER) as hosts, contextlib.ExitStack() as ending:
        services = hosts[SITE]
        (tmp_path / "s3").mkdir()
        s3 = S3Server(tmp_path / "s3", address=services.address, before=services.inside())
        s3.start()
        ending.callback(s3.kill)
        s3.make_bucket()
        given = node_environment(tmp_path) | s3.environment
        given["MLFLOW_TRACKING_URI"] = f"http://{services.address}:{MLFLOW_PORT}"
        serve(services, tmp_path / "site.log", "http.server", str(SITE_PORT), "--directory", str(site))
        serve(
            services,
            tmp_path / "mlflow.log",
            *("mlflow", "server", "--host", services.address, "--port", str(MLFLOW_PORT), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--allowed-hosts", "*"),
            *("--artifacts-destination", str(tmp_path / "mlflow")),
        )
        yield Cluster(hosts, given, tmp_path)


def made_site(folder: Path) -> Path:
    """The folder of the website that the small road renders, to be served from another machine."""
    run = Run.start(folder / "site-store", until="site")
    assert run.wait() == 0, run.text()
    [record] = [record for record in Store(str(folder / "site-store")).records() if record.stage == "site"]
    base = folder / "site-store" / "site" / record.key
    for name, file in record.files.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base / file.path, path)
    return folder / "site" / "html"


def serve(host: Host, log: Path, *words: str) -> None:
    """A module of Python's as a server; it ends with its machine."""
    with log.open("wb") as output:
        subprocess.Popen(
            host.inside(sys.executable, "-m", *words),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def made(host: Host, store: str, environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Stage → key and digest of what is in a store, as a machine sees it."""
    found = json.loads(host.run(sys.executable, "-c", RECORDS, store, environment=environment))
    return {stage: tuple(found[stage]) for stage in SAME}


def test_three_nodes_that_lose_their_power_make_what_one_machine_makes(cluster: Cluster) -> None:
    hosts = cluster.hosts
    alone = Run.start(
        cluster.folder / "alone",
        *SETTINGS,
        before=hosts["six"].inside(),
        environment={"MLFLOW_TRACKING_URI": ""},
        outputs=cluster.folder,
    )
    cluster.start(HEAD)
    cluster.wait_for()
    up = ["two", "three"]
    for name in up:
        cluster.start(name)
    cluster.wait_for(*up)
    assert alone.wait(900) == 0, alone.text()

    submitted = cluster.submit()
    spare = iter(("four", "five", "six"))
    for stage, title in VICTIMS.items():
        victim = wait_for_work(cluster, submitted, title)
        if stage == "pretrain":
            time.sleep(2 * CHECKPOINT_SECONDS)
            victim = cluster.at_work(title)[0]
        hosts[victim].kill()
        up.remove(victim)
        print(f"{victim} lost its power in {stage}")
        up.append(next(spare))
        cluster.start(up[-1])
    assert submitted.wait(1500) == 0, submitted.text()
    print(submitted.text())

    there = made(hosts[LAPTOP], STORE, cluster.of(HEAD))
    assert there == made(hosts[LAPTOP], str(cluster.folder / "alone"), os.environ)
    recorded = Recorded(f"sqlite:///{cluster.folder}/mlflow.db")
    recorded.check_sound()
    [flow] = recorded.flows()
    assert flow.info.status == "FINISHED"
    assert recorded.steps(recorded.stages(flow)["pretrain"], "loss")[-1] >= 199


def wait_for_work(cluster: Cluster, submitted: Run, title: str) -> str:
    """The name of a machine that has such a process, once there is one."""
    end = time.monotonic() + 900
    while not (found := cluster.at_work(title)):
        assert submitted.process.poll() is None, submitted.text()
        assert time.monotonic() < end, submitted.text()
        time.sleep(POLL_SECONDS)
    return found[0]

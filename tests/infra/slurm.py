"""A real Slurm: a controller and nodes of Debian's packages, each on a machine of its own (hosts.py)."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.infra.hosts import Host, may_have_hosts, network_of

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
NODES = ("node1", "node2")
CONTROLLER = "login"
OVER = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
START_SECONDS = 120
POLL_SECONDS = 0.5
CONFIGURATION = """
ClusterName=test
SlurmctldHost={controller}({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is put back into the queue waits so long, until nothing of its first start can be heard of.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# A busy machine may be slow to answer; Slurm gives it ten seconds by itself.
MessageTimeout=90
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SchedulerParameters=sched_min_interval=0
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A Slurm that is up. Jobs are submitted from the controller's machine, in `folder`."""

    folder: Path
    hosts: dict[str, Host]
    environment: Mapping[str, str] = field(repr=False)

    def run(self, *words: str) -> str:
        """A command of Slurm's, where users are."""
        return self.hosts[CONTROLLER].run(*words, environment=self.environment)

    def submit(self, *words: str) -> int:
        """`sbatch`; the id of the job."""
        return int(self.run("sbatch", "--parsable", f"--chdir={self.folder}", *words))

    def job(self, job: int) -> dict[str, str]:
        """What Slurm says of a job, by its own names."""
        told = self.run("scontrol", "--oneliner", "show", "job", str(job))
        return dict(word.split("=", 1) for word in told.split() if "=" in word)

    def output(self, job: int) -> str:
        path = self.folder / f"moinho-{job}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, job: int, *states: str, timeout_seconds: float = 900) -> dict[str, str]:
        """Until the job is in one of `states`; what Slurm says of it then."""
        end = time.monotonic() + timeout_seconds
        while (found := self.job(job))["JobState"] not in states:
            assert found["JobState"] not in OVER, f"{found}\n{self.output(job)}"
            assert time.monotonic() < end, f"{found}\n{self.output(job)}"
            time.sleep(POLL_SECONDS)
        return found

    def wait_for_output(self, job: int, told: str, timeout_seconds: float = 900) -> None:
        """Until the job has said so."""
        end = time.monotonic() + timeout_seconds
        while told not in self.output(job):
            found = self.job(job)
            assert found["JobState"] not in OVER, f"{found}\n{self.output(job)}"
            assert time.monotonic() < end, f"{found}\n{self.output(job)}"
            time.sleep(POLL_SECONDS)


def require_slurm() -> None:
    """Skips the test without Slurm's programs or namespaces, or fails it where services are required."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        message = f"{', '.join(missing)} not installed: infra/install-test-services.sh"
    elif not may_have_hosts():
        message = "no network namespaces here (they take root)"
    else:
        return
    if os.environ.get("MOINHO_REQUIRE_SERVICES"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def running_slurm(folder: Path, cpus: int) -> Iterator[Slurm]:
    """Two nodes of so many CPUs each, whatever the machine has; all is gone when this ends."""
    require_slurm()
    with contextlib.ExitStack() as ending:
        hosts = ending.enter_context(network_of((CONTROLLER, *NODES), folder))
        ending.enter_context(_munge(folder / "munge"))
        configuration = _configure(folder, hosts, cpus)
        slurm = Slurm(folder, hosts, _environment(configuration))
        _start_daemon(hosts[CONTROLLER], "slurmctld", "-D", configuration=configuration)
        for name in NODES:
            (folder / f"spool-{name}").mkdir()
            _start_daemon(hosts[name], "slurmd", "-D", "-N", name, configuration=configuration)
        _wait_for_nodes(slurm)
        yield slurm


def _configure(folder: Path, hosts: Mapping[str, Host], cpus: int) -> Path:
    (folder / "state").mkdir()
    path = folder / "slurm.conf"
    nodes = (f"NodeName={name} NodeAddr={hosts[name].address} CPUs={cpus} State=UNKNOWN" for name in NODES)
    given = {"controller": CONTROLLER, "address": hosts[CONTROLLER].address, "folder": folder}
    path.write_text(CONFIGURATION.format(nodes="\n".join(nodes), **given))
    return path


def _environment(configuration: Path) -> dict[str, str]:
    """What a user has: the programs of ours on the path, and where Slurm is."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    told = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
    return told | {
        "PATH": path,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SLURM_CONF": str(configuration),
        # A node that a busy machine keeps from answering is no dead one.
        "RAY_health_check_timeout_ms": "60000",
        "RAY_health_check_failure_threshold": "20",
    }


@contextlib.contextmanager
def _munge(folder: Path) -> Iterator[None]:
    """The service by which Slurm knows who asks, with a key of its own; it has no port."""
    folder.mkdir(mode=0o755)
    key = folder / "key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(64))
    files = [f"--{name}-file={folder}/{name}" for name in ("key", "log", "pid", "seed")]
    command = [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "munged",
        "--foreground",
        "--force",
        f"--socket={folder}/socket",
        *files,
    ]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        end = time.monotonic() + START_SECONDS
        while not (folder / "socket").exists():
            assert process.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < end, (folder / "output").read_text()
            time.sleep(POLL_SECONDS)
        yield
    finally:
        process.terminate()
        process.wait()


def _start_daemon(host: Host, *words: str, configuration: Path) -> None:
    """It ends with its machine."""
    with (configuration.parent / f"{words[0]}-{host.name}.out").open("wb") as output:
        subprocess.Popen(
            host.inside(*words),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"SLURM_CONF": str(configuration)},
            start_new_session=True,
        )


def _wait_for_nodes(slurm: Slurm) -> None:
    end = time.monotonic() + START_SECONDS
    told = ""
    while told.split() != ["idle"] * len(NODES):
        logs = "".join(path.read_text(errors="replace")[-2000:] for path in slurm.folder.glob("*.log"))
        assert time.monotonic() < end, f"nodes are {told}\n{logs}"
        time.sleep(POLL_SECONDS)
        with contextlib.suppress(AssertionError):  # the controller may not answer yet
            told = slurm.run("sinfo", "--noheader", "--Node", "--format=%T")

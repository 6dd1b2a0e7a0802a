"""Machines of a network of its own, each in namespaces of this one: an address, a name, processes of its own.

They share its files and its clock, and reach nothing but each other. It takes root; all processes of a
machine end with it, and nothing of the network is seen from outside or stays.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

NETWORK = "10.77.0"
# They end with the process that starts them, however that ends.
APART = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--mount",
    "--uts",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
# The shell stays as the first process, which takes leave of processes whose parent has ended.
MACHINE = """
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
[ $# -lt 4 ] || mount --bind "$3" "$4"
ip link set lo up
echo up
while true; do sleep 60; done
"""


@dataclass(frozen=True)
class Host:
    """A machine that is up."""

    name: str
    address: str
    process: "subprocess.Popen[str]"
    first: int
    """Id of its first process, as it is seen from outside."""

    def inside(self, *words: str) -> list[str]:
        """The command that runs `words` on this machine."""
        spaces = ("--net", "--mount", "--uts", "--pid")
        return ["nsenter", f"--target={self.first}", *spaces, "--wd=.", "--", *words]

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """What a command on this machine prints. Raises AssertionError if it fails."""
        done = subprocess.run(
            self.inside(*words), capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        assert done.returncode == 0, f"{self.name}: {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """All that run on it, whoever started them; without its first."""
        own = _network_space(self.first)
        others = (each for each in psutil.process_iter() if each.pid != self.first)
        return [each for each in others if own is not None and _network_space(each.pid) == own]

    def kill(self) -> None:
        """As when the power fails."""
        self.process.kill()
        self.process.wait()


def _network_space(process: int) -> str | None:
    """Its network, which jobs in a space of their own for process ids share; None if it has ended, or is none
    of ours."""
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except (FileNotFoundError, PermissionError):
        return None


def may_have_hosts() -> bool:
    """True where namespaces with a network of their own can be made."""
    try:
        made = subprocess.run(
            [*APART, "ip", "link", "add", "hub", "type", "bridge"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return made.returncode == 0


@contextlib.contextmanager
def network_of(names: Sequence[str], folder: Path, own: Path | None = None) -> Iterator[dict[str, Host]]:
    """Machines that reach each other by name and address; the first has the cables of all others. At `own`
    each sees a folder that the others do not."""
    addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, start=1)}
    known = folder / "hosts"
    known.write_text("".join(f"{a} {n}\n" for n, a in (("localhost", "127.0.0.1"), *addresses.items())))
    hosts: dict[str, Host] = {}
    try:
        for name, address in addresses.items():
            hosts[name] = _start(name, address, known, own)
        hub, *others = hosts.values()
        hub.run("ip", "link", "add", "hub", "type", "bridge")
        hub.run("ip", "address", "add", f"{hub.address}/24", "dev", "hub")
        hub.run("ip", "link", "set", "hub", "up")
        for number, host in enumerate(others):
            _connect(hub, host, f"cable{number}")
        yield hosts
    finally:
        for host in hosts.values():
            host.kill()
            if host.process.stdout:
                host.process.stdout.close()


def _start(name: str, address: str, known: Path, own: Path | None) -> Host:
    mounted = []
    if own is not None:
        mounted = [known.parent / f"own-{name}", own]
        for path in mounted:
            path.mkdir(mode=0o700, exist_ok=True)
    process = subprocess.Popen(
        [*APART, "bash", "-c", MACHINE, "machine", name, str(known), *map(str, mounted)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    told = process.stdout.readline()
    assert told == "up\n", f"{name} did not start: {told}"
    return Host(name, address, process, psutil.Process(process.pid).children()[0].pid)


def _connect(hub: Host, host: Host, cable: str) -> None:
    # Process ids are those from outside, so the hub's network alone is entered.
    enter = ["nsenter", f"--target={hub.first}", "--net", "ip", "link"]
    ends = ["add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(host.first)]
    subprocess.run([*enter, *ends], check=True)
    subprocess.run([*enter, "set", cable, "master", "hub", "up"], check=True)
    host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
    host.run("ip", "link", "set", "eth0", "up")

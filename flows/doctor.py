"""What this machine has, what is lost without the rest, and how to get it. Nothing heavy is imported."""

import contextlib
import importlib.metadata
import os
import platform
import re
import runpy
import shutil
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

import configs
from pipeline.store.storage import cache_folder, is_object_store
from pipeline.training.resolve import has_compiler

GIGABYTE = 1e9
MEMORY_NEEDED, MEMORY_EASY, MEMORY_PER_CORE = 2.0, 3.0, 0.5
"""Free gigabytes: fewer than the first are too few. Measured on 2 cores, the quickstart took 3.5 at most."""
DISK_NEEDED, DISK_EASY = 1.0, 10.0
"""Gigabytes that are free. The quickstart leaves 0.4 in the store; crawls and checkpoints are larger."""
RAY_FULL = 0.95
"""Ray puts nothing on a disk of which more than this share is used."""
SHARED_MEMORY_EASY = 1.0
COMMAND_SECONDS = 2.0
SHOWN_PACKAGES = ("moinho", "torch", "ray", "mlflow", "transformers", "trl", "scrapy", "pyarrow")
NVIDIA, DISPLAY = "0x10de", "0x03"
"""Of PCI devices: the vendor, and how the class of graphics cards and accelerators begins."""
DRIVER = "Debian: apt install nvidia-driver; Ubuntu: ubuntu-drivers install"
CUDA_BUILD = "rm -f .venv/torch .venv/installed; TORCH=cuda make install"
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "lustre", "ceph")
PORTS = {
    5000: ("moinho ui", "moinho ui --port 5001"),
    8265: ("the dashboard of a Ray cluster on this machine", "ray start --head --dashboard-port 8266"),
}

State = Literal["ok", "limited", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    lost: str = ""
    """What one has to do without where the state is not ok."""
    remedy: str = ""
    """The command that changes that, or what else to do."""
    needed: bool = False
    """The quickstart does not run while this is missing."""


def examine(store: str) -> list[Finding]:
    """All findings, in the order they are shown. Takes a second or two; leaves nothing behind."""
    return [
        *machine(),
        *graphics(),
        *places(store),
        *packages(),
        *programs(),
        *(port(number, what, remedy) for number, (what, remedy) in PORTS.items()),
        *documentation(Path(configs.__file__).parent),
    ]


def can_run_quickstart(findings: list[Finding]) -> bool:
    return not any(finding.needed and finding.state == "missing" for finding in findings)


def machine() -> Iterator[Finding]:
    """Cores and memory, of the container if this is one."""
    cores = len(os.sched_getaffinity(0))
    yield Finding(
        "cores",
        "ok" if cores > 1 else "limited",
        f"{cores}, {os.getloadavg()[0]:.1f} of them busy in the last minute",
        "tasks run one after the other: the quickstart takes twice its seven minutes",
    )
    easy = MEMORY_EASY + MEMORY_PER_CORE * cores
    memory = psutil.virtual_memory()
    total, free = _container_memory(memory.total, memory.available)
    yield Finding(
        "memory",
        _state(free, MEMORY_NEEDED, easy),
        f"{total:.1f} GB, {free:.1f} GB of them free",
        f"on {cores} cores the quickstart takes about {easy:.1f} GB",
        "end other programs, or run with --set compute.workers=1",
        needed=True,
    )
    shared = shutil.disk_usage("/dev/shm").total / GIGABYTE
    yield Finding(
        "shared memory",
        _state(shared, 0.0, SHARED_MEMORY_EASY),
        f"{shared:.1f} GB at /dev/shm",
        "Ray keeps its objects on the disk instead, which is slower",
        "docker run --shm-size=2g",
    )


def _state(amount: float, needed: float, easy: float) -> State:
    return "ok" if amount >= easy else "limited" if amount >= needed else "missing"


def _container_memory(total: int, available: int) -> tuple[float, float]:
    """Total and free gigabytes, within the limit of the control group if there is one."""
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total, available = min(total, limit), min(available, limit - used)
    return total / GIGABYTE, available / GIGABYTE


def graphics() -> Iterator[Finding]:
    """GPUs, and whether torch can use them."""
    cards = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").splitlines()
    build = torch_build()
    lost = "models are trained on the CPU: small ones, in minutes to hours"
    if not cards:
        here = has_nvidia_card()
        yield Finding(
            "GPU",
            "limited",
            "an NVIDIA card, but nvidia-smi does not list it" if here else "none that nvidia-smi lists",
            lost,
            f"{'' if here else 'with an NVIDIA card: '}install its driver ({DRIVER}) until nvidia-smi lists "
            f"the card, then torch's CUDA build: {CUDA_BUILD}",
        )
    elif build == "CPU":
        yield Finding(
            "GPU",
            "limited",
            f"{', '.join(cards)}; not used by torch's CPU build",
            lost,
            f"install torch's CUDA build: {CUDA_BUILD}",
        )
    else:
        yield Finding("GPU", "ok", f"{', '.join(cards)}; torch's build for {build}")


def has_nvidia_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether there is a graphics card of NVIDIA's, with or without its driver."""
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            if vendor == NVIDIA and kind.startswith(DISPLAY):
                return True
    return False


def torch_build() -> str | None:
    """CPU, CUDA 13.0 or the like, without importing torch; None if it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        path = importlib.metadata.distribution("torch").locate_file("torch/version.py")
        told = runpy.run_path(str(path))
        return f"CUDA {told['cuda']}" if told["cuda"] else f"ROCm {told['hip']}" if told["hip"] else "CPU"
    return None


def places(store: str) -> Iterator[Finding]:
    """The store, and the folders for copies and temporary files."""
    if is_object_store(store):
        yield Finding("store", "ok", f"{store}, an object store; it was not asked")
    else:
        folder = Path(store).absolute()
        yield _store(folder)
        yield _room("disk of the store", folder, DISK_NEEDED, needed=True)
    yield _room("disk of the cache", cache_folder(), 0.0)
    yield _room("disk for temporary files", Path(tempfile.gettempdir()), DISK_NEEDED, needed=True)


def _store(folder: Path) -> Finding:
    there = _existing(folder)
    kind = _file_system(there)
    about = f"{folder}, {'there' if there == folder else 'will be made'}, file system {kind}"
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".moinho-") as trial:
            probe = Path(trial, "probe")
            probe.write_bytes(b"")
            os.link(probe, Path(trial, "link"))
    except OSError as error:
        return Finding(
            "store",
            "missing",
            f"{about}; a file with two names cannot be written there ({error.strerror})",
            "nothing can be made",
            "name another folder with --store, on a disk that has hard links",
            needed=True,
        )
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding(
            "store",
            "limited",
            about,
            "MLflow's database and the locks may fail on a network's file system",
            "run an MLflow server, and name it with --set compute.mlflow=http://HOST:5000",
            needed=True,
        )
    return Finding("store", "ok", about, needed=True)


def _room(what: str, folder: Path, needed_gigabytes: float, needed: bool = False) -> Finding:
    there = _existing(folder)
    usage = shutil.disk_usage(there)
    full = usage.used > RAY_FULL * usage.total
    state = _state(usage.free / GIGABYTE, needed_gigabytes, DISK_EASY)
    return Finding(
        what,
        "limited" if full and state == "ok" else state,
        f"{usage.free / GIGABYTE:.1f} GB free at {there}",
        "Ray puts no objects on so full a disk" if full else "large crawls and models do not fit",
        f"make room: du -xh --max-depth=1 {there} | sort -h",
        needed,
    )


def _existing(folder: Path) -> Path:
    """The folder, or what there is above it."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _file_system(folder: Path) -> str:
    """The kind of file system that the folder lies on, such as ext4."""
    mounts = [mount for mount in psutil.disk_partitions(all=True) if folder.is_relative_to(mount.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"


def packages() -> Iterator[Finding]:
    """Python, and what moinho requires of packages against what is installed."""
    yield Finding("Python", "ok", f"{platform.python_version()}, {platform.python_implementation()}")
    requirements = [Requirement(line) for line in importlib.metadata.requires("moinho") or []]
    wanted = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    faults = {each: fault for each in wanted if (fault := _fault(each))}
    for each, fault in faults.items():
        yield Finding(
            each.name,
            "missing",
            fault,
            "moinho does not run",
            f"pip install '{each.name}{each.specifier}'",
            needed=True,
        )
    shown = [f"{name} {importlib.metadata.version(name)}" for name in SHOWN_PACKAGES if not _absent(name)]
    build = torch_build()
    yield Finding(
        "packages",
        "missing" if faults else "ok",
        f"{len(wanted) - len(faults)} of {len(wanted)} as required: {', '.join(shown)}"
        + (f"; torch's {build} build" if build else ""),
        needed=True,
    )


def _absent(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def _fault(requirement: Requirement) -> str | None:
    if _absent(requirement.name):
        return "not installed"
    version = importlib.metadata.version(requirement.name)
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{version}, but {requirement.specifier} is required"


def programs() -> Iterator[Finding]:
    """What is called by its name."""
    compiler = has_compiler()
    yield Finding(
        "C++ compiler",
        "ok" if compiler else "limited",
        f"{_program('g++')}, and Python's headers" if compiler else "g++ or Python's headers are not there",
        "no torch.compile: training on a CPU is a quarter slower",
        "apt install g++ python3-dev",
    )
    make = shutil.which("make")
    yield Finding(
        "make", "ok" if make else "limited", make or "not there", "no make test", "apt install make"
    )
    git = shutil.which("git")
    yield Finding(
        "git",
        "ok" if git else "limited",
        git or "not there",
        "records do not say which commit made them",
        "apt install git",
    )
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    yield Finding(
        "browser for tests",
        "limited" if absent else "ok",
        f"not there: {', '.join(absent)}"
        if absent
        else _output("chromium", "--version").strip() or "Chromium",
        "make test-all cannot look at web pages",
        "apt install chromium chromium-driver",
    )


def _program(name: str) -> str:
    first = _output(name, "--version").partition("\n")[0]
    return re.sub(r"\(.*?\) ", "", first) or name


def _output(*command: str) -> str:
    """What a program prints, or nothing if it is not there, fails or takes long."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def port(number: int, what: str, remedy: str) -> Finding:
    """Whether a port of the loopback address can be listened on, else by whom it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return Finding(
                f"port {number}",
                "limited",
                f"taken by {_listener(number)}",
                f"{what} needs another one",
                remedy,
            )
    return Finding(f"port {number}", "ok", f"free, for {what}")


def _listener(number: int) -> str:
    """The program that listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if not connection.laddr or connection.laddr.port != number or not connection.pid:
                continue
            if connection.status == psutil.CONN_LISTEN:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "a program of another user"


def documentation(configurations: Path) -> Iterator[Finding]:
    """The Debian packages that the configurations of a folder are made from."""
    for path in sorted(configurations.glob("*.toml")):
        folders = tomllib.loads(path.read_text(encoding="utf-8")).get("site", {}).get("folders", [])
        absent = [folder["package"] for folder in folders if not Path(folder["path"]).is_dir()]
        if folders:
            yield Finding(
                f"texts for {path.name}",
                "missing" if absent else "ok",
                f"not there: {', '.join(absent)}" if absent else f"{len(folders)} Debian packages",
                f"no moinho run configs/{path.name}",
                f"apt install {' '.join(absent or [folder['package'] for folder in folders])}",
            )

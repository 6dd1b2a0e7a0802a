"""Where torch.compile keeps its code, so that what a killed process left half written is never used.

The folder is one per machine and versions, `<cache>/compiled/<machine and versions>/<generation>/`. A
process that compiles leaves a mark there, and turns it into another when it is done. If a mark says
`compiling` and its process is dead, the next one begins a new, empty generation.
"""

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil
import torch

from pipeline.store.storage import cache_folder

log = logging.getLogger(__name__)

COMPILING, DONE = "compiling", "done"


@contextlib.contextmanager
def compiling(*, afresh: bool = False) -> Iterator[Path]:
    """Let torch.compile use the folder of this machine; `afresh`: an empty one.

    What is compiled inside is trusted by later processes. If the block is left by an exception, or the
    process is killed in it, the folder is not used again.
    """
    root = machine_folder()
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        folder = _usable(root, afresh)
        mark = folder / f"{COMPILING}-{_this_process()}"
        mark.touch()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    yield folder
    with _locked(root):
        mark.replace(folder / f"{DONE}-{_this_process()}")


def machine_folder() -> Path:
    """Of this host, its processor and GPUs, and the versions of Python and torch."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    capability = torch.backends.cpu.get_cpu_capability()
    told = [platform.node(), platform.machine(), capability, *gpus, sys.version, torch.__version__]
    return cache_folder() / "compiled" / hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _locked(root: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(root / "lock")


def _usable(root: Path, afresh: bool) -> Path:
    """The newest generation, or the next one if somebody died while compiling there; those before it are
    removed unless somebody still uses them."""
    generations = sorted(int(folder.name) for folder in root.iterdir() if folder.is_dir())
    newest = generations[-1] if generations else 1
    if afresh or _died_compiling(root / str(newest)):
        newest += 1
        log.info(
            "compiled code is made anew: %s", "as asked" if afresh else "a process died while it compiled"
        )
    for number in generations:
        if number < newest and not any(_is_alive(mark) for mark in _marks(root / str(number))):
            shutil.rmtree(root / str(number), ignore_errors=True)
    folder = root / str(newest)
    folder.mkdir(exist_ok=True)
    for mark in _marks(folder):
        if not _is_alive(mark):
            mark.unlink()
    return folder


def _died_compiling(folder: Path) -> bool:
    return any(mark.name.startswith(COMPILING) and not _is_alive(mark) for mark in _marks(folder))


def _marks(folder: Path) -> list[Path]:
    return [*folder.glob(f"{COMPILING}-*"), *folder.glob(f"{DONE}-*")]


def _this_process() -> str:
    return f"{os.getpid()}-{psutil.Process().create_time():.2f}"


def _is_alive(mark: Path) -> bool:
    """Whether its process lives; another one that got the same number began at another time."""
    _, number, began = mark.name.split("-")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == began
    except psutil.NoSuchProcess:
        return False

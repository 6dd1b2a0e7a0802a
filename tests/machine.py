"""Faults of a machine, made for real: disks that are full or may not be written, clocks that are set back."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store import Store
from pipeline.store.verify import verify

SERVICES_REQUIRED = os.environ.get("MOINHO_REQUIRE_SERVICES") == "1"


def check_sound(store: Path) -> None:
    """`verify` finds nothing wrong, unfinished work included, and every complete journal line can be read."""
    assert verify(Store(str(store))).faults == []
    for path in store.rglob("*.jsonl"):
        lines = path.read_bytes()
        for line in lines[: lines.rfind(b"\n") + 1].splitlines():
            json.loads(line)


class SmallDisk:
    """A file system of its own in memory, whose size can be changed while it is used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", str(self.folder))

    def leave(self, free: int) -> None:
        """Let so many bytes be left."""
        found = os.statvfs(self.folder)
        self.resize((found.f_blocks - found.f_bfree) * found.f_frsize + free)


@contextlib.contextmanager
def small_disk(folder: Path, size: int = 256 << 20, files: int = 100_000) -> Iterator[SmallDisk]:
    """A disk at `folder` with room for `size` bytes. The test is skipped where nothing may be mounted."""
    folder.mkdir(parents=True)
    options = f"size={size},nr_inodes={files}"
    if _mount("-t", "tmpfs", "-o", options, "moinho-test", str(folder), check=False):
        _unmountable()
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def read_only(source: Path, folder: Path) -> Iterator[Path]:
    """`source`, seen at `folder` and not to be written there, not even by root."""
    folder.mkdir(parents=True)
    if _mount("--bind", str(source), str(folder), check=False):
        _unmountable()
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Clock:
    """What processes with this `environment` take for the time; intervals are measured as ever.

    The test is skipped where libfaketime (Debian: faketime) is not installed.
    """

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            missing = "libfaketime is not installed (infra/install-test-services.sh)"
            if SERVICES_REQUIRED:
                pytest.fail(missing)
            pytest.skip(missing)
        self.file = folder / "clock"
        folder.mkdir(parents=True, exist_ok=True)
        # libfaketime 0.9.10 breaks the call that Python 3.11 sleeps by, and that one alone.
        (folder / "sitecustomize.py").write_text(
            "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
        )
        self.set_back(0)
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": os.pathsep.join(path),
        }

    def set_back(self, seconds: int) -> None:
        """From now on the clock is so much behind."""
        self.file.write_text(f"-{seconds}s\n")


@contextlib.contextmanager
def not_permitted(source: Path, folder: Path) -> Iterator[Path]:
    """A copy of `source` at `folder` whose files may be read alone, by whoever obeys permissions."""
    shutil.copytree(source, folder, symlinks=True)
    every = [folder, *folder.rglob("*")]
    for path in every:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        yield folder
    finally:
        for path in every:
            path.chmod(path.stat().st_mode | 0o200)


def obeying() -> list[str]:
    """What to put before a command so that permissions hold for it, also if we are root."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def _mount(*arguments: str, check: bool = True) -> int:
    return subprocess.run(["mount", *arguments], check=check, stderr=subprocess.DEVNULL).returncode


def _unmountable() -> None:
    pytest.skip("mounting is not permitted here")

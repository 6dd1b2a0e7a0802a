"""Programs that a model wrote, run against checks in a process of their own.

Each program has a new process in an empty folder, without environment; its limits are set in
sandbox_child.py before the program is read. What a program can do at worst is to use its CPU time and its
memory, to print a mebibyte, and to read what its user may read. It is meant for what models write by
accident; where one must be held that is meant to break out, use a virtual machine.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field

from pipeline.config import Config
from pipeline.errors import StageError

CHILD = Path(__file__).with_name("sandbox_child.py")
TOLD_CHARACTERS = 300
TROUBLE = {
    "write a file": "open('left-behind', 'w').write('x')",
    "make a process": "import os; os.fork()",
    "open a socket": "import socket; socket.socket()",
}


class SandboxConfig(Config):
    """What a program that is tested may use."""

    cpu_seconds: int = Field(default=2, ge=1)
    """Of the processor."""
    wall_seconds: float = Field(default=20.0, gt=0)
    """By the clock, for programs that wait; long, for a machine that has much else to do."""
    memory_bytes: int = Field(default=256 << 20, ge=64 << 20)
    """Of address space, Python's own 30 MB included."""


class SandboxError(StageError):
    """Programs that a model wrote cannot be run safely, or not at all, on this machine."""

    passes = False
    remedy = (
        'Leave the task out (`names` without "code" under `tasks`), or run on Linux with seccomp (any '
        "usual kernel and container has it)."
    )


@dataclass(frozen=True)
class Verdict:
    """What became of a program."""

    passed: bool
    told: str
    """The error that ended it, or "too slow"; empty if it passed."""


def run_programs(
    programs: Sequence[tuple[str, str]], config: SandboxConfig, at_once: int | None = None
) -> list[Verdict]:
    """A verdict for each (program, checks), several at once; the same pair is run once.

    Raises SandboxError if this machine cannot hold a program.
    """
    if not programs:
        return []
    _check(config)
    different = list(dict.fromkeys(programs))
    with ThreadPoolExecutor(at_once or os.cpu_count() or 1) as pool:
        verdicts = pool.map(lambda pair: run_program(pair[0], pair[1], config), different)
        found = dict(zip(different, verdicts, strict=True))
    return [found[pair] for pair in programs]


def run_program(program: str, checks: str, config: SandboxConfig) -> Verdict:
    """Run the program, then its checks in the same names; passed if nothing was raised.

    Ended by the clock after `wall_seconds`, with whatever it started.
    """
    secret = secrets.token_hex(16)
    given = {
        "program": program,
        "checks": checks,
        "secret": secret,
        "cpu_seconds": config.cpu_seconds,
        "memory_bytes": config.memory_bytes,
    }
    with (
        tempfile.TemporaryDirectory(prefix="program-") as folder,
        tempfile.TemporaryFile() as out,  # files, since of those a program can be kept from writing much
        tempfile.TemporaryFile() as error,
    ):
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD)],
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=error,
            start_new_session=True,
        )
        try:
            child.communicate(json.dumps(given).encode(), timeout=config.wall_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return Verdict(False, "too slow")
        out.seek(0)
        error.seek(0)
        said, told = out.read(), error.read().decode("utf-8", "replace").strip().splitlines()
    if said == secret.encode():
        return Verdict(True, "")
    if child.returncode in (-signal.SIGKILL, -signal.SIGXCPU):
        return Verdict(False, "too slow")
    return Verdict(False, told[-1][:TOLD_CHARACTERS] if told else f"ended with {child.returncode}")


@cache
def _check(config: SandboxConfig) -> None:
    """A right program passes here, and what is forbidden is refused. Raises SandboxError."""
    right = run_program("def one():\n    return 1", "assert one() == 1", config)
    if not right.passed:
        raise SandboxError(f"a program that is right did not pass on this machine: {right.told}")
    for trouble, program in TROUBLE.items():
        if run_program(program, "", config).passed:
            raise SandboxError(f"a program could {trouble} on this machine")

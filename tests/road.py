"""Runs `moinho` as a user does: a process of its own, in a session of its own, over a small real website."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

CONFIG = Path(__file__).parent / "road.toml"
MOINHO = Path(sys.executable).parent / "moinho"
POLL_SECONDS = 0.05


@dataclass
class Run:
    """A running or ended `moinho run` or the like, its output in a file."""

    process: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def start(
        cls,
        store: Path | str,
        *settings: str,
        config: Path = CONFIG,
        outputs: Path | None = None,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        word: str = "run",
        until: str | None = None,
        follow: bool = False,
    ) -> "Run":
        """`outputs` is the folder for what it prints, unless that is the store itself; `before` a command
        that runs ours; `word` the command of ours, if it is not `moinho run`; `until` where the run ends, if
        not at its end; `follow` a run that is submitted."""
        output = (outputs or Path(store)) / f"output-{time.monotonic_ns():x}.txt"
        output.parent.mkdir(parents=True, exist_ok=True)
        command = [*before, str(MOINHO), word, str(config), "--store", str(store)]
        for setting in settings:
            command += ["--set", setting]
        if until is not None:
            command += ["--until", until]
        if follow:
            command += ["--follow"]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        return cls(process, output)

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait(self, timeout_seconds: float = 280) -> int:
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {timeout_seconds} s:\n{self.text()}") from None

    def wait_until(self, told: str, timeout_seconds: float = 200) -> None:
        """Until `told` stands in the output. Fails if the run ends before."""
        end = time.monotonic() + timeout_seconds
        while told not in self.text():
            assert self.process.poll() is None, f"ended before {told!r}:\n{self.text()}"
            assert time.monotonic() < end, f"no {told!r} after {timeout_seconds} s:\n{self.text()}"
            time.sleep(POLL_SECONDS)

    def family(self) -> list[psutil.Process]:
        """Every process of the run's session that is alive, whatever its process group."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def wait_for_worker(self, title: str, timeout_seconds: float = 90) -> None:
        """Until a process of the family bears a title that begins so."""
        end = time.monotonic() + timeout_seconds
        while not any(command_of(process).startswith(title) for process in self.family()):
            assert time.monotonic() < end, f"no {title}:\n{self.text()}"
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """kill -9 on the driver's whole process group; then wait until the rest of the family has noticed."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.wait_for_family()

    def kill_family(self) -> None:
        """kill -9 on all that the run has started, whatever its process group."""
        while family := self.family():
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.poll()

    def wait_for_family(self, timeout_seconds: float = 90) -> None:
        end = time.monotonic() + timeout_seconds
        while family := self.family():
            assert time.monotonic() < end, f"still alive: {[command_of(process) for process in family]}"
            time.sleep(POLL_SECONDS)


def command_of(process: psutil.Process) -> str:
    """Its command line or title; empty if it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def moinho(
    *arguments: str, store: Path | None = None, stdin: str = "", before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """A short command to its end."""
    # A Ray of this process has left the token of its own there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"MOINHO_STORE": str(store)} if store else {}
    return subprocess.run(
        [*before, str(MOINHO), *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        env=environment | {"COLUMNS": "120"},
    )

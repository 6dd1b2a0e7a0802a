"""Runs `moinho` as a user does: a process of its own, in a session of its own, over a small real website."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

CONFIG = Path(__file__).parent / "road.toml"
MOINHO = Path(sys.executable).parent / "moinho"
POLL_SECONDS = 0.05


@dataclass
class Run:
    """A running or ended `moinho run`, its output in a file."""

    process: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def start(cls, store: Path, *settings: str, config: Path = CONFIG, root: str | None = None) -> "Run":
        """Run in the store in the folder `store`, or with its output there in the store at `root`."""
        store.mkdir(parents=True, exist_ok=True)
        output = store / f"output-{time.time_ns():x}.txt"
        command = [str(MOINHO), "run", str(config), "--store", root or str(store)]
        for setting in settings:
            command += ["--set", setting]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
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

    def kill(self) -> None:
        """kill -9 on the driver's whole process group; then wait until the rest of the family has noticed."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.wait_for_family()

    def wait_for_family(self, timeout_seconds: float = 90) -> None:
        end = time.monotonic() + timeout_seconds
        while family := self.family():
            assert time.monotonic() < end, f"still alive: {[process.cmdline() for process in family]}"
            time.sleep(POLL_SECONDS)


def moinho(*arguments: str, store: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A short command to its end."""
    environment = os.environ | ({"MOINHO_STORE": str(store)} if store else {})
    return subprocess.run(
        [str(MOINHO), *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        env=environment | {"COLUMNS": "120"},
    )

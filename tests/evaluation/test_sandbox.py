"""Programs that a model might write, those that do harm among them, each in a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.evaluation.tasks import sandbox
from pipeline.evaluation.tasks.sandbox import SandboxConfig, SandboxError, Verdict, run_program, run_programs

CONFIG = SandboxConfig(cpu_seconds=1, wall_seconds=30)
RIGHT = "def double(number):\n    return 2 * number"
CHECKS = "assert double(3) == 6"
needs_filter = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")


def ends_with(program: str, error: str, config: SandboxConfig = CONFIG) -> None:
    verdict = run_program(program, "", config)
    assert not verdict.passed
    assert error in verdict.told


def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    assert run_program(RIGHT, CHECKS, CONFIG) == Verdict(True, "")
    assert not run_program(RIGHT.replace("2 *", "3 *"), CHECKS, CONFIG).passed


def test_the_standard_library_can_be_used() -> None:
    modules = "math, re, collections, itertools, string, json, functools, datetime, random, decimal, heapq"
    assert run_program(f"import {modules}", "assert math.sqrt(4) == 2", CONFIG).passed


def test_what_is_printed_is_no_verdict() -> None:
    assert run_program("print('x' * 100_000)\n" + RIGHT, CHECKS, CONFIG).passed
    assert not run_program("print('passed')", CHECKS, CONFIG).passed


def test_what_is_printed_without_end_is_cut() -> None:
    endless = "import os\nwhile True:\n    os.write({stream}, b'x' * 100_000)"
    for stream, told in ((1, "File too large"), (2, "xxx"), (3, "File too large")):
        ends_with(endless.format(stream=stream), told)
    assert run_program("import sys; print('x' * 100_000, file=sys.stderr)\n" + RIGHT, CHECKS, CONFIG).passed


@pytest.mark.parametrize("leave", ["raise SystemExit(0)", "import os; os._exit(0)", "exit(0)"])
def test_leaving_early_is_not_passing(leave: str) -> None:
    assert not run_program(leave, "assert False", CONFIG).passed


def test_an_endless_loop_is_ended_by_its_processor_time() -> None:
    ends_with("while True:\n    pass", "too slow")


def test_a_program_that_waits_is_ended_by_the_clock() -> None:
    ends_with("import time; time.sleep(1000)", "too slow", SandboxConfig(cpu_seconds=1, wall_seconds=1.5))


def test_a_program_that_ignores_signals_is_ended() -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass"
    ends_with(stubborn, "too slow")


def test_memory_is_limited() -> None:
    ends_with("x = [0] * 10**10", "MemoryError")


@pytest.mark.parametrize(
    "bomb",
    [
        "import os\nwhile True:\n    os.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
        "import os\nos.system('true')",
    ],
)
def test_no_process_can_be_made(bomb: str) -> None:
    ends_with(bomb, "Error")


def test_files_cannot_be_written_removed_or_changed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    for harm in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        "open('here', 'w')",
        f"open({str(kept)!r}, 'a').write('more')",
        f"import os; os.remove({str(kept)!r})",
        f"import os; os.rename({str(kept)!r}, {str(tmp_path / 'gone')!r})",
        f"import os; os.open({str(tmp_path / 'new')!r}, os.O_CREAT | os.O_WRONLY)",
        f"import os; os.truncate({str(kept)!r}, 0)",
        f"import os; os.mkdir({str(tmp_path / 'folder')!r})",
    ):
        ends_with(harm, "PermissionError")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "as it was"


def test_the_network_is_out_of_reach() -> None:
    ends_with("import socket\nsocket.socket()", "PermissionError")
    ends_with("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')", "Error")


@needs_filter
def test_the_system_refuses_what_python_would_allow() -> None:
    """Without the audit hook: the filter alone, which no program can take off."""
    alone = f"""
import os, runpy, socket
runpy.run_path({str(sandbox.CHILD)!r}, run_name="child")["confine"]()
harms = {{
    "fork": os.fork,
    "socket": socket.socket,
    "write": lambda: os.open("left-behind", os.O_CREAT | os.O_WRONLY),
    "append": lambda: open("/dev/null", "a"),
    "remove": lambda: os.remove("anything"),
    "kill": lambda: os.kill(os.getppid(), 0),
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "change folder": lambda: os.chdir("/"),
}}
for name, harm in harms.items():
    try:
        harm()
    except PermissionError:
        continue
    os._exit(1)
open({str(sandbox.CHILD)!r}).read()
os._exit(7)
"""
    assert subprocess.run([sys.executable, "-I", "-S", "-c", alone], timeout=60).returncode == 7


def test_nothing_of_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    program = "import os\nassert 'A_SECRET' not in os.environ\nassert os.listdir('.') == []"
    assert run_program(program, "", CONFIG).passed


@pytest.mark.parametrize("nonsense", ["\0", "(" * 50_000, "def f(:", "\ud800", "é = 1\n" * 5])
def test_any_text_gets_a_verdict(nonsense: str) -> None:
    assert isinstance(run_program(nonsense, "", CONFIG), Verdict)


def test_verdicts_come_in_order_and_the_same_program_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def counted(program: str, checks: str, config: SandboxConfig) -> Verdict:
        runs.append(program)
        return Verdict(program == RIGHT, "")

    monkeypatch.setattr(sandbox, "run_program", counted)
    monkeypatch.setattr(sandbox, "_check", lambda config: None)
    verdicts = run_programs([(RIGHT, CHECKS), ("", CHECKS), (RIGHT, CHECKS)], CONFIG, at_once=2)
    assert [verdict.passed for verdict in verdicts] == [True, False, True]
    assert sorted(runs) == ["", RIGHT]


def test_a_machine_that_cannot_hold_programs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_child = tmp_path / "child.py"
    open_child.write_text(
        "import json, os, sys\n"
        "given = json.load(sys.stdin)\n"
        "exec(given['program']); os.write(1, given['secret'].encode())\n"
    )
    monkeypatch.setattr(sandbox, "CHILD", open_child)
    with pytest.raises(SandboxError, match=r"could (write|make|open)"):
        run_programs([("x = 1", "")], SandboxConfig(cpu_seconds=3))


def test_no_folder_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_program(RIGHT, CHECKS, CONFIG)
    assert os.listdir(tmp_path) == []

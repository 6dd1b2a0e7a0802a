"""`moinho doctor` and `moinho ui`: what they say of this machine."""

import importlib.metadata
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import doctor
from flows.doctor import Finding, can_run_quickstart
from tests.road import moinho


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_doctor_names_everything_with_its_state_and_the_exit_code_agrees(tmp_path: Path) -> None:
    done = moinho("doctor", "--json", store=tmp_path / "store")
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["quickstart"] else 1), done.stderr
    findings = {finding["what"]: finding for finding in told["findings"]}
    assert {"cores", "memory", "GPU", "store", "packages", "C++ compiler", "git", "port 5000"} <= set(
        findings
    )
    assert {finding["state"] for finding in findings.values()} <= {"ok", "limited", "missing"}
    assert findings["packages"]["state"] == "ok"
    assert findings["store"]["state"] == "ok"
    assert not (tmp_path / "store").exists()


def test_what_is_not_ok_comes_with_what_is_lost_and_a_command(tmp_path: Path) -> None:
    (tmp_path / "guide.toml").write_text(
        '[[site.folders]]\npath = "/nowhere/guide"\npackage = "guide-html"\n'
        f'[[site.folders]]\npath = "{tmp_path}"\npackage = "other-html"\n'
    )
    (finding,) = doctor.documentation(tmp_path)
    assert (finding.state, finding.found) == ("missing", "not there: guide-html")
    assert finding.remedy == "apt install guide-html"
    assert can_run_quickstart([finding]), "the quickstart needs no Debian package"


def test_a_package_that_is_absent_or_too_old_stops_the_quickstart(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["no-such-package>=1", "pytest>=9999", "pydantic>=2", 'colorama; sys_platform == "win32"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    findings = by_name(doctor.packages())
    assert findings["no-such-package"].found == "not installed"
    assert findings["pytest"].found == f"{pytest.__version__}, but >=9999 is required"
    assert findings["packages"].found.startswith("1 of 3 as required")
    assert not can_run_quickstart(list(findings.values()))


def test_a_store_that_cannot_be_written_is_told_with_the_reason() -> None:
    finding = by_name(doctor.places("/proc/moinho/store"))["store"]
    assert finding.state == "missing"
    assert finding.needed
    assert "cannot be written there (" in finding.found


def test_the_program_that_holds_a_port_is_named(taken_port: int) -> None:
    finding = doctor.port(taken_port, "a page", "choose another")
    assert finding.state == "limited"
    assert f"(process {os.getpid()})" in finding.found


def test_the_build_of_torch_is_told_as_torch_itself_tells_it() -> None:
    import torch

    assert doctor.torch_build() == (f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU")


def test_a_gpu_that_torch_cannot_use_is_told_with_the_way_to_the_other_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(doctor, "torch_build", lambda: "CPU")
    (finding,) = doctor.graphics()
    assert finding.state == "limited"
    assert finding.found.startswith("NVIDIA H200, 143771 MiB")
    assert "TORCH=cuda make install" in finding.remedy


def test_a_card_without_its_driver_is_told_with_the_way_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    for name, value in (("vendor", "0x10de\n"), ("class", "0x030200\n")):
        (tmp_path / "0000:01:00.0" / name).write_text(value)
    assert doctor.has_nvidia_card(tmp_path)
    assert not doctor.has_nvidia_card(tmp_path / "none")
    monkeypatch.setattr(doctor, "_output", lambda *command: "")
    for here, told in ((True, "an NVIDIA card, but"), (False, "none")):
        monkeypatch.setattr(doctor, "has_nvidia_card", lambda here=here: here)
        (finding,) = doctor.graphics()
        assert finding.found.startswith(told)
        assert "driver" in finding.remedy
        assert "TORCH=cuda make install" in finding.remedy


def test_ui_names_no_address_before_it_knows_that_the_port_is_free(tmp_path: Path, taken_port: int) -> None:
    (tmp_path / "store" / "names").mkdir(parents=True)
    done = moinho("ui", "--port", str(taken_port), store=tmp_path / "store")
    assert done.returncode == 2
    assert done.stdout == "starting MLflow ...\n"
    assert f"127.0.0.1:{taken_port} cannot be listened on" in done.stderr

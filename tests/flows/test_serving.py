"""`moinho serve` before it serves: keys, ports, room, and a model that cannot be loaded."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.people import KEY_VARIABLE, ApiKeyError, api_key
from pipeline.chat.limits import Limits
from pipeline.chat.serving import (
    ReplicaStartError,
    Served,
    ServeTakenError,
    TooManyReplicasError,
    _require_room,
    start,
)
from pipeline.tracking.destination import PortInUseError, require_free
from tests.chat.served import serving, started
from tests.evaluation.stand_ins import SmallModel


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_key_comes_from_a_file_the_environment_or_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " of-the-shell \n")
    assert api_key(key_file(tmp_path, "of-the-file\n")) == ("of-the-file", False)
    assert api_key(None) == ("of-the-shell", False)
    monkeypatch.delenv(KEY_VARIABLE)
    (one, is_new), (other, _) = api_key(None), api_key(None)
    assert is_new
    assert len(one) >= 32
    assert one != other


@pytest.mark.parametrize(
    ("text", "mode", "told"), [("mill", 0o644, "others may read it"), (" \n", 0o600, "is empty")]
)
def test_a_key_file_that_is_no_secret_is_refused(tmp_path: Path, text: str, mode: int, told: str) -> None:
    with pytest.raises(ApiKeyError, match=told):
        api_key(key_file(tmp_path, text, mode))
    with pytest.raises(ApiKeyError, match="no API key there"):
        api_key(tmp_path / "none")


def test_a_port_that_is_taken_is_told_before_anything_starts(taken: int, small_model: SmallModel) -> None:
    with pytest.raises(PortInUseError, match="another port, such as --port"):
        require_free("127.0.0.1", taken)
    words = ["serve", str(small_model.model_folder()), "--port", str(taken)]
    told = CliRunner().invoke(app, words)
    assert isinstance(told.exception, PortInUseError)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortInUseError, match="cannot be listened on"):
        require_free("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("replicas", "gpus", "fits"), [(3, 0, True), (4, 0, False), (4, 0.5, False), (2, 0.5, True)]
)
def test_what_has_no_room_is_told_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch, replicas: int, gpus: float, fits: bool
) -> None:
    nodes = [{"CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}]
    monkeypatch.setattr("pipeline.cluster.node_resources", lambda: nodes)
    served = Served(Path("mill"), "mill", Limits(), "", replicas, gpus)
    if fits:
        _require_room(served)
        return
    with pytest.raises(TooManyReplicasError, match=f"{replicas} replicas"):
        _require_room(served)


def test_a_cluster_whose_ray_serve_is_another_s_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cluster.node_resources", lambda: [{"CPU": 1.0}])
    monkeypatch.setattr("ray.serve.status", lambda: SimpleNamespace(proxies={"node": "HEALTHY"}))
    with pytest.raises(ServeTakenError):
        start(Served(Path("mill"), "mill", Limits(), ""), "127.0.0.1", 8000)


@pytest.mark.everything
def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(
    small_model: SmallModel, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(small_model.model_folder(), broken)
    (broken / "model.safetensors").write_bytes(b"chaff")
    with pytest.raises(AssertionError, match="broken cannot be served") as told, serving(broken, tmp_path):
        pass
    assert "ended before" in str(told.value)
    assert "header" in str(told.value).lower()
    assert "Traceback" not in str(told.value)


def test_what_a_replica_said_last_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("Deploying application moinho failed")

    deployment = SimpleNamespace(message="Traceback ...\n  OutOfMemoryError: 80 GiB\n")
    applications = {"moinho": SimpleNamespace(deployments={"mill": deployment})}
    monkeypatch.setattr("pipeline.cluster.node_resources", lambda: [{"CPU": 1.0}])
    monkeypatch.setattr("ray.serve.status", lambda: SimpleNamespace(proxies={}, applications=applications))
    monkeypatch.setattr("ray.serve.start", lambda **_: None)
    monkeypatch.setattr("ray.serve.run", fails)
    with pytest.raises(ReplicaStartError, match="mill cannot be served: OutOfMemoryError: 80 GiB"):
        start(Served(Path("mill"), "mill", Limits(), ""), "127.0.0.1", 8000)


@pytest.mark.everything
@pytest.mark.parametrize("seconds", [4, 10, 16])
def test_sigterm_while_it_starts_ends_it(small_model: SmallModel, tmp_path: Path, seconds: int) -> None:
    run = started(small_model.model_folder(), tmp_path)
    time.sleep(seconds)
    processes = run.processes()
    os.kill(run.process.pid, signal.SIGTERM)
    run.wait(30)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert "Traceback" not in run.text()

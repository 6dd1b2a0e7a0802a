"""A node that is to go is left in good order: nothing of the training is lost."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest

from pipeline.training import leave_node
from pipeline.training.leave_node import WhichNodeError, main, node
from pipeline.training.pretrain import RESULT
from tests.training.deaths import Death
from tests.training.test_deaths import CONFIG, LONG, journal, resumed, settings, toy
from tests.training.toys import toy_data


def test_a_node_that_is_not_here_is_not_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leave_node, "nodes", lambda: [])
    with pytest.raises(WhichNodeError, match="found: none"):
        node(None)
    assert main(["--seconds", "1"]) == 2
    assert "error: one node of Ray was looked for" in capsys.readouterr().err


@pytest.mark.everything
def test_a_training_loses_no_step_when_its_node_is_left_before_it_goes(tmp_path: Path) -> None:
    """The step that it is at is saved, and the worker that is left goes on from there."""
    death = Death("lingers", 1, 10, "between")
    data = toy_data(tmp_path / "data")
    training = replace(toy(tmp_path, data, (death,)), compute=settings("eager", "1-2"))
    given = tmp_path / "given"
    given.write_bytes(cloudpickle.dumps((training.compute, training)))
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "tests.training.node_gone", str(given), "announced"]
        done = subprocess.run(command, stdout=log, stderr=log, timeout=LONG, check=False)
    told = (tmp_path / "log").read_text()
    assert done.returncode == 0, told[-3000:]
    assert "left with 0" in told
    saved = [line["step"] for line in journal(training.attempt) if line["kind"] == "preempted"]
    assert saved[-1] > 10
    assert resumed(training.attempt) == saved[-1:]
    result = json.loads(training.attempt.storage.read(f"{training.attempt.folder}/{RESULT}"))
    assert result["compute"]["workers"] == 1
    assert result["counts"]["steps"] == CONFIG.steps

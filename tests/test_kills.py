"""Something is killed at a random moment, then the same command again: nothing lost, nothing twice."""

import shutil
from pathlib import Path

import pytest

from tests.kills import ASSISTANT, ROAD, fill, kill_of, stage_seconds, try_kill

SEED = 0
MANY = 24
"""Trials of `make test-all`; by hand, `python -m tests.kills` does as many as one likes."""
CHEAP = tuple(stage for stage in ROAD.tried if stage not in ("crawl", "pretrain", "finetune"))


@pytest.fixture
def undisturbed(filled_road: Path) -> Path:
    return filled_road / "undisturbed"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("trial", [0, pytest.param(1, marks=pytest.mark.everything)])
def test_a_killed_run_goes_on_to_the_same_bytes(trial: int, undisturbed: Path, tmp_path: Path) -> None:
    outcome = try_kill(undisturbed, tmp_path, kill_of(SEED, trial, stage_seconds(undisturbed), CHEAP))
    assert outcome.faults == [], outcome


@pytest.mark.everything
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("trial", range(MANY))
def test_a_run_killed_in_any_stage_goes_on_to_the_same_bytes(
    trial: int, undisturbed: Path, tmp_path: Path
) -> None:
    outcome = try_kill(undisturbed, tmp_path, kill_of(SEED, trial, stage_seconds(undisturbed)))
    assert outcome.faults == [], outcome


@pytest.fixture(scope="module")
def assistant(filled_road: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that the assistant's flow makes, undisturbed."""
    store = tmp_path_factory.mktemp("assistant") / "undisturbed"
    shutil.copytree(filled_road / "undisturbed", store, symlinks=True)
    fill(store, ASSISTANT)
    return store


@pytest.mark.everything
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("stage", ASSISTANT.tried)
def test_the_way_to_an_assistant_killed_in_any_stage_ends_with_the_same_bytes(
    stage: str, assistant: Path, tmp_path: Path
) -> None:
    kill = kill_of(SEED, ASSISTANT.tried.index(stage), stage_seconds(assistant), (stage,))
    outcome = try_kill(assistant, tmp_path, kill, ASSISTANT)
    assert outcome.faults == [], outcome

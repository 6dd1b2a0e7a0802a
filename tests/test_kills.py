"""Something is killed at a random moment, then the same command again: nothing lost, nothing twice."""

from pathlib import Path

import pytest

from tests.kills import STAGES, kill_of, stage_seconds, try_kill

SEED = 0
MANY = 24
"""Trials of `make test-all`; by hand, `python -m tests.kills` does as many as one likes."""
CHEAP = tuple(stage for stage in STAGES if stage not in ("crawl", "pretrain", "finetune"))


@pytest.fixture
def undisturbed(filled_road: Path) -> Path:
    return filled_road / "undisturbed"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("trial", range(4))
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

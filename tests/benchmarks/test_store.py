"""The store that the benchmark `store` fills is one that runs could have left, and the benchmark runs."""

import json
from pathlib import Path

import pytest

from flows.configuration import load
from flows.listing import listing
from flows.planning import planned_artifacts
from flows.web_to_model import WebToModel
from pipeline.store.discard import leftovers
from pipeline.store.verify import verify
from tests.benchmarks.__main__ import main
from tests.benchmarks.filled_store import OVERTAKEN_EVERY, TRIALS, Shards, fill, settings_of
from tests.benchmarks.store import exponent_of
from tests.road import CONFIG

SHARDS = 3


def test_a_filled_store_is_sound_and_holds_what_its_runs_would_make(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"), 110, Shards(SHARDS, tmp_path / "pool"))
    found = verify(store)
    assert (found.artifacts, found.unfinished, found.faults) == (store.artifacts, 1, [])
    assert found.files == (store.artifacts + 1) * SHARDS
    for run in range(store.runs):
        config = load(WebToModel, CONFIG, [*settings_of(run), f'compute.store="{tmp_path}/store"'])
        assert all(artifact.exists() for artifact in planned_artifacts(config))


def test_of_a_filled_store_the_models_of_all_but_a_names_last_run_are_garbage(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"), 110, Shards(SHARDS, tmp_path / "pool"))
    found = leftovers(store)
    unneeded = [piece.path.partition("/")[0] for piece in found.artifacts]
    overtaken = sum(run % TRIALS < TRIALS - 1 and run + 1 < store.runs for run in range(store.runs))
    assert sorted(unneeded) == sorted(["pretrain", "finetune", "evaluate"] * overtaken)
    assert len(found.runs) == store.runs
    assert (len(found.unfinished), found.names) == (1, [])
    assert 0 < len(found.attempts) <= store.artifacts // OVERTAKEN_EVERY


def test_a_part_of_a_listing_is_in_the_order_of_the_whole(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"), 60, Shards(SHARDS, tmp_path / "pool"))
    rows = listing(store)
    assert len(rows) == store.artifacts
    assert listing(store, "pretrain") == [row for row in rows if row.stage == "pretrain"]
    of_run = [row for row in rows if any(name.startswith("run-00001/") for name in row.names)]
    assert len(of_run) == 12
    assert listing(store, "run-00001") == of_run


def test_an_exponent_tells_a_line_from_a_square() -> None:
    assert exponent_of((10, 1_010, 10_010), (2.0, 3.0, 12.0)) == pytest.approx(1)
    assert exponent_of((10, 1_010, 10_010), (2.0, 3.0, 102.0)) == pytest.approx(2)
    assert exponent_of((10, 1_010, 10_010), (2.0, 2.01, 2.1)) is None


@pytest.mark.parametrize(
    "where", [pytest.param([], marks=pytest.mark.slow), pytest.param(["--s3"], marks=pytest.mark.everything)]
)
def test_a_small_store_is_measured(where: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    main(["store", "--artifacts", "30", "--shards", "2", "--pairs", "1", "--command", "gc", *where])
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert told["name"] == "store"
    assert told["artifacts"][-1] >= 30
    assert told["shards"][-1] == 2 * told["artifacts"][-1]
    assert set(told["seconds"]) == {"ls", "bare", "gc"}
    assert all(taken > 0 for each in told["seconds"].values() for taken in each)

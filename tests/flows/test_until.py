"""A run that its user lets end with a stage makes no more than that, and a later one reuses it."""

from pathlib import Path

import pytest

from flows.configuration import load
from flows.listeners import Quiet
from flows.until import UnknownStageError, up_to
from flows.web_to_model import WebToModel
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.store import Artifact, Made, PlanningStore, Store
from tests.calibration import keep_calibration
from tests.flows.test_planning import planned
from tests.road import CONFIG


class Grist(Artifact):
    stage, role, revision = "clean-grain", "grist", 1


class Flour(Artifact):
    stage, role, revision = "grind", "flour", 1


class Told(Quiet):
    def __init__(self) -> None:
        self.made: list[str] = []
        self.found: list[str] = []

    def finished(self, artifact: Artifact) -> None:
        self.made.append(artifact.stage)

    def reused(self, artifact: Artifact) -> None:
        self.found.append(artifact.stage)


def mill(config: WebToModel, store: Store, compute: Compute) -> Flour:
    grist = store.make(Grist, Config(), {}, lambda attempt: Made({}))
    return store.make(Flour, Config(), {"grist": grist}, lambda attempt: Made({}))


@pytest.fixture
def config() -> WebToModel:
    return load(WebToModel, CONFIG)


@pytest.mark.parametrize("name", ["clean-grain", "grist"])
def test_a_flow_ends_with_the_stage_or_the_artifact_of_that_name(name, config, tmp_path):
    told = Told()
    store, compute = Store(str(tmp_path), [told]), Compute(ComputeConfig())
    made = up_to(name, mill)(config, store, compute)
    assert (made.stage, told.made, told.found) == ("clean-grain", ["clean-grain"], [])
    store.listeners = [told]
    mill(config, store, compute)
    assert (told.made, told.found) == (["clean-grain", "grind"], ["clean-grain"])
    again = up_to(name, mill)(config, store, compute)
    assert again.key == made.key


def test_a_stage_that_is_not_there_is_answered_by_those_that_are_before_anything_is_made(config, tmp_path):
    store = PlanningStore(str(tmp_path / "store"))
    with pytest.raises(
        UnknownStageError, match=r"--until bread: .* It has clean-grain \(grist\), grind \(flour\)"
    ):
        up_to("bread", mill)(config, store, Compute(ComputeConfig()))
    with pytest.raises(UnknownStageError, match=r"did you mean flour\? It has"):
        up_to("fluor", mill)(config, store, Compute(ComputeConfig()))
    assert not (tmp_path / "store").exists()


def test_a_plan_ends_where_the_run_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    keep_calibration()
    whole, part = planned(tmp_path / "store"), planned(tmp_path / "store", until="corpus")
    assert part.stages == whole.stages[: len(part.stages)]
    assert part.stages[-1].stage == "hold-out"

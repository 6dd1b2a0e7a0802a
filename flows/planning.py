"""`moinho plan`: the flow itself, run against a store that makes nothing."""

from dataclasses import dataclass

from flows.run import Quiet
from flows.web_to_model import WebToModel, web_to_model
from pipeline.compute import Compute
from pipeline.store import Artifact, PlanningStore, Work


@dataclass(frozen=True)
class PlannedStage:
    """One line of a plan."""

    stage: str
    key: str
    in_store: bool
    work: Work
    """Estimated work if it has to be made: quantity → amount."""


class _Collector(Quiet):
    def __init__(self) -> None:
        self.stages: list[PlannedStage] = []

    def planned(self, artifact: Artifact, work: Work) -> None:
        self.stages.append(PlannedStage(artifact.stage, artifact.key, artifact.exists(), work))


def plan(config: WebToModel) -> list[PlannedStage]:
    """Every stage of the flow in order: in the store, or to be made with its estimated work."""
    collector = _Collector()
    store = PlanningStore(config.compute.store, listeners=[collector])
    web_to_model(config, store, Compute(config.compute))
    return collector.stages

"""The store that plans are made with."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline.config import Config
from pipeline.store.artifacts import Artifact, Expected
from pipeline.store.store import Attempt, Made, Store, Work

A = TypeVar("A", bound=Artifact)


class PlanningStore(Store):
    """Runs a flow without making anything: what is not there yet is expected to become what its stage
    estimates, so that the stages after it can estimate too."""

    def use(self, artifact: A) -> A:
        self._tell(lambda listener: listener.planned(artifact, {}))
        return artifact

    def _obtain(
        self,
        artifact: A,
        config: Config,
        inputs: Mapping[str, Artifact],
        build: Callable[[Attempt], Made],
        content: Mapping[str, str],
        work: Callable[[], Work] | None,
    ) -> A:
        estimated = work() if work and not artifact.exists() else {}
        artifact.expected = Expected(estimated, config.resolved())
        self._tell(lambda listener: listener.planned(artifact, estimated))
        return artifact

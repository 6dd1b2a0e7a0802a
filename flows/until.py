"""A flow that ends early: with the stage that its user names."""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.listeners import Quiet
from pipeline.errors import InputError
from pipeline.store import Artifact, Work

if TYPE_CHECKING:
    from flows.web_to_model import WebToModel
    from pipeline.compute import Compute
    from pipeline.store import Store


class UnknownStageError(InputError):
    """A run should end with a stage that it does not have."""

    remedy = "Name a stage or an artifact that the message lists, or leave `--until` out."


class _Reached(Exception):
    """Leads out of a flow at the artifact that was wanted of it."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.base)
        self.artifact = artifact


class _Watcher(Quiet):
    """Ends the flow as soon as the stage's artifact is there; remembers what others there were."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.others: list[str] = []
        self.names: list[str] = []

    def reused(self, artifact: Artifact) -> None:
        if self.wanted in (artifact.stage, artifact.role):
            raise _Reached(artifact)
        named = artifact.stage if artifact.role == artifact.stage else f"{artifact.stage} ({artifact.role})"
        self.others.append(named)
        self.names += [artifact.stage, artifact.role]

    finished = reused

    def planned(self, artifact: Artifact, work: Work) -> None:
        self.reused(artifact)


def up_to(
    wanted: str, flow: "Callable[[WebToModel, Store, Compute], object]"
) -> "Callable[[WebToModel, Store, Compute], Artifact]":
    """The flow as far as a stage, which may be called by its artifact's name too (`hold-out`, `corpus`).

    What it returns raises UnknownStageError after its last stage if none is called so: a planning store tells
    that before anything is made.
    """

    def shortened(config: "WebToModel", store: "Store", compute: "Compute") -> Artifact:
        watcher = _Watcher(wanted)
        store.listeners = [*store.listeners, watcher]
        try:
            flow(config, store, compute)
        except _Reached as reached:
            return reached.artifact
        near = difflib.get_close_matches(wanted, watcher.names, n=1)
        raise UnknownStageError(
            f"--until {wanted}: this run has no such stage; "
            + (f"did you mean {near[0]}? " if near else "")
            + f"It has {', '.join(watcher.others)}"
        )

    return shortened

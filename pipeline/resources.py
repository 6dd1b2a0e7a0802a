"""What a task or a training worker asks a cluster for, and how many of them its nodes have room for."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.compute_config import StageResources
from pipeline.errors import InputError

GB = 1e9
Node = Mapping[str, float]
"""What a node has, by Ray's names: CPU, GPU, memory (bytes), accelerator_type:H100."""


class WorkersDoNotFitError(InputError):
    """The cluster or machine has no room for as many training workers as were asked for."""

    passes = True
    remedy = "Set compute.training_workers to at most what the message says, or ask for less for each."


class StageDoesNotFitError(InputError):
    """No node of the cluster has what a task of a stage asks for."""

    passes = True
    remedy = (
        "Ask for less in [compute.stages] or add such a node; with compute.autoscaling = true the run waits "
        "until the cluster has started one."
    )


@dataclass(frozen=True)
class Request:
    """What one task or training worker takes of a node."""

    cpus: float
    gpus: float = 0
    memory_gb: float | None = None
    accelerator: str | None = None

    @classmethod
    def of(cls, asked: StageResources, cpus: float, gpus: float) -> "Request":
        """What a stage asks for; of what it does not say, these."""
        return cls(
            cpus if asked.cpus is None else asked.cpus,
            gpus if asked.gpus is None else asked.gpus,
            asked.memory_gb,
            asked.accelerator,
        )

    def of_task(self) -> dict[str, Any]:
        """Options of a Ray task."""
        found: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        if self.memory_gb is not None:
            found["memory"] = self.memory_gb * GB
        return found if self.accelerator is None else {**found, "accelerator_type": self.accelerator}

    def of_worker(self) -> dict[str, float]:
        """Resources of a worker of Ray Train."""
        found = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_gb or 0) * GB}
        return {name: amount for name, amount in found.items() if amount}

    def room_in(self, nodes: Sequence[Node]) -> int:
        """How many of it the nodes have room for, all at once."""
        return sum(self._room_in(node) for node in nodes)

    def _room_in(self, node: Node) -> int:
        if self.accelerator is not None and f"accelerator_type:{self.accelerator}" not in node:
            return 0
        return min(
            (int(node.get(name, 0) // amount) for name, amount in self.of_worker().items()), default=1 << 30
        )

    def told(self) -> str:
        """Such as `4 CPUs, 1 GPU (H100), 64 GB`."""
        kind = f" ({self.accelerator})" if self.accelerator else ""
        parts = [_counted(self.cpus, "CPU")]
        parts += [f"{_counted(self.gpus, 'GPU')}{kind}"] if self.gpus or kind else []
        parts += [f"{self.memory_gb:g} GB"] if self.memory_gb else []
        return ", ".join(parts)


def worker_request(
    asked: StageResources,
    workers: int,
    nodes: Sequence[Node],
    where: str = "the cluster",
    may_grow: bool = False,
) -> Request:
    """What each of `workers` training workers takes, all at once: as many CPUs as there are for each, and a
    GPU where there are some, unless `asked` says otherwise.

    Raises WorkersDoNotFitError, which calls the nodes `where`: Ray would wait for room for ever. Where the
    cluster `may_grow`, it is waited for.
    """
    gpus = float(any(node.get("GPU", 0) >= 1 for node in nodes))
    least = Request.of(asked, 1, gpus)
    most = int(max((node.get("CPU", 0) for node in nodes), default=0))
    for cpus in range(most, 0, -1) if asked.cpus is None else [least.cpus]:
        if (found := replace(least, cpus=cpus)).room_in(nodes) >= workers:
            return found
    if may_grow:
        return least
    raise WorkersDoNotFitError(
        f"compute.training_workers is {workers}, but {where} has room for {least.room_in(nodes)} that have "
        f"{least.told()} each; set at most that. Its nodes have {nodes_told(nodes)}"
    )


def fitting_workers(asked: StageResources, low: int, high: int, nodes: Sequence[Node]) -> int:
    """The most training workers from `low` to `high` that the nodes have room for; `low` where they have
    none."""
    for workers in range(high, low, -1):
        with contextlib.suppress(WorkersDoNotFitError):
            worker_request(asked, workers, nodes)
            return workers
    return low


def require_room_for_tasks(stage: str, request: Request, nodes: Sequence[Node]) -> None:
    """Raises StageDoesNotFitError where no node could ever take a task of the stage."""
    if request.room_in(nodes) == 0:
        raise StageDoesNotFitError(
            f"{stage} asks for {request.told()} for each task (compute.stages.{stage}), and no node of the "
            f"cluster has that: there are {nodes_told(nodes)}. Ask for less, or add such a node (with "
            "--set compute.autoscaling=true the run waits for one)"
        )


def nodes_told(nodes: Sequence[Node]) -> str:
    """Such as `4 CPUs, 16 GB (2 nodes); 8 CPUs, 1 GPU (H100), 64 GB`."""
    kinds = Counter(_told(node) for node in nodes)
    return "; ".join(f"{told} ({count} nodes)" if count > 1 else told for told, count in kinds.items()) or (
        "no nodes"
    )


def _told(node: Node) -> str:
    kind = next((name.partition(":")[2] for name in node if name.startswith("accelerator_type:")), None)
    gpus = node.get("GPU", 0)
    return Request(node.get("CPU", 0), gpus, node.get("memory", 0) // GB, kind if gpus else None).told()


def _counted(amount: float, noun: str) -> str:
    return f"{amount:g} {noun}" if amount == 1 else f"{amount:g} {noun}s"

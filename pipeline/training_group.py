"""How Ray Train starts the process group of a training: as it does by itself, with notice of SIGTERM, and on
the cluster's own addresses; and what is told when a worker dies."""

import importlib
from typing import Any

import pyarrow
import ray
from ray.train import UserCallback
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from pipeline.errors import MoinhoError
from pipeline.meeting_place import meet_on_own_address
from pipeline.stop_notice import take_notices
from pipeline.stop_wish import was_wished
from pipeline.store import Attempt, flush_journals
from pipeline.training_faults import one_line

PICKLED_COLUMN = "ray.data.arrow_pickled_object"
"""What Ray Data calls a column of pickles in a Parquet file, which it opens wherever the column is read."""


def open_no_pickled_column() -> None:
    """In a process that has Ray Train, and with it Ray Data: from now on such a column is one of bytes, also
    in a file that strangers wrote."""
    importlib.import_module("ray.data._internal.object_extensions.arrow")  # which registers it when imported
    try:
        pyarrow.unregister_extension_type(PICKLED_COLUMN)
    except pyarrow.ArrowKeyError:
        return  # done before


open_no_pickled_column()  # in the driver, which reads Parquet after a training, too


class NoticedTorchConfig(TorchConfig):
    """A process group of torch whose workers are told of SIGTERM in time."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _NoticedBackend


class _NoticedBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """On each worker's main thread, before the training begins."""
        worker_group.execute(take_notices)
        worker_group.execute(meet_on_own_address)
        worker_group.execute(open_no_pickled_column)
        super().on_start(worker_group, backend_config)


class DeathsTold(UserCallback):
    """In the process of Ray Train that watches the workers: who died, of what, and what is done about it."""

    def __init__(self, attempt: Attempt, restarts: int) -> None:
        self.attempt, self.restarts, self.deaths = attempt, restarts, 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Comes each time that workers ended before their time. Faults that no restart heals are told by the
        stage, and where the run is being stopped nobody is started again: this process ends, too."""
        causes = {rank: getattr(error, "cause", error) for rank, error in worker_exceptions.items()}
        if was_wished(self.attempt):
            ray.kill(ray.get_runtime_context().current_actor)
            return
        if any(isinstance(cause, MoinhoError) for cause in causes.values()):
            return
        self.deaths += 1
        rank, cause = next(iter(sorted(causes.items())))
        others = f" and {len(causes) - 1} more" if len(causes) > 1 else ""
        then = (
            f"restart {self.deaths} of {self.restarts}"
            if self.deaths <= self.restarts
            else f"no restart, there were {self.restarts} (compute.training_restarts)"
        )
        self.attempt.journal("controller").write(
            "warning", message=f"training worker {rank}{others} died ({one_line(cause)}); {then}"
        )
        flush_journals()

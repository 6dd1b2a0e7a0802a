"""How Ray Train starts the process group of a training: as it does by itself, with notice of SIGTERM."""

from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from pipeline.stop_notice import take_notices


class NoticedTorchConfig(TorchConfig):
    """A process group of torch whose workers are told of SIGTERM in time."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _NoticedBackend


class _NoticedBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """On each worker's main thread, before the training begins."""
        worker_group.execute(take_notices)
        super().on_start(worker_group, backend_config)

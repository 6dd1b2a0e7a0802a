"""Which checkpoints are kept."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.training.checkpoint_reading import Manifest


@dataclass(frozen=True)
class Retention:
    """What a run keeps of its checkpoints; the rest goes when a new one is finished."""

    last: int = 2
    """So many of the newest."""
    best: int = 1
    """So many of those with the lowest held-out loss; of equal ones the newer."""
    every_steps: int | None = None
    """All at a multiple of so many steps, from the first of them on."""

    def kept(self, finished: Mapping[str, Manifest]) -> set[str]:
        """The folders to keep among those of finished checkpoints."""
        newest = sorted(finished, key=lambda folder: (finished[folder].step, folder), reverse=True)
        judged = [folder for folder in newest if finished[folder].held_out_loss is not None]
        best = sorted(judged, key=lambda folder: finished[folder].held_out_loss or 0.0)  # stable: newer first
        spaced = (folder for folder in newest if self.due(finished[folder].step))
        return {*newest[: self.last], *best[: self.best], *spaced}

    def due(self, step: int) -> bool:
        """Whether a checkpoint of this step is one of those that are kept for good."""
        return self.every_steps is not None and step > 0 and step % self.every_steps == 0

"""What a training does when its machine is about to go: a checkpoint just in time.

SIGTERM to any worker is told to all along with the loss, so that all save at the same step; then they
leave, and Ray Train starts them again where there is room. Of a node that the cluster takes away Ray
knows some time before. All ranks ask it together, every few seconds by the clock of rank 0, save at once
and train on until the node is gone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline import stop_notice

ASK_SECONDS = 5.0
"""Between two questions to Ray: each is a message from all ranks and back."""


class PreemptedError(Exception):
    """A worker was told to go. Not seen by users as long as Ray Train may start the group again."""


@dataclass
class Preemption:
    """What this process knows of its end."""

    ask: Callable[[], bool] | None = None
    """Asks the cluster whether one of the nodes is to go; every rank calls it equally often."""
    asked: float = field(default_factory=time.monotonic, init=False)
    saved: bool = field(default=False, init=False)
    """Whether a checkpoint was made for the end that the cluster foretold."""

    @property
    def told_to_leave(self) -> bool:
        return stop_notice.was_given()

    @property
    def ask_due(self) -> bool:
        return self.ask is not None and not self.saved and time.monotonic() - self.asked >= ASK_SECONDS

    def foretold(self) -> bool:
        """The cluster's answer, on every rank the same; True once."""
        self.asked = time.monotonic()
        self.saved = self.ask is not None and self.ask()
        return self.saved


def ask_ray() -> bool:
    """Whether Ray is about to take away a node of this training. All workers call this together."""
    import ray.train

    return ray.train.get_preemption_info() is not None

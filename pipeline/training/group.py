"""The processes that train together, and the few things they tell each other."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """This process among those that train together. Alone, every exchange does nothing."""

    rank: int
    size: int
    device: torch.device
    channel: torch.distributed.ProcessGroup | None = None
    """What they talk through. Default: the process group that they were started with."""

    @classmethod
    def alone(cls, device: str = "cpu") -> "Group":
        return cls(0, 1, torch.device(device))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def beside(self, timeout_seconds: float) -> "Group":
        """The same processes over connections of their own, on the CPU: for a thread that talks while the
        loop does too. Every rank calls this at the same moment."""
        if self.size == 1:
            return self
        channel = torch.distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds))
        return replace(self, device=torch.device("cpu"), channel=channel)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, in place. The order of additions hangs on the group's size alone."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor, group=self.channel)
        return tensor

    def from_first(self, value: T) -> T:
        """What rank 0 gave, on every rank."""
        if self.size == 1:
            return value
        held = [value]
        torch.distributed.broadcast_object_list(held, src=0, device=self.device, group=self.channel)
        return held[0]

    def everywhere(self, condition: bool) -> bool:
        """True if the condition holds on every rank; also a barrier."""
        failed = torch.tensor([0 if condition else 1], device=self.device)
        return int(self.sum(failed)) == 0

    def gather(self, value: T) -> list[T]:
        """Every rank's value, on every rank, by rank."""
        if self.size == 1:
            return [value]
        held: list[T] = [value] * self.size
        torch.distributed.all_gather_object(held, value, group=self.channel)
        return held

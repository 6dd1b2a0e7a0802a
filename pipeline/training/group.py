"""The processes that train together, and the few things they tell each other."""

from dataclasses import dataclass
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

    @classmethod
    def alone(cls, device: str = "cpu") -> "Group":
        return cls(0, 1, torch.device(device))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, in place. The order of additions hangs on the group's size alone."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def from_first(self, value: T) -> T:
        """What rank 0 gave, on every rank."""
        if self.size == 1:
            return value
        held = [value]
        torch.distributed.broadcast_object_list(held, src=0, device=self.device)
        return held[0]

    def everywhere(self, condition: bool) -> bool:
        """True if the condition holds on every rank; also a barrier."""
        failed = torch.tensor([0 if condition else 1], device=self.device)
        return int(self.sum(failed)) == 0

    def gather(self, value: T) -> list[T]:
        """Every rank's value, on every rank, by rank."""
        if self.size == 1:
            return [value]
        held: list[T | None] = [None] * self.size
        torch.distributed.all_gather_object(held, value)
        return [item for item in held if item is not None]

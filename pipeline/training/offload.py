"""The optimizer's state in the machine's memory, for models whose weights and state do not fit on a GPU."""

from collections.abc import Iterator
from typing import Any

import torch

from pipeline.training.optimizer import Optimizers

TRAVELLING_BYTES = 256 << 20
"""Of weights whose state is on the GPU at once."""


class OffloadedOptimizers(Optimizers):
    """As the optimizers given, but what they remember lies in the machine's memory between updates.

    It comes to the weights' device some weights at a time, and goes back updated: the numbers are those of
    an optimizer that stayed. Each step sends the state both ways, 8 bytes for each weight that is AdamW's.
    """

    def __init__(self, optimizers: Optimizers, travelling_bytes: int = TRAVELLING_BYTES) -> None:
        super().__init__(optimizers.members, optimizers.model)
        self.travelling_bytes = travelling_bytes

    def update(self, member: torch.optim.Optimizer) -> None:
        """Update a few weights after another, each with its state beside it."""
        whole = [group["params"] for group in member.param_groups]
        for some in list(self._some(member)):
            for group, weights in zip(member.param_groups, whole, strict=True):
                group["params"] = [weight for weight in weights if weight in some]
            kept = {weight: self.remembered(member, weight) for weight in some}
            for weight, state in kept.items():
                member.state[weight] = {name: value.to(weight.device) for name, value in state.items()}
            member.step()
            for weight, state in kept.items():
                for name, value in member.state[weight].items():
                    state[name].copy_(value)
                member.state[weight] = state
        for group, weights in zip(member.param_groups, whole, strict=True):
            group["params"] = weights

    def begin(self, member: torch.optim.Optimizer, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value.cpu() for name, value in super().begin(member, weight).items()}

    def _some(self, member: torch.optim.Optimizer) -> Iterator[set[Any]]:
        """All weights of the member, in parts of so many bytes, or of one weight that is larger."""
        some, size = set[Any](), 0
        for weight in (weight for group in member.param_groups for weight in group["params"]):
            if some and size + weight.nbytes > self.travelling_bytes:
                yield some
                some, size = set(), 0
            some.add(weight)
            size += weight.nbytes
        yield some

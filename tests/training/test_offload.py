"""An optimizer whose state lies elsewhere between updates."""

import copy

import pytest
import torch

from pipeline.training import optimizer
from pipeline.training.offload import OffloadedOptimizers


class Toy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = torch.nn.Embedding(7, 4)
        self.inner = torch.nn.Linear(4, 6, bias=False)
        self.outer = torch.nn.Linear(6, 4, bias=False)
        self.norm = torch.nn.LayerNorm(4)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.read


@pytest.mark.parametrize("make", [optimizer.adamw, optimizer.muon])
def test_a_state_that_travels_a_weight_at_a_time_updates_as_one_that_stays(make):
    torch.manual_seed(0)
    ours = Toy()
    theirs = copy.deepcopy(ours)
    travelling = OffloadedOptimizers(make(ours, 0.01, 0.1), travelling_bytes=1)
    staying = make(theirs, 0.01, 0.1)
    for step in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        travelling.step(1 / (step + 1))
        staying.step(1 / (step + 1))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)
    kept, expected = travelling.state(), staying.state()
    assert kept.keys() == expected.keys()
    assert all(value.device.type == "cpu" for value in kept.values())
    for name, value in kept.items():
        torch.testing.assert_close(value, expected[name])

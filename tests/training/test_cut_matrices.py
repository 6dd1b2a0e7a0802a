"""Muon's update of matrices that lie in parts on several workers is that of whole ones."""

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor

from pipeline.training.optimizer import Muon

SHAPES = [(6, 4), (6, 4), (6, 4), (5, 8), (5, 8), (2, 3)]
"""More matrices of a kind than workers and fewer, with rows that do not divide evenly."""
LAYOUTS: dict[str, tuple[tuple[int, ...], list[Placement]]] = {
    "rows": ((2,), [Shard(0)]),
    "rows, three workers": ((3,), [Shard(0)]),
    "rows of replicas": ((2, 2), [Replicate(), Shard(0)]),
    "columns": ((2,), [Shard(1)]),
    "rows and columns": ((2, 2), [Shard(0), Shard(1)]),
}


def matrices(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def updated(weights: list[nn.Parameter], gradients: list[list[torch.Tensor]]) -> None:
    """In place: a step for each list of gradients."""
    optimizer = Muon(weights, learning_rate=0.1, weight_decay=0.1)
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient
        optimizer.step()


def process(rank: int, port: int, folder: Path, sides: tuple[int, ...], placements: list[Placement]) -> None:
    workers = torch.Size(sides).numel()
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)
    mesh = init_device_mesh("cpu", sides)
    cut = lambda seed: [distribute_tensor(each, mesh, placements) for each in matrices(seed)]  # noqa: E731
    weights = [nn.Parameter(each) for each in cut(0)]
    updated(weights, [cut(seed) for seed in (1, 2, 3)])
    whole = [weight.detach().full_tensor() for weight in weights]
    if rank == 0:
        torch.save(whole, folder / "weights.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "layout",
    [
        "rows, three workers",
        *(pytest.param(name, marks=pytest.mark.everything) for name in LAYOUTS if "three" not in name),
    ],
)
def test_an_update_is_the_same_however_the_matrices_are_cut(layout: str, tmp_path: Path) -> None:
    sides, placements = LAYOUTS[layout]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(
        process, (port, tmp_path, sides, placements), nprocs=torch.Size(sides).numel()
    )
    expected = [nn.Parameter(each) for each in matrices(0)]
    updated(expected, [matrices(seed) for seed in (1, 2, 3)])
    for found, weight in zip(torch.load(tmp_path / "weights.pt"), expected, strict=True):
        # in fp32 the last bit hangs on how many matrices are multiplied at once
        torch.testing.assert_close(found, weight.detach(), rtol=0, atol=1e-5)

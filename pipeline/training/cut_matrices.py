"""Whole matrices out of parts, for an update that needs all of a matrix at once.

A matrix that is cut by rows is brought together on one of the workers that have its parts, another for
each matrix, worked on there, and its parts are sent back: every worker computes and sends its share
(the layout of Dion's and Moonlight's Muon for sharded weights: Liu et al., 2025, arXiv:2502.16982).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from pipeline.models.cost import STACK_WEIGHTS

Stack = Callable[[torch.Tensor], torch.Tensor]
"""What is done to a stack of matrices [N, rows, columns]; it keeps the shape."""


def on_whole_matrices(parts: Sequence[DTensor], work: Stack, dtype: torch.dtype) -> list[torch.Tensor]:
    """This rank's part of `work` on each matrix, in the order given. Every rank that has parts calls this.

    Matrices travel in `dtype`, which is to be what `work` computes in.
    """
    found: dict[int, torch.Tensor] = {}
    for numbers in _alike(parts):
        group = _only_rows_are_cut(parts[numbers[0]])
        matrices = max(1, STACK_WEIGHTS // parts[numbers[0]].numel()) * (1 if group is None else group.size())
        for start in range(0, len(numbers), matrices):
            some = numbers[start : start + matrices]
            stack = [parts[number] for number in some]
            done = _gathered(stack, work) if group is None else _dealt_out(stack, work, dtype, group)
            found |= dict(zip(some, done, strict=True))
    return [found[number] for number in range(len(parts))]


def _alike(parts: Sequence[DTensor]) -> list[list[int]]:
    """Numbers of the matrices that have one shape and are cut in one way."""
    found: dict[tuple[torch.Size, tuple[Placement, ...], DeviceMesh], list[int]] = defaultdict(list)
    for number, part in enumerate(parts):
        found[part.shape, tuple(part.placements), part.device_mesh].append(number)
    return list(found.values())


def _only_rows_are_cut(part: DTensor) -> dist.ProcessGroup | None:
    """The group over which they are, if nothing else is."""
    cut = [side for side, placement in enumerate(part.placements) if not placement.is_replicate()]
    if len(cut) == 1 and part.placements[cut[0]] == Shard(0):
        group: dist.ProcessGroup = part.device_mesh.get_group(cut[0])
        return group
    return None


def _dealt_out(
    parts: list[DTensor], work: Stack, dtype: torch.dtype, group: dist.ProcessGroup
) -> list[torch.Tensor]:
    """Matrix n is whole on rank n modulo the group's size."""
    size, (rows, columns) = group.size(), parts[0].shape
    rows_each, rounds = -(-rows // size), -(-len(parts) // size)
    mine = [part.to_local() for part in parts]
    height = mine[0].shape[0]
    padded = torch.zeros(
        rounds * size, rows_each, columns, dtype=dtype, device=mine[0].device
    )  # [matrix, row, column]
    padded[: len(parts), :height] = torch.stack(mine)
    pieces = _exchanged(padded.view(rounds, size, rows_each, columns).transpose(0, 1), group)
    whole = pieces.transpose(0, 1).reshape(rounds, size * rows_each, columns)[:, :rows]
    done = F.pad(work(whole), (0, 0, 0, size * rows_each - rows))
    sent = done.view(rounds, size, rows_each, columns).transpose(0, 1)
    updates = _exchanged(sent, group).transpose(0, 1).reshape(rounds * size, rows_each, columns)
    return list(updates[: len(parts), :height].to(mine[0].dtype))


def _exchanged(pieces: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """Piece n goes to rank n; piece n of the result is rank n's."""
    sent = pieces.contiguous()
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    return received


def _gathered(parts: list[DTensor], work: Stack) -> list[torch.Tensor]:
    """Every rank has all matrices and does all the work: where columns are cut, or both."""
    mesh, placements = parts[0].device_mesh, parts[0].placements
    whole = work(torch.stack([part.full_tensor() for part in parts]))
    everywhere = [Replicate()] * mesh.ndim
    return [
        DTensor.from_local(each, mesh, everywhere, run_check=False)
        .redistribute(mesh, placements)
        .to_local()
        .contiguous()
        for each in whole
    ]

"""How a model lies on the workers that train it together: whole on each, or cut into parts.

The workers stand on a mesh of three sides, replicate * shard * tensor. Workers that differ on the side
`tensor` share each matrix product and see the same rows; all others see rows of their own. On the side
`shard` weights, gradients and optimizer are cut (FSDP2: Zhao et al., 2023, arXiv:2304.11277), and what is
cut is there once per place on the side `replicate` (HSDP). With shard = tensor = 1 every worker has the
whole model, as does a single one, and nothing of torch's sharding takes part.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from pipeline.models.cost import Checkpointing, Division
from pipeline.training.fit import LayoutError, check_division, check_heads
from pipeline.training.group import Group

SIDES = ("replicate", "shard", "tensor")
INWARD = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
"""Matrices of a layer that are cut by their outputs: each worker has some heads, some of the inner width."""
OUTWARD = ("self_attn.o_proj", "mlp.down_proj")
"""Matrices that are cut by their inputs; the workers' results are summed."""
SMALLEST = 1e-6
"""As torch.nn.utils.clip_grad_norm_ has it, so that a norm of zero divides nothing."""


@dataclass(frozen=True)
class Layout:
    """Who has which part of the model, and which rows of a batch are whose."""

    group: Group
    division: Division
    mesh: DeviceMesh | None = None
    """None where every worker has the whole model."""

    @classmethod
    def of(cls, group: Group, division: Division) -> "Layout":
        """Every rank calls this. Raises LayoutError if the workers cannot be divided so."""
        check_division(division)
        if division.shards == division.tensor_parallel == 1:
            return cls(group, division)
        sides = (division.replicas, division.shards, division.tensor_parallel)
        return cls(group, division, init_device_mesh(group.device.type, sides, mesh_dim_names=SIDES))

    @property
    def data_size(self) -> int:
        """Parts that the rows of a batch are dealt out in."""
        return self.group.size // self.division.tensor_parallel

    @property
    def data_rank(self) -> int:
        """Whose rows this worker sees."""
        return self.group.rank // self.division.tensor_parallel

    @property
    def is_cut(self) -> bool:
        """True if no worker can compute alone: all have to call the model equally often."""
        return self.mesh is not None

    def passes(self, rows: int, micro_batch_rows: int) -> int:
        """Passes over a batch of so many rows that every worker makes, some perhaps over no row."""
        return -(-rows // (self.data_size * micro_batch_rows))

    def place(self, model: PreTrainedModel, products: str) -> None:
        """Put the model, the same on every rank, where it is trained; each rank keeps its parts.

        Layers that compute their inner values again are told to. Raises LayoutError.
        """
        checkpoint_layers(layers_of(model), self.division.activation_checkpointing)
        if self.division.tensor_parallel > 1:
            assert self.mesh is not None
            _cut_products(model, self.mesh["tensor"])
        if self.division.shards > 1:
            assert self.mesh is not None
            across = ("replicate", "shard") if self.division.replicas > 1 else "shard"
            _shard(model, self.mesh[across], products)
        nn.Module.to(model, self.group.device)

    def before_backward(self, model: nn.Module, last: bool) -> None:
        """Said before each backward pass of a step: gradients of replicas are exchanged in the last alone.

        Those of shards are summed in every pass, or each worker would have to hold all of them.
        """
        if isinstance(model, FSDPModule) and self.division.replicas > 1:
            model.set_requires_all_reduce(last)

    def average(self, model: nn.Module, factor: float) -> torch.Tensor:
        """Sum the gradients over the workers that saw other rows, times `factor`. Returns their norm."""
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        mine = [local(gradient) for gradient in gradients]
        if self.data_size > 1 and not isinstance(model, FSDPModule):
            self._sum(mine)
        torch._foreach_mul_(mine, factor)
        if self.mesh is None:
            return torch.nn.utils.get_total_norm(mine)
        return self._norm(gradients)

    def clip(self, model: nn.Module, norm: torch.Tensor, longest: float) -> None:
        """Scale gradients whose norm is `norm` down to the norm `longest`."""
        mine = [local(weight.grad) for weight in model.parameters() if weight.grad is not None]
        torch._foreach_mul_(mine, torch.clamp(longest / (norm + SMALLEST), max=1.0))

    def whole_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Every weight once, whole, on the CPU of rank 0; other ranks, which have to call this too, get none.

        A tied matrix keeps its first name alone. One weight at a time is whole on the device.
        """
        found: dict[str, torch.Tensor] = {}
        for name, weight in model.named_parameters():
            whole = weight.detach()
            if isinstance(whole, DTensor):
                whole = whole.full_tensor()
            if self.group.is_first:
                found[name] = whole.cpu().contiguous()
        return found

    def _sum(self, mine: list[torch.Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in mine])
        if self.mesh is None:
            self.group.sum(flat)
        else:
            dist.all_reduce(flat, group=self.mesh.get_group("replicate"))
        for gradient, part in zip(mine, torch.split(flat, [each.numel() for each in mine]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _norm(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Of all parts of all gradients, each counted once, however many workers have it."""
        total = torch.zeros((), dtype=torch.float64, device=self.group.device)
        for gradient in gradients:
            parts = parts_of(gradient)
            total += local(gradient).double().pow(2).sum() * parts / self.group.size
        return self.group.sum(total).sqrt().float()


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part, sharing its memory; of a plain tensor, itself."""
    part: torch.Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part


def parts_of(tensor: torch.Tensor) -> int:
    """How many different parts the tensor is cut into, over all workers."""
    parts = 1
    if isinstance(tensor, DTensor):
        for side, placement in enumerate(tensor.placements):
            if not placement.is_replicate():
                parts *= tensor.device_mesh.size(side)
    return parts


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The model's layers, whatever its family calls them. Raises LayoutError if there are none."""
    depth = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise LayoutError(f"a {type(model).__name__} has no list of {depth} layers, so it cannot be divided")


def checkpoint_layers(layers: nn.ModuleList, which: Checkpointing) -> None:
    """Let layers keep their input alone, and compute what the backward pass needs again
    (Chen et al., 2016, arXiv:1604.06174)."""
    every = {"none": 0, "every-second": 2, "all": 1}[which]
    for layer in list(layers)[::every] if every else []:
        # Around `forward`, not the module: hooks that gather weights stay outside of what is run again.
        layer.forward = _computed_again(layer.forward)


def _computed_again(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(forward)
    def checkpointed(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*given, **named)
        return checkpoint(forward, *given, use_reentrant=False, **named)

    return checkpointed


def _shard(model: PreTrainedModel, mesh: DeviceMesh, products: str) -> None:
    """Layer by layer, then what is left: embeddings, the last norm and the head.

    In bf16 a layer's weights are gathered in bf16, in which its products are computed anyway: gathering
    takes half of the time, and what the backward pass keeps of them can be let go and gathered again.
    """
    halved = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    policy = halved if products == "bf16" else MixedPrecisionPolicy(cast_forward_inputs=False)
    whole = MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=whole)
    for module in _sharded(model):
        module.set_gradient_divide_factor(1.0)  # gradients are sums over labels, divided once by us
        module.set_force_sum_reduction_for_comms(True)  # a scaled sum is NCCL's alone


def _sharded(model: nn.Module) -> Iterator[FSDPModule]:
    for module in model.modules():
        if isinstance(module, FSDPModule):
            yield module


def _cut_products(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Attention by heads, feed-forward by its inner width (Shoeybi et al., 2019, arXiv:1909.08053), and
    embeddings and scores by pieces of the vocabulary. Raises LayoutError."""
    check_products(model, mesh.size())
    outputs, inputs = ColwiseParallel(), RowwiseParallel()
    plan: dict[str, ParallelStyle] = dict.fromkeys(INWARD, outputs) | dict.fromkeys(OUTWARD, inputs)
    for layer in layers_of(model):
        parallelize_module(layer, mesh, plan)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    tied = head.weight is embeddings.weight
    parallelize_module(embeddings, mesh, RowwiseParallel(input_layouts=Replicate()))
    parallelize_module(head, mesh, ColwiseParallel(output_layouts=Replicate()))
    if tied:
        head.weight = embeddings.weight


def check_products(model: PreTrainedModel, parts: int) -> None:
    """Raises LayoutError if the layers are not a LLaMA's or their heads cannot be dealt out."""
    names = {name for name, _ in layers_of(model)[0].named_modules()}
    if missing := [name for name in (*INWARD, *OUTWARD) if name not in names]:
        raise LayoutError(
            f"compute.tensor_parallel is {parts}, but the layers of a {type(model).__name__} have no "
            f"{missing[0]}: only layers like LLaMA's can be cut; set it to 1, and compute.shards instead"
        )
    check_heads(parts, model.config.num_key_value_heads, model.config.intermediate_size)

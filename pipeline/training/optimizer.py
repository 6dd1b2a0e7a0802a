"""Which weights are updated how."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from pipeline.hardware import products
from pipeline.models.cost import STACK_WEIGHTS
from pipeline.training.cut_matrices import on_whole_matrices

ADAM_BETAS = (0.9, 0.95)
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_UPDATE_SIZE = 0.2
"""Root mean square of a typical AdamW update (Liu et al., 2025, arXiv:2502.16982)."""


class Optimizers:
    """The optimizers of one model, stepped and saved as one. Learning rates move by a common factor."""

    def __init__(self, members: list[torch.optim.Optimizer], model: nn.Module) -> None:
        """`members` update weights of the model, each a part of them."""
        self.members, self.model = members, model
        self._names = {weight: name for name, weight in model.named_parameters()}
        self._peaks = [[float(group["lr"]) for group in member.param_groups] for member in members]

    def step(self, factor: float) -> None:
        """Update with `factor` times the peak learning rates, then forget the gradients."""
        for member, peaks in zip(self.members, self._peaks, strict=True):
            for group, peak in zip(member.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            self.update(member)
        self.forget_gradients()

    def forget_gradients(self) -> None:
        for member in self.members:
            member.zero_grad(set_to_none=True)

    def update(self, member: torch.optim.Optimizer) -> None:
        """One step of a member, by the gradients that are there."""
        member.step()

    def state(self) -> dict[str, torch.Tensor]:
        """What the members remember, as `<weight's name>.<field>`: the very tensors, to be read or filled.

        A weight that was not updated yet is given the zeros that it would begin with. What a weight
        remembers is sharded as the weight is.
        """
        found: dict[str, torch.Tensor] = {}
        for member in self.members:
            for weight in (weight for group in member.param_groups for weight in group["params"]):
                state = self.remembered(member, weight)
                found |= {f"{self._names[weight]}.{key}": value for key, value in state.items()}
        return found

    def remembered(self, member: torch.optim.Optimizer, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the member knows of the weight; of one that was not updated yet, what it begins with."""
        if not member.state[weight]:
            member.state[weight] = self.begin(member, weight)
        state: dict[str, torch.Tensor] = member.state[weight]
        return state

    def begin(self, member: torch.optim.Optimizer, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """Zeros, where the member would make them at its first step."""
        return begin_muon(weight) if isinstance(member, Muon) else begin_adamw(weight)


def begin_adamw(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """What torch's fused AdamW makes at its first step."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=weight.device),
        "exp_avg": torch.zeros_like(weight),
        "exp_avg_sq": torch.zeros_like(weight),
    }


def begin_muon(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"momentum": torch.zeros_like(weight)}


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for matrices
    (Jordan, 2024, kellerjordan.github.io/posts/muon).

    As torch.optim.Muon with Nesterov momentum and `match_rms_adamw`, but matrices of one shape go
    through Newton and Schulz' iteration together: in half of the time or less on a CPU.
    """

    def __init__(self, weights: list[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; no closure is called."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            cut = [weight for weight in weights if isinstance(weight, DTensor)]
            for part, update in zip(cut, self._cut_updates(cut), strict=True):
                self._apply(group, part.to_local(), tuple(part.shape), update)
            by_shape: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for weight in weights:
                if not isinstance(weight, DTensor):
                    by_shape[min(weight.shape), max(weight.shape)].append(weight)
            for shape, every in by_shape.items():
                at_once = max(1, STACK_WEIGHTS // (shape[0] * shape[1]))
                for start in range(0, len(every), at_once):
                    alike = every[start : start + at_once]
                    updates = orthogonal(torch.stack([_wide(self._momentum(weight)) for weight in alike]))
                    for weight, update in zip(alike, updates, strict=True):
                        self._apply(group, _wide(weight), shape, update)

    def _apply(
        self, group: dict[str, Any], weight: torch.Tensor, shape: tuple[int, ...], update: torch.Tensor
    ) -> None:
        """Decay and update a matrix of this shape, or a part of it."""
        size = group["lr"] * ADAM_UPDATE_SIZE * max(shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update, alpha=-size)

    def _cut_updates(self, weights: list[DTensor]) -> list[torch.Tensor]:
        """This rank's part of each update, of matrices that lie in parts on several ranks."""
        parts = [self._momentum(weight) for weight in weights]
        cut = [part for part in parts if isinstance(part, DTensor)]
        return on_whole_matrices(cut, _orthogonal_stack, _dtype(cut[0].device)) if cut else []

    def _momentum(self, weight: torch.Tensor) -> torch.Tensor:
        """The gradient with Nesterov's momentum."""
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state.update(begin_muon(weight))
        momentum: torch.Tensor = state["momentum"].lerp_(gradient, 1 - MUON_MOMENTUM)
        return gradient.lerp(momentum, MUON_MOMENTUM)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrix to each of a stack [N, rows, columns], rows ≤ columns: singular
    values are brought to between 0.7 and 1.2, which serves as well as exactly 1; in bf16 where that is quick.
    """
    a, b, c = NEWTON_SCHULZ
    X = matrices.to(_dtype(matrices.device))
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), X, beta=a)
    return X.to(matrices.dtype)


def _dtype(device: torch.device) -> torch.dtype:
    """What matrices are made orthogonal in."""
    return torch.bfloat16 if products("bf16", device.type) == "bf16" else torch.float32


def _orthogonal_stack(matrices: torch.Tensor) -> torch.Tensor:
    """As `orthogonal`, also for matrices that are higher than wide."""
    high = matrices.shape[1] > matrices.shape[2]
    return orthogonal(matrices.mT).mT if high else orthogonal(matrices)


def _wide(matrix: torch.Tensor) -> torch.Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> Optimizers:
    """AdamW on everything; norms' gains are not decayed (Loshchilov and Hutter, 2019)."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return Optimizers([torch.optim.AdamW(groups, lr=learning_rate, betas=ADAM_BETAS, fused=True)], model)


def muon(model: PreTrainedModel, learning_rate: float, weight_decay: float) -> Optimizers:
    """Muon on the layers' matrices, AdamW on embeddings and norms; one learning rate serves both."""
    outside = {
        id(weight)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for weight in module.parameters()
    }
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    outside |= {id(weight) for weight in head.parameters()}
    weights = list(model.parameters())
    matrices = [weight for weight in weights if weight.ndim == 2 and id(weight) not in outside]
    inside = {id(weight) for weight in matrices}
    groups = [
        {"params": [w for w in weights if w.ndim >= 2 and id(w) not in inside], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return Optimizers(
        [
            Muon(matrices, learning_rate, weight_decay),
            torch.optim.AdamW(groups, lr=learning_rate, betas=ADAM_BETAS, fused=True),
        ],
        model,
    )

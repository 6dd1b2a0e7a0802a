"""Scores and loss in one kernel on GPUs (Liger; Hsu et al., 2024, arXiv:2410.10989).

The scores of all tokens, the largest tensor of a step, are made in slices and never kept, with their
gradient at once: less memory, so larger micro-batches.
"""

import functools
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.tokens.rows import NO_LABEL


def prepare(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Let `model(..., labels_BT=...)` give the sum of the labels' negative log-likelihoods, in nats.

    `dtype` of the products. It is the model's own forward that does it, so that sharded weights are whole
    there. Without `labels_BT` nothing is changed.
    """
    whole = type(model).forward

    @functools.wraps(whole)
    def forward(
        self: PreTrainedModel, *words: Any, labels_BT: torch.Tensor | None = None, **given: Any
    ) -> Any:
        if labels_BT is None:
            return whole(self, *words, **given)
        hidden_BTD = self.base_model(*words, **given).last_hidden_state
        head = self.get_output_embeddings()  # type: ignore[no-untyped-call]
        return _loss(hidden_BTD.to(dtype).flatten(0, 1), head.weight.to(dtype), labels_BT.flatten())

    model.forward = MethodType(forward, model)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _loss(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """N tokens of all rows. Liger's kernels are compiled already: torch.compile goes on before and after."""
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    fused = LigerFusedLinearCrossEntropyLoss(
        ignore_index=NO_LABEL, reduction="sum", accum_dtype=torch.float32
    )
    with torch.autocast(hidden_ND.device.type, enabled=False):
        loss: torch.Tensor = fused(weight_VD, hidden_ND, labels_N)
    return loss

"""From a batch to its loss: the model with borders between documents, and the loss over its labels.

B rows, T tokens, V vocabulary.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import PreTrainedModel

from pipeline import hardware
from pipeline.models.recurrent import RecurrentForCausalLM
from pipeline.tokens.rows import NO_LABEL, Batch
from pipeline.training.group import Group


@dataclass(frozen=True)
class Tensors:
    """A micro-batch, on the host or on the device."""

    tokens_BT: torch.Tensor
    documents_BT: torch.Tensor
    positions_BT: torch.Tensor
    labels_BT: torch.Tensor
    more: tuple[torch.Tensor, ...] = ()
    """What the family's objective adds, in the order of its batch."""

    @property
    def given(self) -> tuple[torch.Tensor, ...]:
        """What the loss is computed from."""
        return (self.tokens_BT, self.documents_BT, self.positions_BT, self.labels_BT, *self.more)

    def to(self, device: torch.device) -> "Tensors":
        """On the device; from pinned memory the copy goes on while the host does other things."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Tensors":
        """In memory that a GPU can fetch by itself."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Tensors":
        return tensors_of([change(tensor) for tensor in self.given])


def tensors_of(given: Sequence[torch.Tensor]) -> Tensors:
    """In the order of a batch's fields."""
    tokens_BT, documents_BT, positions_BT, labels_BT, *more = given
    return Tensors(tokens_BT, documents_BT, positions_BT, labels_BT, tuple(more))


LossFunction = Callable[..., torch.Tensor]
"""tokens, documents, positions, labels, and what the family's objective adds → the sum of the labels'
negative log-likelihoods, in nats."""
EMPTY = {"documents": -1, "decoder_documents": -1, "labels": NO_LABEL, "follows": NO_LABEL}
"""What stands in rows that are no rows, by name; where nothing is said 0, and the padding's id for tokens."""


def document_mask(documents_BT: torch.Tensor) -> torch.Tensor:
    """True where a token may look: at itself and what is before it in the same document. [B, 1, T, T].

    Padding, all of one number, looks at padding, so that no row of the mask is empty (softmax over
    nothing is NaN).
    """
    T = documents_BT.shape[1]
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    before_TT = torch.ones(T, T, dtype=torch.bool, device=documents_BT.device).tril()
    return (same_BTT & before_TT)[:, None]


def document_blocks(documents_BT: torch.Tensor) -> BlockMask:
    """The same border as blocks of FlexAttention: those in which no token may look at another are left out.
    Its shape is that of the batch, whatever documents there are. [B, 1, T, T]."""
    B, T = documents_BT.shape

    def may_look(
        row: torch.Tensor, head: torch.Tensor, token: torch.Tensor, other: torch.Tensor
    ) -> torch.Tensor:
        return (token >= other) & (documents_BT[row, token] == documents_BT[row, other])

    return create_block_mask(may_look, B, None, T, T, device=documents_BT.device)


BORDERS: Mapping[str, Callable[[torch.Tensor], torch.Tensor | BlockMask]] = {
    "dense": document_mask,
    "flex": document_blocks,
}
ATTENTION = {"dense": "sdpa", "flex": "flex_attention"}
"""compute.attention → what transformers calls it."""


def logits(
    model: nn.Module,
    tokens_BT: torch.Tensor,
    documents_BT: torch.Tensor,
    positions_BT: torch.Tensor,
    attention: str = "dense",
) -> torch.Tensor:
    """Scores of the next token, [B, T, V]; no document sees another."""
    if isinstance(model, RecurrentForCausalLM):
        read: torch.Tensor = model(input_ids=tokens_BT, document_ids=documents_BT).logits
        return read
    found: torch.Tensor = model(
        input_ids=tokens_BT,
        attention_mask=BORDERS[attention](documents_BT),
        position_ids=positions_BT,
        use_cache=False,
    ).logits
    return found


def loss_function(
    model: nn.Module,
    products: str,
    device: torch.device,
    attention: str = "dense",
    fused: bool = False,
) -> LossFunction:
    """The loss of a micro-batch as a function that torch.compile takes whole.

    `attention` as the model was made for; `fused`: by Liger's kernel, after `fused_loss.prepare(model)`.
    """

    def fused_loss(
        tokens_BT: torch.Tensor,
        documents_BT: torch.Tensor,
        positions_BT: torch.Tensor,
        labels_BT: torch.Tensor,
    ) -> torch.Tensor:
        with autocast(products, device):
            found: torch.Tensor = model(
                input_ids=tokens_BT,
                attention_mask=BORDERS[attention](documents_BT),
                position_ids=positions_BT,
                use_cache=False,
                labels_BT=labels_BT,
            )
        return found

    def loss(
        tokens_BT: torch.Tensor,
        documents_BT: torch.Tensor,
        positions_BT: torch.Tensor,
        labels_BT: torch.Tensor,
    ) -> torch.Tensor:
        with autocast(products, device):
            logits_BTV = logits(model, tokens_BT, documents_BT, positions_BT, attention)
        return F.cross_entropy(
            logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=NO_LABEL, reduction="sum"
        )

    return fused_loss if fused else loss


@contextlib.contextmanager
def dense_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, attention takes masks of any shape: what is scored or written now and then is not worth
    blocks of its own. Compiled code is valid again afterwards."""
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION["dense"])
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def products_of(precision: str, group: Group) -> str:
    """What matrix products are computed in: in bf16 only where all workers are quick at it."""
    return hardware.products(precision, group.device.type, group.everywhere(hardware.is_quick_at_bf16()))


def autocast(products: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bf16 matrix products over fp32 weights, or nothing."""
    if products == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def host_tensors(batch: Batch, rows: int, pad: int) -> Tensors:
    """The batch as tensors in the host's memory, filled up with empty rows to `rows`, so that every shape
    is the same. By numpy alone: in a thread torch would start threads of its own."""

    def filled(name: str) -> torch.Tensor:
        values: NDArray[Any] = getattr(batch, name)
        lacking = rows - len(values)
        if lacking:
            what = name.rpartition("_")[0]
            empty = pad if what.endswith("tokens") else EMPTY.get(what, 0)
            values = np.pad(values, ((0, lacking), (0, 0)), constant_values=empty)
        return torch.from_numpy(values)

    return tensors_of([filled(field.name) for field in fields(batch)])


def to_device(batch: Batch, rows: int, pad: int, device: torch.device) -> Tensors:
    """The batch on the device, filled up to `rows` rows."""
    return host_tensors(batch, rows, pad).to(device)

"""Conversations side by side in rows, with borders that attention does not cross.

TRL's own packing numbers positions anew at each conversation and leaves it to the attention kernel to take
that for a border, which flash attention's variable lengths do and others need not. Here the border is a mask,
the one that pretraining has, for whatever kernel.

B rows, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.tokens.pack import pack
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.forward import document_mask

NOBODY = -1
"""Whose token padding is."""


@dataclass(frozen=True)
class PackedBatch:
    """Lays out the conversations of a micro-batch in as few rows as hold them: what a trainer collates by."""

    row_tokens: int
    """Longest row; no conversation is longer."""
    pad: int

    def __call__(self, conversations: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Of {input_ids, labels} each. No label stands at a conversation's first token, which nothing in its
        own conversation foretells."""
        lengths = np.array([len(conversation["input_ids"]) for conversation in conversations])
        row, document, _, tokens = pack(lengths, self.row_tokens)
        shape = (int(row.max()) + 1, int(np.bincount(row, tokens).max()))
        ids_BT, labels_BT = torch.full(shape, self.pad), torch.full(shape, NO_LABEL)
        documents_BT, positions_BT = torch.full(shape, NOBODY), torch.zeros(shape, dtype=torch.long)
        filled = [0] * shape[0]
        for at, index, count in zip(row.tolist(), document.tolist(), tokens.tolist(), strict=True):
            place = slice(filled[at], filled[at] + count)
            ids_BT[at, place] = torch.tensor(conversations[index]["input_ids"])
            labels_BT[at, place] = torch.tensor([NO_LABEL, *conversations[index]["labels"][1:]])
            documents_BT[at, place] = index
            positions_BT[at, place] = torch.arange(count)
            filled[at] += count
        return {
            "input_ids": ids_BT,
            "labels": labels_BT,
            "position_ids": positions_BT,
            "attention_mask": document_mask(documents_BT),
        }

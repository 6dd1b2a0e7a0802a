"""From which tokens each token took what it knows.

L layers, H heads, T tokens: `attention_LHTT[layer, head, from, to]`.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from pipeline.errors import InputError
from pipeline.evaluation.insight.spelled import Spelled, Word


class NoAttentionError(InputError):
    """The model has no attention that could be shown, or fewer layers than were asked for."""

    remedy = "Name a layer that the model has, or a model with attention."


@torch.inference_mode()
def attention(model: PreTrainedModel, spelled: Spelled) -> NDArray[np.float32]:
    """Weights of every layer and head, LHTT; each row adds up to 1. Raises NoAttentionError.

    What a head attends to need not be what the output hangs on (Jain and Wallace, 2019, arXiv:1902.10186);
    for that there is `occlusion`.
    """
    with weights_kept(model):
        found = model(input_ids=torch.tensor([spelled.ids], device=model.device), output_attentions=True)
    layers = [layer for layer in getattr(found, "attentions", None) or () if layer is not None]
    if not layers:
        raise NoAttentionError(f"a model of kind {model.config.model_type} has no attention to be shown")
    return torch.stack([layer[0].float().cpu() for layer in layers]).numpy()


@contextlib.contextmanager
def weights_kept(model: PreTrainedModel) -> Iterator[None]:
    """While it lasts the model computes attention step by step: fused kernels never have the weights."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def from_word(attention_LHTT: NDArray[np.float32], spelled: Spelled, word: Word) -> NDArray[np.float32]:
    """How much of the word's attention goes to each word of the text, LHW: the mean over the word's tokens,
    added up over those of the other word. What goes to BOS and between words is left out."""
    of_word_LHT = attention_LHTT[:, :, list(word.tokens)].mean(2)
    return np.stack([of_word_LHT[:, :, list(other.tokens)].sum(-1) for other in spelled.words], -1)


def require_layer(attention_LHTT: NDArray[np.float32], layer: int) -> None:
    """Raises NoAttentionError unless the model has it; layers count from 1."""
    if not 1 <= layer <= len(attention_LHTT):
        raise NoAttentionError(
            f"there is no layer {layer}; the model has {len(attention_LHTT)}, counted from 1"
        )

"""How alike one word is in two sentences, layer by layer.

L layers, the embedding before them; D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from pipeline.evaluation.insight.spelled import Spelled, Word


@dataclass(frozen=True)
class Similarity:
    """Cosines of a word in one sentence and the same word in another; index 0 is the embedding."""

    same_word: tuple[float, ...]
    other_words: tuple[float, ...]
    """Mean cosine of two different words, one of each sentence: how alike all vectors of that layer are."""

    @property
    def beyond_others(self) -> tuple[float, ...]:
        """The word's cosine less that of any two words; what Ethayarajh (2019, arXiv:1909.00512) calls
        adjusted for anisotropy."""
        return tuple(a - b for a, b in zip(self.same_word, self.other_words, strict=True))


def similarity(model: PreTrainedModel, one: tuple[Spelled, Word], other: tuple[Spelled, Word]) -> Similarity:
    """Of a word in one sentence and a word in another, which may be different ones."""
    firsts, seconds = (_vectors(model, spelled) for spelled, _ in (one, other))
    at_first, at_second = (spelled.words.index(word) for spelled, word in (one, other))
    same, others = [], []
    for first_WD, second_WD in zip(firsts, seconds, strict=True):
        cosines_WW = _unit(first_WD) @ _unit(second_WD).T
        same.append(float(cosines_WW[at_first, at_second]))
        different = _different(one[0].words, other[0].words)
        others.append(float(cosines_WW[different].mean()) if different.any() else 0.0)
    return Similarity(tuple(same), tuple(others))


@torch.inference_mode()
def _vectors(model: PreTrainedModel, spelled: Spelled) -> list[NDArray[np.float32]]:
    """Of each layer the words' vectors, [W, D]: the mean over a word's tokens."""
    found = model(input_ids=torch.tensor([spelled.ids], device=model.device), output_hidden_states=True)
    return [
        np.stack([state_BTD[0, list(word.tokens)].float().mean(0).cpu().numpy() for word in spelled.words])
        for state_BTD in found.hidden_states
    ]


def _unit(vectors_WD: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths_W1 = np.linalg.norm(vectors_WD, axis=-1, keepdims=True)
    unit_WD: NDArray[np.float32] = vectors_WD / np.maximum(lengths_W1, 1e-12)
    return unit_WD


def _different(first: Sequence[Word], second: Sequence[Word]) -> NDArray[np.bool_]:
    return np.array([[a.text.casefold() != b.text.casefold() for b in second] for a in first])

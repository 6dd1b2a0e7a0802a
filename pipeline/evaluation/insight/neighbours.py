"""Which words a model takes for alike, by the vectors that it reads them as.

V vocabulary, D width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.insight.spelled import spell
from pipeline.models.generation import piece_bytes
from pipeline.models.words import is_word_character


@dataclass(frozen=True)
class Neighbours:
    """The words nearest to one, by cosine."""

    pieces: tuple[str, ...]
    """What the model reads the word as; where there are several, their mean was compared."""
    nearest: tuple[tuple[str, float], ...]
    """Words of the vocabulary with their cosines, descending."""


class WordVectors:
    """The embedding of a model, centred: from all vectors their mean is taken away, which they have in
    common and which says nothing (Mu and Viswanath, 2018, arXiv:1702.01417)."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        weight_VD: Any = model.get_input_embeddings().weight
        vectors_VD = weight_VD.detach().float().cpu().numpy()[: len(tokenizer)]
        self.vectors_VD: NDArray[np.float32] = vectors_VD - vectors_VD.mean(0)
        self.words = [_whole_word(piece) for piece in piece_bytes(tokenizer)]
        """Of each id the word that it is all by itself; None of parts of words, signs and markers."""

    def of(self, word: str) -> NDArray[np.float32]:
        """The mean over the word's pieces, [D]. Raises NothingToLookAtError if it is no word."""
        vector_D: NDArray[np.float32] = self.vectors_VD[list(self._ids(word))].mean(0)
        return vector_D

    def cosine(self, one: str, other: str) -> float:
        """Of two words, between -1 and 1."""
        a, b = self.of(one), self.of(other)
        return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))

    def nearest(self, word: str, top: int = 10) -> Neighbours:
        """The word itself, in whatever case, is left out. Raises NothingToLookAtError."""
        ids, vector_D = self._ids(word), self.of(word)
        lengths_V = np.linalg.norm(self.vectors_VD, axis=-1) * np.linalg.norm(vector_D)
        cosines_V = self.vectors_VD @ vector_D / np.maximum(lengths_V, 1e-12)
        found: dict[str, float] = {}
        for token in np.argsort(-cosines_V).tolist():
            name = self.words[token]
            if name is not None and name.casefold() != word.strip().casefold() and name not in found:
                found[name] = float(cosines_V[token])
            if len(found) == top:
                break
        spelt = piece_bytes(self.tokenizer)
        return Neighbours(tuple(spelt[token].decode(errors="replace") for token in ids), tuple(found.items()))

    def _ids(self, word: str) -> tuple[int, ...]:
        """As it is spelt in the middle of a text, with a space before it."""
        spelled = spell(self.model, self.tokenizer, f" {word.strip()}")
        return tuple(token for token, piece in zip(spelled.ids, spelled.pieces, strict=True) if piece.strip())


def _whole_word(piece: bytes) -> str | None:
    """The word of a piece that begins with a space: one that others may go on with counts as well."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return None
    word = text.strip()
    spaced = text[:1] == " " and len(word) > 1
    return word if spaced and all(map(is_word_character, word)) else None

"""Masked tokens: a share of the tokens is hidden, and told from what stands on both sides of it.

BERT (Devlin et al., 2019, arXiv:1810.04805): of the chosen tokens 80 % become the mask, 10 % another token,
and 10 % stay. A row is hidden in the same way whenever it comes (static masks), and a document's second part
may be that of another one, which the model has to tell (next sentence prediction). RoBERTa (Liu et al., 2019,
arXiv:1907.11692) hides other tokens each time, and leaves next sentences out.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.models.objectives.batches import EVALUATION, Piece, SegmentedBatch, pieces_of, random_of
from pipeline.tokens.mixture import TrainingRows
from pipeline.tokens.rows import NO_LABEL, Batch

MASKED, REPLACED = 0.8, 0.1
"""Of the chosen tokens; the rest stays as it is."""
STATIC = 1
"""The step that a static mask's noise is of."""
SHORTEST_PAIR = 8
"""A piece of fewer tokens is not divided into two segments."""


@dataclass(frozen=True)
class Masking:
    """Tokens are hidden and told."""

    seed: int
    share: float
    """Of the tokens that are chosen."""
    mask: int
    """The id of the mask."""
    ordinary: NDArray[np.int64]
    """The ids that may be chosen, and put in another's place: all but control symbols."""
    static: bool = False
    """The same noise each time that a row comes."""

    def __call__(self, rows: TrainingRows, numbers: NDArray[np.int64], step: int) -> Batch:
        batch = rows.batch(numbers)
        tokens_BT, labels_BT = batch.tokens_BT.copy(), np.full_like(batch.labels_BT, NO_LABEL)
        for place, row in enumerate(numbers.tolist()):
            random = random_of(self.seed, self.noise_step(step), row)
            for piece in pieces_of(batch.tokens_BT[place], batch.documents_BT[place]):
                here = slice(piece.start, piece.end)
                tokens_BT[place, here], labels_BT[place, here] = self.hide(piece.tokens, random)
        return replace(batch, tokens_BT=tokens_BT, labels_BT=labels_BT)

    def noise_step(self, step: int) -> int:
        return STATIC if self.static and step != EVALUATION else step

    def hide(
        self, tokens: NDArray[np.int64], random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tokens with some of them hidden, and as labels what stood there. At least one is chosen where
        there is one to choose."""
        places = np.flatnonzero(np.isin(tokens, self.ordinary))
        labels = np.full(len(tokens), NO_LABEL, np.int64)
        if not len(places):
            return tokens, labels
        count = max(1, round(self.share * len(places)))
        chosen = random.choice(places, count, replace=False)
        labels[chosen] = tokens[chosen]
        hidden, lot = tokens.copy(), random.random(count)
        hidden[chosen[lot < MASKED]] = self.mask
        replaced = chosen[(lot >= MASKED) & (lot < MASKED + REPLACED)]
        hidden[replaced] = random.choice(self.ordinary, len(replaced))
        return hidden, labels


@dataclass(frozen=True)
class NextSentence:
    """Masking of documents in two segments, of which every other second one is of another document.

    The token at the border gives its place to the separator. A second segment of another document is as long
    as the one that it replaces, so that rows keep their length.
    """

    masking: Masking
    separator: int
    """The id that ends a segment."""

    def __call__(self, rows: TrainingRows, numbers: NDArray[np.int64], step: int) -> SegmentedBatch:
        batch = rows.batch(numbers)
        tokens_BT, labels_BT = batch.tokens_BT.copy(), np.full_like(batch.labels_BT, NO_LABEL)
        segments_BT, follows_BT = np.zeros_like(batch.tokens_BT), np.full_like(batch.labels_BT, NO_LABEL)
        randoms = [
            random_of(self.masking.seed, self.masking.noise_step(step), row) for row in numbers.tolist()
        ]
        others = np.array([int(random.integers(len(rows))) for random in randoms], np.int64)
        strange = rows.batch(others)
        for place, random in enumerate(randoms):
            donor = max(
                pieces_of(strange.tokens_BT[place], strange.documents_BT[place]),
                key=lambda piece: len(piece.tokens),
            )
            for piece in pieces_of(batch.tokens_BT[place], batch.documents_BT[place]):
                here = slice(piece.start, piece.end)
                divided = self._divided(piece, donor, random) if numbers[place] != others[place] else None
                tokens = piece.tokens
                if divided is not None:
                    tokens, border, follows = divided
                    segments_BT[place, piece.start + border + 1 : piece.end] = 1
                    follows_BT[place, piece.start] = follows
                tokens_BT[place, here], labels_BT[place, here] = self.masking.hide(tokens, random)
        return SegmentedBatch(
            tokens_BT, batch.documents_BT, batch.positions_BT, labels_BT, segments_BT, follows_BT
        )

    def _divided(
        self, piece: Piece, donor: Piece, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], int, bool] | None:
        """The piece in two segments, the place of the border, and whether the second follows the first in the
        text. None of a piece that is too short, or for which the donor has no stretch."""
        length = len(piece.tokens)
        if length < SHORTEST_PAIR:
            return None
        border = int(random.integers(length // 4, length - length // 4))
        tokens, second = piece.tokens.copy(), length - border - 1
        follows = bool(random.random() < 0.5)
        room = len(donor.tokens) - 1 - second  # its own first token begins a document
        if room < 0:
            return None
        if not follows:
            start = 1 + int(random.integers(room + 1))
            tokens[border + 1 :] = donor.tokens[start : start + second]
        tokens[border] = self.separator
        return tokens, border, follows

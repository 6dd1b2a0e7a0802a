"""What an objective makes of a batch of packed rows: what the model reads, and what it is to write.

Nothing of it is remembered: the noise of a row is a pure function of the seed, the step and the row's
number, so a run that was killed, and one on another number of workers, sees the same noise.

B rows, T tokens, D tokens of the decoder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.tokens.mixture import TrainingRows
from pipeline.tokens.rows import Batch

EVALUATION = 0
"""The step whose noise held-out rows have: always the same. Training has the steps from 1 on."""


@dataclass(frozen=True)
class SegmentedBatch(Batch):
    """Documents of two segments each, of which the second may be that of another document (BERT)."""

    segments_BT: NDArray[np.int64]
    """0 up to the end of the first segment, 1 behind it."""
    follows_BT: NDArray[np.int64]
    """On a document's first token 1 if the second segment follows the first one in the text, else 0; NO_LABEL
    elsewhere."""


@dataclass(frozen=True)
class SequenceBatch(Batch):
    """What an encoder reads (`tokens_BT` and what is beside them), and what its decoder writes.

    `labels_BT` has the shape [B, D] here: the token that is written behind each of `decoder_tokens_BD`.
    """

    decoder_tokens_BD: NDArray[np.int64]
    decoder_documents_BD: NDArray[np.int32]
    """Number of the piece in the row that it belongs to; -1 on padding."""
    decoder_positions_BD: NDArray[np.int32]


class Objective(Protocol):
    """How a family learns from rows."""

    def __call__(self, rows: TrainingRows, numbers: NDArray[np.int64], step: int) -> Batch:
        """The rows with these numbers as the model learns from them in this step (from 1), or as it is judged
        on them (EVALUATION)."""
        ...


class NextToken:
    """Every token from those before it."""

    def __call__(self, rows: TrainingRows, numbers: NDArray[np.int64], step: int) -> Batch:
        return rows.batch(numbers)


NEXT_TOKEN = NextToken()


@dataclass(frozen=True)
class Piece:
    """A stretch of one document in a row."""

    number: int
    """Within the row."""
    start: int
    tokens: NDArray[np.int64]

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


def pieces_of(tokens_T: NDArray[np.int64], documents_T: NDArray[np.int32]) -> Iterator[Piece]:
    """The pieces of a row from left to right, without its padding."""
    count = int(documents_T.max(initial=-1)) + 1
    bounds = np.searchsorted(np.where(documents_T < 0, count, documents_T), np.arange(count + 1))
    for number in range(count):
        start, end = int(bounds[number]), int(bounds[number + 1])
        yield Piece(number, start, tokens_T[start:end])


def random_of(seed: int, step: int, row: int) -> np.random.Generator:
    """The random generator of a row's noise in a step."""
    return np.random.default_rng([seed, step, row])

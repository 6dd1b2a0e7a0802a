"""Rows of several texts in one training, under one numbering.

Which rows are in a step is a pure function of the seed and the step (`order.mixed_rows`). Rows of the first
text have the numbers from 0 on, those of the next stand behind them: a number tells which text it is of.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tokens import order
from pipeline.tokens.order import Stretch
from pipeline.tokens.rows import Batch, Origin, Rows

DOMAIN, GENERAL = "domain", "general"


@dataclass(frozen=True)
class MixedRows:
    """The rows of all texts, which have the same length."""

    parts: tuple[Rows, ...]
    """Files of rows, numbered one behind the other; the rows of one file may be of several texts."""
    names: tuple[str, ...]
    """Of the texts."""
    sizes: tuple[int, ...]
    """Rows of each text, in the order of their numbers."""
    plan: tuple[Stretch, ...]
    """Which share of the rows each text has, from the first row of the training to its last."""

    def __post_init__(self) -> None:
        assert sum(self.sizes) == len(self)
        assert len(self.sizes) == len(self.names)

    @property
    def row_tokens(self) -> int:
        return self.parts[0].row_tokens

    @property
    def pad(self) -> int:
        return self.parts[0].pad

    def __len__(self) -> int:
        return int(self._first[-1])

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """The number of each part's first row, and of the one behind the last."""
        return np.cumsum([0, *map(len, self.parts)])

    def of_step(self, seed: int, step: int, batch_rows: int) -> NDArray[np.int64]:
        """The numbers of the rows in the batch of a step: text after text."""
        return order.mixed_rows(seed, step, batch_rows, self.sizes, self.plan)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The rows with these numbers, in this order. Raises IndexError for a number out of range."""
        indices = np.asarray(indices, np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows {indices.min()} to {indices.max()} asked for, there are {len(self)}")
        found_in = [(where, self.parts[part].batch(within)) for part, where, within in self._divided(indices)]
        found: dict[str, NDArray[Any]] = {}
        empty = self.parts[0].batch(indices[:0])
        for name in Batch.__dataclass_fields__:
            kind = getattr(empty, name).dtype
            found[name] = np.empty((len(indices), self.row_tokens), kind)
            for where, batch in found_in:
                found[name][where] = getattr(batch, name)
        return Batch(**found)

    def origins(self, indices: Iterable[int]) -> dict[int, list[Origin]]:
        """The documents in each of the rows, from left to right, with their URLs."""
        found: dict[int, list[Origin]] = {}
        for part, _, within in self._divided(np.array(list(indices), np.int64)):
            of_part = self.parts[part].origins(within.tolist())
            found |= {row + int(self._first[part]): origins for row, origins in of_part.items()}
        return found

    def _divided(
        self, indices: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.int64]]]:
        """For each part that has some of the rows: which of them, and their numbers within it."""
        of_part = np.searchsorted(self._first, indices, "right") - 1
        for part in np.unique(of_part).tolist():
            where = of_part == part
            yield part, where, indices[where] - self._first[part]


TrainingRows = Rows | MixedRows
"""What a training draws from."""


def with_general(domain: Rows, general: Rows, general_share: float) -> TrainingRows:
    """Rows of the domain with a share of general ones between them."""
    if general_share == 0:
        return domain
    shares = Stretch(0, (1 - general_share, general_share))
    return MixedRows((domain, general), (DOMAIN, GENERAL), (len(domain), len(general)), (shares,))

"""Rows of two texts in one training: those of a domain, and those of a general text that keep what was known.

Which rows are in a step is a pure function of the seed and the step (`order.mixed_rows`). Rows of the domain
have the numbers from 0 on, general ones those behind them, so that a number tells which text it is of.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.tokens import order
from pipeline.tokens.rows import Batch, Origin, Rows


@dataclass(frozen=True)
class MixedRows:
    """The rows of both texts under one numbering. Both have rows of the same length."""

    domain: Rows
    general: Rows
    general_share: float
    """Of the rows of a training, at least 0 and below 1."""

    @property
    def row_tokens(self) -> int:
        return self.domain.row_tokens

    @property
    def pad(self) -> int:
        return self.domain.pad

    def __len__(self) -> int:
        return len(self.domain) + len(self.general)

    def of_step(self, seed: int, step: int, batch_rows: int) -> NDArray[np.int64]:
        """The numbers of the rows in the batch of a step: the domain's, then the general ones."""
        sizes = len(self.domain), len(self.general)
        return order.mixed_rows(seed, step, batch_rows, *sizes, self.general_share)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The rows with these numbers, in this order. Raises IndexError for a number out of range."""
        indices = np.asarray(indices, np.int64)
        of_domain = indices < len(self.domain)
        parts = (
            (of_domain, self.domain.batch(indices[of_domain])),
            (~of_domain, self.general.batch(indices[~of_domain] - len(self.domain))),
        )
        found = {}
        for name in Batch.__dataclass_fields__:
            values = [getattr(part, name) for _, part in parts]
            found[name] = np.empty((len(indices), self.row_tokens), values[0].dtype)
            for (where, _), value in zip(parts, values, strict=True):
                found[name][where] = value
        return Batch(**found)

    def origins(self, indices: Iterable[int]) -> dict[int, list[Origin]]:
        """The documents in each of the rows, from left to right, with their URLs."""
        numbers, first = [int(index) for index in indices], len(self.domain)
        found = self.domain.origins(number for number in numbers if number < first)
        general = self.general.origins(number - first for number in numbers if number >= first)
        return found | {number + first: origins for number, origins in general.items()}


TrainingRows = Rows | MixedRows
"""What a training draws from."""

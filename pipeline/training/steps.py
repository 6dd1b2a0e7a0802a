"""Which rows, and so which URLs, each step of a training took: recorded in a few numbers.

The batch of a step is a pure function of the seed, the step and the number of rows. What a record has
to hold besides is which version of that function was used and which updates were skipped; where a general
text was mixed in, how many rows that has and which share of all they are.
"""

from typing import Any, Literal, Self

from pipeline.errors import InputError
from pipeline.store.records import Frozen
from pipeline.tokens.mixture import MixedRows, TrainingRows
from pipeline.tokens.order import ORDER, batch_rows, mixed_rows
from pipeline.tokens.rows import Origin

STEPS = "steps.json"


class UnknownOrderError(InputError):
    """A training was recorded by a version that put rows into another order."""

    remedy = "Use the version of moinho that the training's record names."


class GeneralRows(Frozen):
    """The rows of a general text that were drawn beside those of the domain."""

    total_rows: int
    share: float
    """Of all rows of the training."""


class Steps(Frozen):
    """The steps of one training, from the first to the last."""

    order: int = ORDER
    seed: int
    batch_rows: int
    total_rows: int
    """Rows of the training split; where a general text was mixed in, of the domain's."""
    steps: int
    skipped: tuple[int, ...] = ()
    """Steps whose update was not made."""

    general: GeneralRows | None = None
    """Their numbers come behind those of the domain's rows."""

    @classmethod
    def of(
        cls, rows: TrainingRows, *, seed: int, batch_rows: int, steps: int, skipped: tuple[int, ...] = ()
    ) -> Self:
        """Of a training on these rows."""
        general, total = None, len(rows)
        if isinstance(rows, MixedRows):
            general = GeneralRows(total_rows=len(rows.general), share=rows.general_share)
            total = len(rows.domain)
        return cls(
            seed=seed, batch_rows=batch_rows, total_rows=total, steps=steps, skipped=skipped, general=general
        )

    def rows(self, step: int) -> list[int]:
        """The rows of the batch of a step, from 0. Raises UnknownOrderError."""
        if self.order != ORDER:
            raise UnknownOrderError(
                f"the steps were recorded with order {self.order} of the rows, this version knows {ORDER}; "
                "use the version of moinho that the training's record names"
            )
        size, total, mixed = self.batch_rows, self.total_rows, self.general
        if mixed is None:
            found = batch_rows(self.seed, step, size, total)
        else:
            found = mixed_rows(self.seed, step, size, total, mixed.total_rows, mixed.share)
        return [int(row) for row in found]

    def text_of(self, row: int) -> Literal["domain", "general"]:
        """Which of the two texts a row is of; without a mixture all are the domain's."""
        return "domain" if row < self.total_rows else "general"

    def origins(self, step: int, rows: TrainingRows) -> dict[int, list[Origin]]:
        """Row → the documents in it with their URLs, for the batch of a step. `text_of` tells the texts
        of a mixture apart."""
        return rows.origins(self.rows(step))

    def as_json(self) -> dict[str, Any]:
        """What there is nothing of is left out, so that a training of one text is told as ever."""
        return self.model_dump(mode="json", exclude_none=True)

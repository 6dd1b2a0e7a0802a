"""Which rows, and so which URLs, each step of a training took: recorded in a few numbers.

The batch of a step is a pure function of the seed, the step and the number of rows. What a record has
to hold besides is which version of that function was used and which updates were skipped.
"""

from typing import Any

from pipeline.errors import InputError
from pipeline.store.records import Frozen
from pipeline.tokens.order import ORDER, batch_rows
from pipeline.tokens.rows import Origin, Rows

STEPS = "steps.json"


class UnknownOrderError(InputError):
    """A training was recorded by a version that put rows into another order."""

    remedy = "Use the version of moinho that the training's record names."


class Steps(Frozen):
    """The steps of one training, from the first to the last."""

    order: int = ORDER
    seed: int
    batch_rows: int
    total_rows: int
    """Rows of the training split."""
    steps: int
    skipped: tuple[int, ...] = ()
    """Steps whose update was not made."""

    def rows(self, step: int) -> list[int]:
        """The rows of the batch of a step, from 0. Raises UnknownOrderError."""
        if self.order != ORDER:
            raise UnknownOrderError(
                f"the steps were recorded with order {self.order} of the rows, this version knows {ORDER}; "
                "use the version of moinho that the training's record names"
            )
        found: list[int] = batch_rows(self.seed, step, self.batch_rows, self.total_rows).tolist()
        return found

    def origins(self, step: int, rows: Rows) -> dict[int, list[Origin]]:
        """Row → the documents in it with their URLs, for the batch of a step."""
        return rows.origins(self.rows(step))

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

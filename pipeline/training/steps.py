"""Which rows, and so which URLs, each step of a training took: recorded in a few numbers.

The batch of a step is a pure function of the seed, the step and the number of rows. What a record has
to hold besides is which version of that function was used and which updates were skipped; where texts were
mixed, how many rows each has and which share of all they are.
"""

import bisect
from typing import Any, Self

import numpy as np
from pydantic import model_validator

from pipeline.errors import InputError
from pipeline.store.records import Frozen
from pipeline.tokens.mixture import DOMAIN, GENERAL, MixedRows, TrainingRows
from pipeline.tokens.order import ORDER, Stretch, batch_rows, drawn, mixed_rows, places
from pipeline.tokens.rows import Origin

STEPS = "steps.json"


class UnknownOrderError(InputError):
    """A training was recorded by a version that put rows into another order."""

    remedy = "Use the version of moinho that the training's record names."


class Shares(Frozen):
    """A stretch of a training in which each text has the same share of the rows."""

    first_row: int
    shares: tuple[float, ...]


class Mixture(Frozen):
    """The texts of a training, in the order in which their rows are numbered."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    plan: tuple[Shares, ...]

    def stretches(self) -> tuple[Stretch, ...]:
        return tuple(Stretch(each.first_row, each.shares) for each in self.plan)


class Steps(Frozen):
    """The steps of one training, from the first to the last."""

    order: int = ORDER
    seed: int
    batch_rows: int
    total_rows: int
    """Rows of the training split, or of all texts of a mixture."""
    steps: int
    skipped: tuple[int, ...] = ()
    """Steps whose update was not made."""
    mixture: Mixture | None = None

    @model_validator(mode="before")
    @classmethod
    def of_two_texts(cls, values: Any) -> Any:
        """Two texts were once recorded as the rows of one, and the other's number and share beside it."""
        if not isinstance(values, dict) or "general" not in values:
            return values
        rest = {name: value for name, value in values.items() if name != "general"}
        rows, share = values["general"]["total_rows"], values["general"]["share"]
        mixture = {
            "names": (DOMAIN, GENERAL),
            "rows": (values["total_rows"], rows),
            "plan": ({"first_row": 0, "shares": (1 - share, share)},),
        }
        return rest | {"total_rows": values["total_rows"] + rows, "mixture": mixture}

    @classmethod
    def of(
        cls, rows: TrainingRows, *, seed: int, batch_rows: int, steps: int, skipped: tuple[int, ...] = ()
    ) -> Self:
        """Of a training on these rows."""
        mixture = None
        if isinstance(rows, MixedRows):
            mixture = Mixture(
                names=rows.names,
                rows=rows.sizes,
                plan=tuple(Shares(first_row=each.first_row, shares=each.shares) for each in rows.plan),
            )
        return cls(
            seed=seed,
            batch_rows=batch_rows,
            total_rows=len(rows),
            steps=steps,
            skipped=skipped,
            mixture=mixture,
        )

    def rows(self, step: int) -> list[int]:
        """The rows of the batch of a step, from 0. Raises UnknownOrderError."""
        self._require_known_order()
        if self.mixture is None:
            found = batch_rows(self.seed, step, self.batch_rows, self.total_rows)
        else:
            of_texts, plan = self.mixture.rows, self.mixture.stretches()
            found = mixed_rows(self.seed, step, self.batch_rows, of_texts, plan)
        return [int(row) for row in found]

    def uses(self, row: int) -> list[int]:
        """The steps whose batch has the row, in their order. Raises UnknownOrderError."""
        self._require_known_order()
        text, row = self._place(row)
        total = self.total_rows if self.mixture is None else self.mixture.rows[text]
        plan = (Stretch(0, (1.0,)),) if self.mixture is None else self.mixture.stretches()

        def before(step: int) -> int:
            """Rows of the same text that were drawn before this step."""
            return drawn(step * self.batch_rows, plan)[text]

        found = []
        for epoch in range(-(-before(self.steps) // total)):
            number = epoch * total + int(places(np.array([row]), total, self.seed, epoch)[0])
            if number < before(self.steps):
                found.append(bisect.bisect_right(range(self.steps + 1), number, key=before) - 1)
        return list(dict.fromkeys(found))

    def text_of(self, row: int) -> str | None:
        """The name of the text that a row is of; None where there is but one."""
        return None if self.mixture is None else self.mixture.names[self._place(row)[0]]

    def _place(self, row: int) -> tuple[int, int]:
        """Number of the text, and of the row in it."""
        for text, rows in enumerate(self.mixture.rows if self.mixture is not None else ()):
            if row < rows:
                return text, row
            row -= rows
        return 0, row

    def origins(self, step: int, rows: TrainingRows) -> dict[int, list[Origin]]:
        """Row → the documents in it with their URLs, for the batch of a step. `text_of` tells the texts
        of a mixture apart."""
        return rows.origins(self.rows(step))

    def _require_known_order(self) -> None:
        if self.order != ORDER:
            raise UnknownOrderError(
                f"the steps were recorded with order {self.order} of the rows, this version knows {ORDER}; "
                "use the version of moinho that the training's record names"
            )

    def as_json(self) -> dict[str, Any]:
        """What there is nothing of is left out, so that a training of one text is told as ever."""
        return self.model_dump(mode="json", exclude_none=True)

"""Batches prepared ahead: while the device computes a step, a thread makes the tensors of the next ones.

What is prepared for a step is a pure function of (seed, step), so nothing about it is ever saved, and a
step that was not prepared is made on the spot, with the same bits.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.objectives.batches import NEXT_TOKEN, Objective
from pipeline.tokens.mixture import TrainingRows
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.forward import Tensors, host_tensors

STEPS_AHEAD = 2


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass, in the host's memory (pinned for a GPU)."""

    rows: NDArray[np.int64]
    """Their numbers."""
    tensors: Tensors
    labels: int
    """Tokens that are predicted."""


@dataclass(frozen=True)
class StepBatch:
    """What one rank computes in one step."""

    step: int
    rows: NDArray[np.int64]
    """Row numbers of the global batch, of all ranks."""
    micro_batches: list[MicroBatch]


class Loader:
    """The batches of a run, rank `part` of `parts` that share each of them.

    Inside `with` a thread works ahead; it is gone when the block is left, also by an exception. An error
    in the thread is raised by `take`, for the step that it belongs to.
    """

    def __init__(
        self,
        rows: TrainingRows,
        *,
        seed: int,
        batch_rows: int,
        micro_batch_rows: int,
        steps: int,
        part: int = 0,
        parts: int = 1,
        passes: int | None = None,
        pinned: bool = False,
        objective: Objective = NEXT_TOKEN,
    ) -> None:
        """`batch_rows` of the global batch; `steps` of the whole run, beyond which nothing is prepared;
        `passes`: micro-batches of every step, the last ones perhaps of no row. Default: as the rows need."""
        self.rows, self.objective, self.seed, self.steps = rows, objective, seed, steps
        self.batch_rows, self.micro_batch_rows = batch_rows, micro_batch_rows
        self.part, self.parts, self.passes, self.pinned = part, parts, passes, pinned
        self.waited_seconds = 0.0
        """For how long `take` has held up its callers so far."""
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Future[StepBatch]] = {}

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="loader")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self._ahead = None, {}

    def take(self, step: int) -> StepBatch:
        """The batch of this step (from 0); those of the next steps are begun."""
        start = time.perf_counter()
        ready = self._ahead.pop(step, None)
        with torch.profiler.record_function("loader_wait"):
            batch = self.prepare(step) if ready is None else ready.result()
        if self._pool is not None:
            wanted = range(step + 1, min(step + 1 + STEPS_AHEAD, self.steps))
            self._ahead = {
                number: self._ahead.get(number) or self._pool.submit(self.prepare, number)
                for number in wanted
            }
        self.waited_seconds += time.perf_counter() - start
        return batch

    def prepare(self, step: int) -> StepBatch:
        """The batch of this step, made now."""
        rows = self.rows.of_step(self.seed, step, self.batch_rows)
        mine = np.array_split(rows, self.parts)[self.part]
        size = self.micro_batch_rows
        passes = -(-len(mine) // size) if self.passes is None else self.passes
        parts = [
            self._micro_batch(mine[number * size : (number + 1) * size], step) for number in range(passes)
        ]
        return StepBatch(step, rows, parts)

    def _micro_batch(self, rows: NDArray[np.int64], step: int) -> MicroBatch:
        batch = self.objective(self.rows, rows, step + 1)
        tensors = host_tensors(batch, self.micro_batch_rows, self.rows.pad)
        labels = int((batch.labels_BT != NO_LABEL).sum())
        return MicroBatch(rows, tensors.pinned() if self.pinned else tensors, labels)

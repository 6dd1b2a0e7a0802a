"""Whether a training fits into its workers' memory, and what to change where it does not.

The memory of a choice is counted by pipeline/models/cost.py before anything starts. What is left to us
is chosen as the cheapest that fits; what a user asked for and cannot be is refused with the nearest that can.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import InputError
from pipeline.models import cost
from pipeline.models.cost import Checkpointing, Division, Footprint
from pipeline.models.families import FamilyName, Shape
from pipeline.resources import GB

IMPORTED_BYTES = {"cpu": 0.6e9, "cuda": 0.0}
"""What a worker has in memory before it has a model; a GPU has none of it."""
FILLED = {"cpu": 1.0, "cuda": 0.92}
"""Share of the memory that may be planned with: a GPU's allocator cannot use the last of it."""
RECOMPUTED: dict[Checkpointing, float] = {"none": 1.0, "every-second": 7 / 6, "all": 4 / 3}
"""Time of a step: what is computed again is a forward pass, a third of forward and backward."""
SHARDED = 1.05
"""Time of a step where weights are cut: half as much again is sent (Rajbhandari et al., 2020,
arXiv:1910.02054), most of it while something is computed."""
OFFLOADED = 1.15
"""Time of a step where the optimizer's state travels; an order, not a measurement."""
SMALLER_MICRO_BATCH = 1.03
"""Time of a step for each halving of the micro-batch; an order, not a measurement."""

LEFT_OUT = "left out, there is one worker for each GPU, or a single one without GPUs"
"""The default of compute.training_workers, in words."""


class LayoutError(InputError):
    """The model or the workers cannot be divided as the configuration asks for."""

    remedy = (
        "Set compute.training_workers, or compute.shards and compute.tensor_parallel, to numbers that the "
        "message names."
    )


class DoesNotFitError(InputError):
    """A training needs more memory on each worker than that has."""

    remedy = (
        "Take over the --set that the message ends with, or train a smaller model; if the memory it names "
        "is not what your workers have, set compute.worker_memory_gb."
    )


@dataclass(frozen=True)
class Choice:
    """What memory hangs on, beside the model."""

    micro_batch_rows: int
    division: Division

    def settings(self) -> dict[str, Any]:
        """By the names of Options."""
        division = self.division
        return {
            "micro_batch_rows": self.micro_batch_rows,
            "activation_checkpointing": division.activation_checkpointing,
            "shards": division.shards,
            "offload_optimizer": division.offload_optimizer,
        }

    def told(self) -> str:
        """In words, without the micro-batch."""
        division = self.division
        shards = "a whole copy" if division.shards == 1 else f"{division.shards} shards"
        again = {"none": "no layer", "every-second": "every second layer", "all": "all layers"}
        computed = f"{again[division.activation_checkpointing]} computed again"
        away = ", the optimizer's state outside of the GPU" if division.offload_optimizer else ""
        return f"{shards}, {computed}{away}"

    @property
    def price(self) -> float:
        """Relative time of a step, whatever its micro-batch."""
        time = RECOMPUTED[self.division.activation_checkpointing]
        time *= SHARDED if self.division.shards > 1 else 1.0
        return time * (OFFLOADED if self.division.offload_optimizer else 1.0)


@dataclass(frozen=True)
class Options:
    """What may be chosen of each: one of each where a user has chosen."""

    micro_batch_rows: Sequence[int]
    activation_checkpointing: Sequence[Checkpointing]
    shards: Sequence[int]
    offload_optimizer: Sequence[bool]

    def choices(self, workers: int, tensor_parallel: int) -> Iterator[Choice]:
        for shards, again, offload, rows in itertools.product(
            self.shards, self.activation_checkpointing, self.offload_optimizer, self.micro_batch_rows
        ):
            yield Choice(rows, Division(workers, shards, tensor_parallel, again, offload))

    def cheapest(self, demand: "Demand", workers: int, tensor_parallel: int) -> Choice | None:
        """Of what fits, what takes the least time; None if nothing does."""
        wanted = self.micro_batch_rows[0]
        fitting = [each for each in self.choices(workers, tensor_parallel) if demand.fits(each)]

        def price(choice: Choice) -> tuple[float, int]:
            halvings = abs(math.log2(wanted / choice.micro_batch_rows))
            return choice.price * SMALLER_MICRO_BATCH**halvings, choice.division.shards

        return min(fitting, key=price, default=None)

    def smallest(self, demand: "Demand", workers: int, tensor_parallel: int) -> Choice:
        """What needs least memory."""
        return min(self.choices(workers, tensor_parallel), key=demand.bytes)


@dataclass(frozen=True)
class Trained:
    """What is trained, as far as memory hangs on it."""

    shape: Shape
    optimizer: str
    family: FamilyName = "llama"


def footprint(device: str, compiled: bool) -> Footprint:
    if device == "cuda":
        return cost.GPU_COMPILED if compiled else cost.GPU_EAGER
    return cost.COMPILED if compiled else cost.EAGER


@dataclass(frozen=True)
class Demand:
    """What a training asks of each worker's memory, and what that has."""

    trained: Trained
    vocabulary_size: int
    row_tokens: int
    device: str
    compiled: bool
    products: str
    memory_gb: float | None
    """Of each worker; None if it is not known, and then everything fits."""
    has_begun: bool = False
    """A run that goes on is not refused: it takes what needs least, and may find that to be enough."""

    @property
    def footprint(self) -> Footprint:
        return footprint(self.device, self.compiled)

    def bytes(self, choice: Choice) -> float:
        """That a worker has at most, without what it has imported."""
        return cost.memory(
            self.footprint,
            self.trained.shape,
            self.vocabulary_size,
            choice.micro_batch_rows * self.row_tokens,
            self.products,
            self.trained.optimizer,
            choice.division,
        )

    def needed_gb(self, choice: Choice) -> float:
        """That a worker has to have."""
        return (IMPORTED_BYTES[self.device] + self.bytes(choice)) / FILLED[self.device] / GB

    def fits(self, choice: Choice) -> bool:
        return self.memory_gb is None or self.needed_gb(choice) <= self.memory_gb

    def told(self, choice: Choice) -> str:
        """Where the memory goes, in words."""
        trained, division, rows = self.trained, choice.division, choice.micro_batch_rows
        given = (trained.shape, self.vocabulary_size)
        kept = cost.kept_bytes(self.footprint, *given, trained.optimizer, division)
        update = cost.update_bytes(*given, trained.optimizer, division)
        step = self.footprint.step_bytes(*given, rows * self.row_tokens, self.products, division)
        rest = self.needed_gb(choice) - (kept + max(step, update)) / GB
        away = self.footprint.on_gpu and division.offload_optimizer
        what = "weights" if away else "weights and optimizer"
        if not self.footprint.on_gpu:
            what, rest = f"{what}, also in a copy for checkpoints,", rest - kept / GB
            kept *= 2
        return (
            f"{what} {kept / GB:.1f}, {rows} row{'' if rows == 1 else 's'} at a time {step / GB:.1f} and "
            f"after them, largely in the same place, gradients and the update {update / GB:.1f}, "
            f"the process itself and what has to stay free {max(0.0, rest):.1f}"
        )

    def advice_if_nothing_fits(self) -> str:
        alone = IMPORTED_BYTES[self.device] / FILLED[self.device] / GB
        if self.memory_gb is not None and alone >= self.memory_gb:
            return f"the process alone takes {alone:.1f} GB: fewer workers on a machine, or a larger one"
        return "no number of workers would do: set pretrain.depth or pretrain.width lower"


def choose(
    demand: Demand, asked: Options, free: Options, workers: int, tensor_parallel: int, batch_rows: int
) -> Choice:
    """The cheapest that fits of what is `asked`; `free` is what could be asked. Raises DoesNotFitError."""
    found = asked.cheapest(demand, workers, tensor_parallel)
    if found is not None:
        return found
    least = asked.smallest(demand, workers, tensor_parallel)
    if demand.has_begun:
        return least
    nearest = _nearest(demand, asked, free, workers, tensor_parallel, batch_rows)
    if nearest is None:
        advice = demand.advice_if_nothing_fits()
    else:
        sets = _sets(nearest, asked, free, workers)
        advice = f"{demand.needed_gb(nearest):.1f} GB would do with {sets} ({nearest.told()})"
        if nearest.division.workers > workers:
            advice += " if each has as much memory (on more GPUs or machines)"
    raise DoesNotFitError(
        f"pretrain: each worker ({workers} in all) needs {demand.needed_gb(least):.1f} GB even with "
        f"{least.told()} ({demand.told(least)}) and has {demand.memory_gb:.1f} GB; {advice}"
    )


def _nearest(
    demand: Demand, asked: Options, free: Options, workers: int, tensor_parallel: int, batch_rows: int
) -> Choice | None:
    """In this order is let go what was asked for, until something fits: the micro-batch, activation
    checkpointing, shards, where the optimizer's state lies, the number of workers."""
    let_go = asked
    for name in ("micro_batch_rows", "activation_checkpointing", "shards", "offload_optimizer"):
        let_go = replace(let_go, **{name: getattr(free, name)})
        if (found := let_go.cheapest(demand, workers, tensor_parallel)) is not None:
            return found
    while workers * 2 <= batch_rows * tensor_parallel:
        workers *= 2
        wider = replace(let_go, shards=(workers // tensor_parallel,), micro_batch_rows=(1,))
        if (found := wider.cheapest(demand, workers, tensor_parallel)) is not None:
            return found
    return None


def _sets(nearest: Choice, asked: Options, free: Options, workers: int) -> str:
    """What to add to the command: of what was asked for, that which is otherwise now."""
    changed: dict[str, Any] = {}
    for name, value in nearest.settings().items():
        was = getattr(asked, name)
        left_to_us = was == getattr(free, name)
        if not left_to_us and value not in was:
            changed[name] = str(value).lower()
    if nearest.division.workers != workers:
        changed["training_workers"] = nearest.division.workers
    if "shards" in changed and 1 < nearest.division.shards == nearest.division.data_size:
        changed["shards"] = "all"
    return " ".join(f"--set compute.{name}={value}" for name, value in changed.items())


def check_division(division: Division) -> None:
    """Raises LayoutError, naming numbers that would do."""
    workers, tensor, shards = division.workers, division.tensor_parallel, division.shards
    more = f"({LEFT_OUT}), or"
    if workers % tensor:
        raise LayoutError(
            f"compute.tensor_parallel is {tensor}, and {_trained_by(workers)}, whose number it has to "
            f"divide; set compute.training_workers to a multiple of {tensor} {more} compute.tensor_parallel "
            f"to {one_of(divisors(workers))}"
        )
    if division.data_size % shards:
        groups = f", in {division.data_size} groups with rows of their own" if tensor > 1 else ""
        raise LayoutError(
            f"compute.shards is {shards}, and {_trained_by(workers)}{groups}, whose number it has to divide; "
            f"set compute.training_workers to a multiple of {shards * tensor} {more} compute.shards to "
            f'{one_of(divisors(division.data_size))}, or to "all"'
        )


def _trained_by(workers: int) -> str:
    return "1 worker trains" if workers == 1 else f"{workers} workers train together"


def check_heads(parts: int, key_value_heads: int, mlp_width: int) -> None:
    """Raises LayoutError if not every worker would have equally many."""
    fitting = [each for each in divisors(key_value_heads) if mlp_width % each == 0]
    if parts not in fitting:
        raise LayoutError(
            f"compute.tensor_parallel is {parts}, but it has to divide the model's {key_value_heads} heads "
            f"of keys and values and its inner width of {mlp_width}; set it to {one_of(fitting)}"
        )


def divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def one_of(numbers: Sequence[int]) -> str:
    """Such as: 1, 2 or 4."""
    *before, last = map(str, numbers)
    return f"{', '.join(before)} or {last}" if before else last

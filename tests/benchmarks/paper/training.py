"""A pretraining on many GPUs: what a step takes, what checkpoints and failures add, and how often to save.

The plan knows the products of matrices. What it leaves out, since on one machine it is next to nothing, is
here: the optimizer's own products, which every whole copy makes again, and what GPUs send each other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flows.rented import GPUS, utilisation
from pipeline.models import cost
from pipeline.models.cost import Division
from pipeline.models.families import parameters, training_flops_per_token
from pipeline.training.fit import RECOMPUTED, SHARDED
from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks.paper.assumed import Cluster, Given

FLOAT_BYTES = cost.FLOAT_BYTES
BACKWARD_SHARE = 1 - cost.FORWARD_SHARE


@dataclass(frozen=True)
class Step:
    """Seconds of one."""

    compute: float
    """Forward and backward, at the assumed share of the peak."""
    update: float
    """The optimizer's products."""
    exchange: float
    """Gradients on their way, as far as nothing else can be done meanwhile."""

    @property
    def seconds(self) -> float:
        return self.compute + self.update + self.exchange

    @property
    def busy(self) -> float:
        """Share of it that goes into the model's own products."""
        return self.compute / self.seconds


@dataclass(frozen=True)
class Interval:
    """What a pause between checkpoints costs."""

    seconds: float
    lost_share: float
    """Of all time: saving, what was computed for nothing, starting again."""


@dataclass(frozen=True)
class Training:
    """A pretraining as the plan divides it."""

    config: PretrainConfig
    pieces: int
    work: Mapping[str, float]
    planned_seconds: float
    memory_bytes: float
    """Of each GPU at most."""
    flop_seconds: float
    """Of one operation at the assumed share of the peak."""
    cluster: Cluster
    given: Given
    row_tokens: int = 2_048

    @property
    def weights(self) -> int:
        return parameters(self.config.shape(), self.pieces)

    @property
    def steps(self) -> int:
        return self.config.recipe().steps

    @property
    def shards(self) -> int:
        return int(self.work["shards"])

    @property
    def division(self) -> Division:
        return Division(self.cluster.gpus, self.shards)

    @property
    def rows_each(self) -> float:
        """Rows of a step for each GPU; below one, some have nothing to do."""
        return self.config.recipe().batch_tokens / self.row_tokens / self.cluster.gpus

    @property
    def passes(self) -> int:
        return max(1, math.ceil(self.rows_each / self.work["micro_batch_rows"]))

    @property
    def step(self) -> Step:
        """Rows are whole: where there are fewer than GPUs, a step takes as long as one row."""
        per_token = training_flops_per_token(self.config.shape(), self.pieces, self.row_tokens)
        again = self.work["recomputed_layers"] / self.config.depth
        slower = 1 + again * (RECOMPUTED["all"] - 1)
        tokens = math.ceil(self.rows_each) * self.row_tokens
        compute = tokens * per_token * slower * self.flop_seconds
        if self.shards > 1:
            compute *= SHARDED
        update = self.work.get("muon.flops", 0.0) / self.steps * self.flop_seconds
        return Step(compute, update, self._exchange(compute))

    def _exchange(self, compute: float) -> float:
        """Whole copies sum one flat tensor after the last pass (pipeline/training/layout.py, _sum), by a ring
        (Patarasuk and Yuan, 2009, doi:10.1016/j.jpdc.2008.09.002): 2 (n - 1) / n of it pass each GPU. Of
        shards the replicas' sums go on beside the last pass's backward half."""
        workers, guessed = self.cluster.gpus, self.given.guessed
        alone = self.cluster.gpus <= self.cluster.gpus_per_node
        speed = guessed.nvlink_bytes_per_second if alone else guessed.network_bytes_per_second
        gradients = FLOAT_BYTES * self.weights
        if self.shards == 1:
            return 2 * (workers - 1) / workers * gradients / speed
        replicas = self.division.replicas
        sent = 2 * (replicas - 1) / replicas * gradients / self.shards / speed
        return max(0.0, sent - BACKWARD_SHARE * compute / self.passes)

    @property
    def computing_seconds(self) -> float:
        """Of all steps, with evaluations and compiling as the plan has them, without failures."""
        plan_step = self._planned_step
        beside = max(0.0, self.planned_seconds - self.steps * plan_step)
        return self.steps * self.step.seconds + beside

    @property
    def _planned_step(self) -> float:
        """That the plan reckons with: products alone."""
        return self.work["compiled.bf16.flops"] / self.steps * self.flop_seconds

    def at_utilisation(self, share: float) -> "Training":
        """The same where products use another share of the peak."""
        peak = GPUS[self.cluster.kind].peak_flops
        factor = 1 / (peak * share) / self.flop_seconds
        return replace(
            self, flop_seconds=self.flop_seconds * factor, planned_seconds=self.planned_seconds * factor
        )

    @property
    def assumed_utilisation(self) -> float:
        return utilisation(self.weights)

    # --- checkpoints and failures ---

    @property
    def checkpoint_bytes(self) -> float:
        """Weights and the optimizer's state, once."""
        return cost.kept_bytes(cost.EAGER, self.config.shape(), self.pieces, self.config.optimizer)

    @property
    def checkpoint_files(self) -> int:
        """Of each rank its tensors and its random state; the index and the manifest."""
        return 2 * self.cluster.gpus + 2

    @property
    def copy_seconds(self) -> float:
        """That the loop waits for: each GPU copies what it has of weights and state."""
        return self.checkpoint_bytes / self.shards / self.given.guessed.host_copy_bytes_per_second

    @property
    def write_seconds(self) -> float:
        """Until it is published: every rank hashes and writes its share."""
        guessed, nodes = self.given.guessed, self.cluster.gpu_nodes
        hashed = self.checkpoint_bytes / self.cluster.gpus / self.given.measured.sha256_bytes_per_second
        return (
            self.copy_seconds + hashed + self.checkpoint_bytes / (nodes * guessed.store_node_bytes_per_second)
        )

    @property
    def verify_seconds(self) -> float:
        """Before a run goes on rank 0 reads every byte and hashes it (checkpoint_reading.py, verified)."""
        store = self.given.guessed.store_node_bytes_per_second
        return self.checkpoint_bytes * (1 / store + 1 / self.given.measured.sha256_bytes_per_second)

    @property
    def check_seconds(self) -> float:
        """That, then each node reads what its GPUs need."""
        store = self.given.guessed.store_node_bytes_per_second
        needed = self.checkpoint_bytes * min(1.0, self.cluster.gpus_per_node / self.shards)
        return self.verify_seconds + needed / store

    @property
    def restart_seconds(self) -> float:
        """From a failure until steps count again."""
        return self.given.measured.restart_seconds + self.given.guessed.node_seconds + self.check_seconds

    def failure_seconds(self, per_gpu_hours: float) -> float:
        """Mean time between failures of the whole."""
        return per_gpu_hours * 3600 / self.cluster.gpus

    def interval(self, seconds: float, per_gpu_hours: float) -> Interval:
        """First order (Young, 1974, doi:10.1145/361147.361115): a copy in each interval, and for each failure
        half an interval and a restart."""
        between = self.failure_seconds(per_gpu_hours)
        seconds = max(seconds, self.write_seconds)  # the next one waits until the one before is written
        lost = self.copy_seconds / (seconds + self.copy_seconds)
        return Interval(seconds, min(1.0, lost + (seconds / 2 + self.restart_seconds) / between))

    def best_interval(self, per_gpu_hours: float) -> float:
        """Daly's higher order of Young's (2006, doi:10.1016/j.future.2004.11.016), seconds of computing."""
        between, copied = self.failure_seconds(per_gpu_hours), self.copy_seconds
        if copied >= 2 * between:
            return between
        ratio = copied / (2 * between)
        return math.sqrt(2 * copied * between) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - copied

    @property
    def seconds(self) -> float:
        """With checkpoints at the best interval, and failures as often as the worse of two reports says."""
        worse = min(self.given.guessed.gpu_hours_between_failures)
        lost = self.interval(self.best_interval(worse), worse).lost_share
        return self.computing_seconds / max(1e-3, 1 - lost)

    @property
    def checkpoints(self) -> float:
        worse = min(self.given.guessed.gpu_hours_between_failures)
        return self.seconds / self.interval(self.best_interval(worse), worse).seconds

    def failures(self, per_gpu_hours: float) -> float:
        """Expected over the whole run."""
        return self.seconds / self.failure_seconds(per_gpu_hours)

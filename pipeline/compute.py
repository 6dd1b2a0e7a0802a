"""The one place that knows how work is spread: over a Ray cluster, joined or started here.

Nothing below enters a key: the same recipe on a laptop and on a cluster makes the same artifact.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.claims import claimed
from pipeline.cluster import deferred_stop, join, node_resources, start_local, start_told
from pipeline.compute_config import ComputeConfig, StageResources, worker_range
from pipeline.errors import MoinhoError, UnreadableShardError
from pipeline.hardware import gpu_memory_gb, machine_memory_gb
from pipeline.resources import Request, fitting_workers, require_room_for_tasks, worker_request
from pipeline.shards import TRIES_PER_SHARD, ShardFunction, run_shard, set_aside
from pipeline.stop_wish import await_checkpoint
from pipeline.store import (
    Attempt,
    ShardRecord,
    fault_of_machine,
    faults_told,
    require_room,
)
from pipeline.training_faults import run_training_worker, told_fault, training_fault

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.train.torch import TorchTrainer

log = logging.getLogger(__name__)

IN_FLIGHT_PER_CPU = 2
"""Tasks of a stage whose number nobody limits: so the next is there when one ends."""
WAIT_SECONDS = 0.5
LEAVING_SECONDS = 5.0
"""That Ray Train is given to notice that its workers have left for good."""
CANCEL_SECONDS = 10.0


@dataclass
class Compute:
    """A Ray cluster that is there when the first task needs it."""

    config: ComputeConfig
    temp_dir: str | None = None
    """Where a local Ray keeps its sockets and logs (a short path). Default: Ray's own choice."""
    is_starting: bool = field(default=False, init=False)
    """True while Ray is being started or joined."""
    _started: bool = field(default=False, init=False)
    _stops: Sized = field(default=(), init=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stop_is_asked: threading.Event = field(default_factory=threading.Event, init=False)

    def start(self) -> None:
        """Join the cluster of the configuration, or start one on this machine alone.

        Raises NoRoomError if there is no room for Ray's own files, and RayStartError or ClusterError.
        """
        with self._starting:
            if not self._started:
                self.is_starting = True
                try:
                    self._start()
                finally:
                    self.is_starting = False

    def _start(self) -> None:
        with deferred_stop() as stops, faults_told(None):
            self._stops = stops
            require_room()
            if self.config.ray_address is None:
                with start_told(), faults_told(None):
                    start_local(self.temp_dir, is_wanted=lambda: not stops)
            else:
                join(self.config.ray_address)
            self._started = True

    @property
    def is_stopping(self) -> bool:
        """True if Ctrl-C or SIGTERM came while Ray was being started or joined: it counts after that."""
        return len(self._stops) > 0

    def stop(self) -> None:
        """Leave the cluster; one that was started here ends with all its processes."""
        if self._started:
            import ray

            ray.shutdown()
            self._started = False

    def cpus(self) -> int:
        """CPUs of the cluster (1 at least)."""
        return max(1, int(self._resources().get("CPU", 1)))

    def gpus(self) -> int:
        return int(self._resources().get("GPU", 0))

    def device(self, stage: str) -> str:
        """Kind of device that the training of a stage computes on: cuda or cpu."""
        asked = self._asked(stage).gpus
        return "cuda" if (self.gpus() if asked is None else asked) else "cpu"

    def _asked(self, stage: str) -> StageResources:
        return self.config.stages.get(stage, StageResources())

    def _tasks_at_once(self, stage: str) -> int | None:
        """The most tasks of a stage that are to run at once, if that was set."""
        _, most = worker_range(self._asked(stage).workers) or (None, self.config.workers)
        return most

    @property
    def is_known(self) -> bool:
        """False where a plan can only guess what the cluster has."""
        return True

    def training_workers(self, stage: str) -> int:
        """Processes that train a stage together; of a range, as many as there is room for now."""
        low, high = self._worker_range(stage)
        return fitting_workers(self._asked(stage), low, high, node_resources()) if low < high else high

    def _worker_range(self, stage: str) -> tuple[int, int]:
        asked = self._asked(stage).workers or self.config.training_workers
        if asked is None:
            most = max(1, self.gpus() if self.device(stage) == "cuda" else 1)
            return most, most
        return worker_range(asked) or (1, 1)

    def worker_memory_gb(self, stage: str) -> float | None:
        """Memory that each training worker of a stage has: as configured, else as a GPU of the cluster tells,
        or a worker's share of the memory of the nodes. None if it cannot be found out."""
        if self.config.worker_memory_gb is not None:
            return self.config.worker_memory_gb
        workers, asked = self.training_workers(stage), self._asked(stage)
        if self.device(stage) == "cuda":
            return self._gpu_memory_gb(asked.accelerator)
        if asked.memory_gb is not None:
            return asked.memory_gb
        if self.config.ray_address is None:
            return machine_memory_gb() / workers
        self.start()
        nodes = [node.get("memory", 0) + node.get("object_store_memory", 0) for node in node_resources()]
        return min(nodes) / 1e9 / -(-workers // len(nodes))

    def _gpu_memory_gb(self, accelerator: str | None) -> float | None:
        """Of one GPU of the cluster: those of one training are taken to be alike."""
        self.start()
        import ray

        asked = Request(0, 1, accelerator=accelerator).of_task()
        task = ray.remote(gpu_memory_gb).options(name="gpu-memory", **asked)
        found: float | None = ray.get(task.remote())
        return found

    def _resources(self) -> dict[str, float]:
        self.start()
        import ray

        found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return found

    def map_shards(
        self,
        attempt: Attempt,
        step: str,
        shards: Mapping[str, Any],
        function: ShardFunction,
        *,
        cpus: float = 1,
        gpus: float = 0,
        beside_driver: bool = False,
        tells: bool = True,
    ) -> list[ShardRecord]:
        """Run `function` on every shard as a Ray task; the records come in the order of `shards`.

        `shards` maps a shard's identity (a file name's worth of letters, the same at every
        attempt) to what the function gets. Shards that an earlier attempt finished are not run
        again. A shard that fails is tried again, unless it raises UnreadableShardError; one that fails
        every time, or kills its worker, is set aside with its reason if `lost_shards` allows, otherwise
        ShardLostError is raised.
        A full disk is no fault of a shard: NoRoomError is raised at once.
        With `beside_driver` the tasks run on the driver's node, whose loopback address they need;
        that node may have no CPU to give (the head of many clusters), so they claim none.
        How many are finished is told as progress, unless (`tells`) the stage tells in its own way how far
        it is.
        """
        finished = {
            identity: record
            for identity in shards
            if (record := attempt.finished_shard(step, identity)) is not None and record.lost is None
        }
        waiting = [identity for identity in shards if identity not in finished]
        if waiting:
            self.start()
            journal = attempt.journal(step)
            progress = {"done": len(finished), "total": len(shards)}
            placement = _beside_driver() if beside_driver else self._task(attempt, cpus, gpus)
            for record in self._run_all(attempt, step, waiting, shards, function, placement):
                finished[record.identity] = record
                progress["done"] += 1
                if tells:
                    journal.progress(progress["done"], progress["total"], "shards", step=step)
        return [finished[identity] for identity in shards]

    def _task(self, attempt: Attempt, cpus: float, gpus: float) -> dict[str, Any]:
        """What each Ray task of the stage asks for. Raises StageDoesNotFitError."""
        request = Request.of(self._asked(attempt.stage), cpus, gpus)
        if not self.config.autoscaling:
            require_room_for_tasks(attempt.stage, request, node_resources())
        return request.of_task()

    def _run_all(
        self,
        attempt: Attempt,
        step: str,
        waiting: list[str],
        shards: Mapping[str, Any],
        function: ShardFunction,
        placement: Mapping[str, Any],
    ) -> Iterator[ShardRecord]:
        """Yields records as they are finished, with a bounded number of tasks in flight."""
        import ray
        from ray.exceptions import NodeDiedError

        task = ray.remote(run_shard).options(max_retries=0, name=f"{attempt.stage}:{step}", **placement)
        limit = self._tasks_at_once(attempt.stage) or IN_FLIGHT_PER_CPU * self.cpus()
        queue = list(reversed(waiting))
        tries = dict.fromkeys(waiting, 0)
        running: dict[ObjectRef[ShardRecord], str] = {}
        lost = 0
        try:
            while queue or running:
                while queue and len(running) < limit:
                    identity = queue.pop()
                    tries[identity] += 1
                    reference = task.remote(attempt, step, identity, shards[identity], function)
                    running[reference] = identity
                done, _ = ray.wait(list(running), timeout=WAIT_SECONDS)
                self._stop_if_asked()
                for reference in done:
                    identity = running.pop(reference)
                    try:
                        yield ray.get(reference)
                    except Exception as error:
                        fault = getattr(error, "cause", error)
                        fault = fault_of_machine(fault, attempt.storage.local("")) or fault
                        if isinstance(fault, MoinhoError):
                            raise fault from None
                        log.warning("%s shard %s, try %d: %s", step, identity, tries[identity], error)
                        may_heal = not isinstance(fault, UnreadableShardError)
                        if isinstance(fault, NodeDiedError):
                            tries[identity] -= 1  # that was no fault of the shard
                        if may_heal and tries[identity] < TRIES_PER_SHARD:
                            queue.append(identity)
                            continue
                        lost += 1
                        yield set_aside(attempt, step, identity, fault, lost, self.config.lost_shards)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            if running:  # whoever is told the fault may count on it that no task writes any more
                ray.wait(list(running), num_returns=len(running), timeout=CANCEL_SECONDS)

    def train(
        self, loop: Callable[[dict[str, Any]], None], settings: dict[str, Any], attempt: Attempt
    ) -> None:
        """Run `loop(settings)` in every training worker, as one process group of Ray Train.

        A worker that dies ends the group; it is started again, up to `training_restarts` times,
        and the loop itself goes on from its last checkpoint. Raises StageError when that is used up.
        """
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        # by itself Ray waits for ever for a rank that hangs while all ask it something together
        os.environ["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] = str(self.config.process_group_timeout_seconds)
        self.start()
        import ray
        from ray.train.torch import TorchTrainer

        attempt.journal("driver").beginning("starting training workers, as soon as there is room for them")
        trainer = TorchTrainer(
            run_training_worker,
            # A reference, for the workers alone to open: Ray Train's controller would import all they need.
            train_loop_config={
                "work": ray.put((loop, {**settings, "began": time.time()})),
                "attempt": attempt,
            },
            **self._train_settings(attempt),
        )
        try:
            self._fit(trainer, attempt)
        except Exception as error:
            raise told_fault(attempt) or training_fault(error, attempt.storage.local("")) from error
        fault = told_fault(attempt)
        if fault is not None:
            raise fault

    def _fit(self, trainer: "TorchTrainer", attempt: Attempt) -> None:
        """Fit in another thread: on the main one Ray Train replaces the handler for Ctrl-C by one that
        exits. A stop is raised when what the training had to save is saved, and the thread has ended."""
        outcome: Future[None] = Future()

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)

        threading.Thread(target=fit, daemon=True, name="ray-train").start()
        try:
            while not wait([outcome], WAIT_SECONDS).done:
                self._stop_if_asked()
        except KeyboardInterrupt:
            await_checkpoint(attempt)
            # Ray ends a process at once of which a thread still asks it something when it is left.
            wait([outcome], LEAVING_SECONDS)
            raise
        outcome.result()

    @contextlib.contextmanager
    def claim(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep other drivers of a cluster that is joined from making the same thing in the block; `waiting`
        is called if one of them does already. On this machine alone there are no others."""
        if self.config.ray_address is None:
            yield
            return
        self.start()
        with claimed(name, waiting):
            yield

    def ask_to_stop(self) -> None:
        """Let what is at work in other threads end as Ctrl-C ends what is on the main one."""
        self._stop_is_asked.set()

    def _stop_if_asked(self) -> None:
        if self._stop_is_asked.is_set():
            raise KeyboardInterrupt

    def _train_settings(self, attempt: Attempt) -> dict[str, Any]:
        """How many workers with how much each, how they find each other, what is done when one dies."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        from pipeline.training_group import DeathsTold, NoticedTorchConfig

        (low, high), workers = self._worker_range(attempt.stage), self.training_workers(attempt.stage)
        asked, grows = self._asked(attempt.stage), self.config.autoscaling
        each = worker_request(asked, workers, node_resources(), may_grow=grows)
        wanted: Any = (low, high) if low < high else workers
        deaths_told: Any = [DeathsTold(attempt, self.config.training_restarts)]
        return {
            "scaling_config": ScalingConfig(
                num_workers=wanted,
                use_gpu=each.gpus > 0,
                resources_per_worker=each.of_worker(),
                accelerator_type=each.accelerator,
            ),
            "torch_config": NoticedTorchConfig(
                backend="cpu:gloo,cuda:nccl" if each.gpus else "gloo",
                timeout_s=self.config.process_group_timeout_seconds,
            ),
            "run_config": RunConfig(
                name=attempt.id,
                storage_path=str(attempt.path("ray-train")),
                failure_config=FailureConfig(max_failures=self.config.training_restarts),
                callbacks=deaths_told,
            ),
        }


def _beside_driver() -> dict[str, Any]:
    """Options of a Ray task that runs on this node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}

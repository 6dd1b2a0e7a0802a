"""`moinho plan`: the flow itself, run against a store that makes nothing, and what making it would take."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from crawler.crawl import WEB_PAGE_BYTES
from crawler.ingest import URL_ARCHIVE_BYTES
from flows.calibration import Calibration, calibration, kept_calibration, machine
from flows.disk import disk_of
from flows.drift import Difference, differences
from flows.listeners import Quiet
from flows.rates import compile_seconds, memory_of, seconds_of
from flows.rented import ON_GPUS, Rented
from flows.until import up_to
from flows.web_to_model import WebToModel, web_to_model
from pipeline.compute import Compute
from pipeline.hardware import gpu_memory_gb
from pipeline.resources import GB, fitting_workers, worker_request
from pipeline.store import Artifact, PlanningStore, Store, Work
from pipeline.tokens.encode import Tokens
from pipeline.training.fit import DoesNotFitError

MANY_TIMES = 20
"""Readings of a text, from which on a plan warns: with more than some 16 next to nothing is gained
(Muennighoff et al., 2023, arXiv:2305.16264)."""
FEW_TIMES = 4
"""Readings that are nearly worth as much new text (the same)."""


CRAWL_PROCESSES = 4
"""That a crawl has where compute.crawl_processes says nothing."""


@dataclass(frozen=True)
class PlannedStage:
    """One line of a plan. Of what is in the store already nothing is estimated."""

    stage: str
    key: str
    in_store: bool
    if_same: str | None = None
    """The stage to be made that must come out as it was for this one to be reused, if there is one."""
    bytes: float | None = None
    """Of HTML or text that it reads or makes."""
    tokens: float | None = None
    """Tokens that it makes or trains on."""
    flops: float | None = None
    """Floating point operations of training, forward and backward."""
    memory_bytes: float | None = None
    """That the largest of its processes has at most."""
    seconds: float | None = None
    disk_bytes: float = 0.0
    """That it takes in the store at most, checkpoints included."""
    work: Work = field(default_factory=dict)
    """All that its stage estimates, by quantity."""


@dataclass(frozen=True)
class Plan:
    """A flow before it runs."""

    stages: list[PlannedStage]
    differences: list[Difference]
    """Between today and the days when what is in the store was made."""
    assumptions: list[str]
    """What the estimates take for granted."""
    rates: Calibration | None
    """What this machine was measured to be able to; None if there is nothing to make or it is not known."""
    machine_bytes: float
    """Memory that this machine has; of a rented one, a GPU of it."""
    rented: Rented | None = None
    """The machine that is planned for, if it is not this one."""

    @property
    def to_be_made(self) -> list[PlannedStage]:
        return [stage for stage in self.stages if not stage.in_store]

    @property
    def seconds(self) -> float | None:
        """None if this machine's speed is not known."""
        if self.to_be_made and self.rates is None:
            return None
        return sum(stage.seconds or 0 for stage in self.stages)

    @property
    def disk_bytes(self) -> float:
        return sum(stage.disk_bytes for stage in self.stages)

    @property
    def gpu_seconds(self) -> float:
        """Of the stages that use a rented machine's GPUs; all others need none."""
        return sum(stage.seconds or 0 for stage in self.stages if stage.stage in ON_GPUS)

    @property
    def gpu_bytes(self) -> float:
        """Memory that a GPU of a rented machine needs at most."""
        return max((stage.memory_bytes or 0 for stage in self.stages if stage.stage in ON_GPUS), default=0)

    @property
    def dollars(self) -> float | None:
        """What the GPUs cost while they are used."""
        if self.rented is None:
            return None
        return self.gpu_seconds / 3600 * self.rented.count * self.rented.dollars_per_hour

    @property
    def flops(self) -> float:
        return sum(stage.flops or 0 for stage in self.stages)

    @property
    def memory_bytes(self) -> float | None:
        """Of the largest process of all stages; None if what a training worker imports was not measured."""
        if self.to_be_made and self.rates is None:
            return None
        return max((stage.memory_bytes or 0 for stage in self.stages), default=0)


class _Collector(Quiet):
    def __init__(self) -> None:
        self.found: list[tuple[Artifact, Work]] = []

    def planned(self, artifact: Artifact, work: Work) -> None:
        self.found.append((artifact, work))


@dataclass
class _Machine(Compute):
    """Knows what Ray would find on a machine, this one or a rented one, without starting it."""

    rented: Rented | None = None
    gpus_here: int = field(default_factory=lambda: len(machine()["gpus"]))

    def _resources(self) -> dict[str, float]:
        if self.rented is not None:
            return {"CPU": self.rented.cpus, "GPU": self.rented.count}
        return {"CPU": len(os.sched_getaffinity(0)), "GPU": self.gpus_here}

    @property
    def is_known(self) -> bool:
        """False of a cluster that is not joined yet."""
        return self.rented is not None or self.config.ray_address is None

    def training_workers(self, stage: str) -> int:
        """Of a cluster that is not joined yet as many as are asked for. Raises WorkersDoNotFitError."""
        low, high = self._worker_range(stage)
        if not self.is_known:
            return high
        nodes = [self._resources()]
        asked = self._asked(stage).model_copy(
            update={"accelerator": None}
        )  # no machine is asked for its kind
        workers = fitting_workers(asked, low, high, nodes)
        worker_request(asked, workers, nodes, "this machine" if self.rented is None else self.rented.name)
        return workers

    def worker_memory_gb(self, stage: str) -> float | None:
        """Of a cluster that is not joined yet nothing is known."""
        if self.config.worker_memory_gb is None and not self.is_known:
            return None
        return super().worker_memory_gb(stage)

    def _gpu_memory_gb(self, accelerator: str | None) -> float | None:
        return gpu_memory_gb() if self.rented is None else self.rented.gpu.memory_bytes / GB


def refuse_early(flow: Callable[[WebToModel, Store, Compute], object], config: WebToModel) -> None:
    """Go through a flow as a plan does. Raises what the stages raise of files, names and settings that cannot
    be used, before anything is started."""
    compute = _Machine(config.compute)
    flow(config, PlanningStore(config.compute.store), compute)


def planned_artifacts(config: WebToModel, until: str | None = None) -> list[Artifact]:
    """All that the flow, as far as `until`, would make or reuse, in its order; nothing is made."""
    collector = _Collector()
    compute = _Machine(config.compute)
    flow = web_to_model if until is None else up_to(until, web_to_model)
    flow(config, PlanningStore(config.compute.store, listeners=[collector]), compute)
    return [artifact for artifact, _ in collector.found]


def plan(
    config: WebToModel,
    tell: Callable[[str], None],
    recalibrate: bool = False,
    until: str | None = None,
    on: Rented | None = None,
) -> Plan:
    """Every stage of the flow in order, or those as far as `until`: in the store, or to be made with what
    that takes.

    `tell` is told in words of a calibration that has to be made first: only where something has to be
    made, and once on a machine that is idle. With `on` a plan for a rented machine, which is reckoned by its
    data sheet.
    """
    flow = web_to_model if until is None else up_to(until, web_to_model)
    return plan_of(flow, config, tell, recalibrate=recalibrate, on=on)


def plan_of(
    flow: Callable[[WebToModel, Store, Compute], object],
    config: WebToModel,
    tell: Callable[[str], None],
    *,
    recalibrate: bool = False,
    measure: bool = True,
    on: Rented | None = None,
) -> Plan:
    """As `plan`, of any flow. Unless `measure`, only a calibration that was kept gives times."""
    here, collector = machine(), _Collector()
    store = PlanningStore(config.compute.store, listeners=[collector])
    compute = _Machine(config.compute, rented=on, gpus_here=len(here["gpus"]))
    if on is not None:
        on.refuse_what_lacks(config.pretrain.precision)
    flow(config, store, compute)
    made = [artifact.record for artifact, _ in collector.found if artifact.exists()]
    rates = None
    if on is not None:
        rates = on.rates("", {})
    elif recalibrate or len(made) < len(collector.found):
        rates = calibration(here, tell, recalibrate) if measure or recalibrate else kept_calibration(here)
    above = _to_be_made_above([artifact for artifact, _ in collector.found])
    stages = [
        _planned(artifact, work, on.rates(artifact.stage, work) if on else rates, compute, above)
        for artifact, work in collector.found
    ]
    if on is not None:
        _refuse_larger_than_gpus(stages, on)
    stages = _after_ray(_with_disk(stages, collector.found), rates)
    tokens = [artifact.counts() for artifact, _ in collector.found if artifact.stage == Tokens.stage]
    told = list(_assumptions(config, stages, rates, tokens[0].get("train.tokens") if tokens else None))
    has = here["memory_bytes"] if on is None else on.gpu.memory_bytes
    trained = next((stage.work for stage in stages if stage.stage == "pretrain" and stage.work), None)
    if on is not None and trained is not None:
        told = [on.assumptions(trained), *told]
    return Plan(stages, differences(made), told, rates, has, on)


def _refuse_larger_than_gpus(stages: list[PlannedStage], on: Rented) -> None:
    """Of trainings that are never divided: those that can be have refused already. Raises DoesNotFitError."""
    for stage in stages:
        if stage.stage in ON_GPUS and (stage.memory_bytes or 0) > on.gpu.memory_bytes:
            raise DoesNotFitError(
                f"{stage.stage}: each worker needs {(stage.memory_bytes or 0) / GB:.1f} GB and a GPU of "
                f"{on.name} has {on.gpu.memory_bytes / GB:.1f} GB, and this stage is not divided among "
                "workers; take larger GPUs or a smaller model, or plan as far as the stage before, "
                f"with --until {_before(stages, stage)}"
            )


def _before(stages: list[PlannedStage], stage: PlannedStage) -> str:
    return stages[max(0, stages.index(stage) - 1)].stage


def _to_be_made_above(found: list[Artifact]) -> dict[str, str]:
    """`stage/key` of what is not in the store, or was made from such → the first such stage.

    `found` is in the order of the flow. What is in the store is reused only if its inputs come out the same.
    """
    above: dict[str, str] = {}
    for artifact in found:
        if not artifact.exists():
            above[artifact.base] = artifact.stage
            continue
        inputs = (f"{given.stage}/{given.key}" for given in artifact.record.inputs.values())
        if lacking := [above[base] for base in inputs if base in above]:
            above[artifact.base] = lacking[0]
    return above


def _planned(
    artifact: Artifact, work: Work, rates: Calibration | None, compute: Compute, above: dict[str, str]
) -> PlannedStage:
    stage, key = artifact.stage, artifact.key
    workers = compute.config.workers or compute.cpus()
    if stage == "crawl":
        workers = min(
            compute.config.crawl_processes or min(workers, CRAWL_PROCESSES), int(work.get("hosts", 1))
        )
    if artifact.exists():
        return PlannedStage(stage, key, in_store=True, if_same=above.get(artifact.base))
    return PlannedStage(
        stage,
        key,
        in_store=False,
        bytes=work.get("bytes"),
        tokens=work.get("tokens"),
        flops=work.get("flops"),
        memory_bytes=None if rates is None else memory_of(stage, work, rates),
        seconds=None if rates is None else seconds_of(stage, work, rates, workers),
        work=work,
    )


def _with_disk(stages: list[PlannedStage], found: list[tuple[Artifact, Work]]) -> list[PlannedStage]:
    """What each takes in the store; a vocabulary's size decides that of tokens, a model's that of another."""
    counts = {artifact.stage: artifact.counts() for artifact, _ in found}
    pieces = counts.get("vocabulary", {}).get("pieces", 0)
    weights = counts.get("pretrain", {}).get("parameters")
    told = []
    for stage, (artifact, work) in zip(stages, found, strict=True):
        known = {"parameters": weights} if weights is not None and stage.stage in ON_GPUS else {}
        size = 0.0 if stage.in_store else disk_of(stage.stage, {**work, **known}, pieces, artifact.config())
        told.append(replace(stage, disk_bytes=size))
    return told


def _after_ray(stages: list[PlannedStage], rates: Calibration | None) -> list[PlannedStage]:
    """Ray starts with the first stage that is made; its seconds count there."""
    first = next((at for at, stage in enumerate(stages) if not stage.in_store), None)
    if first is None or rates is None:
        return stages
    started = replace(stages[first], seconds=(stages[first].seconds or 0) + rates.starts["ray"])
    return [*stages[:first], started, *stages[first + 1 :]]


def _assumptions(
    config: WebToModel, stages: list[PlannedStage], rates: Calibration | None, text_tokens: float | None
) -> Iterator[str]:
    """`text_tokens` has the training text, if that is known."""
    made = {stage.stage: stage for stage in stages if not stage.in_store}
    if "crawl" in made and config.crawl.names_seeds:
        work = made["crawl"].work
        yield (
            f"crawl: as many pages as the limits allow ({work['pages']:,.0f}), of {WEB_PAGE_BYTES:,} bytes "
            f"each, one every {config.crawl.delay_seconds:g} s from each of {work['hosts']:,.0f} hosts that "
            "have equally many; robots.txt may ask for longer delays"
        )
    if "ingest" in made and config.ingest is not None:
        yield (
            f"ingest: all that the archives hold is a page of {WEB_PAGE_BYTES:,} bytes; one that is fetched "
            f"has {URL_ARCHIVE_BYTES / 1e9:g} GB, and the time that fetching takes is not counted; as much "
            "text is kept as of sites that were chosen: Common Crawl's archives give far less, some 1.8 "
            "million tokens of English each (Penedo et al., 2024, arXiv:2406.17557)"
        )
    general = config.pretrain.general
    if "pretrain" in made:
        if "shards" in made["pretrain"].work:
            yield f"pretrain: {_layout(made['pretrain'].work)}"
        if config.pretrain.precision == "fp8":
            yield "pretrain: fp8 is reckoned as bf16; how much faster it is was not measured"
        share = general.share if general is not None else 0.0
        yield from _often_seen(made["pretrain"], text_tokens, 1 - share)
        if general is not None:
            yield (
                f"pretrain: {general.share:.0%} of the rows are of {general.tokens}; the run ends "
                f"after it if that text's held-out bits per byte rise by more than {general.limit:.1%}"
            )
    if config.start is not None and config.start.in_store():
        yield f"start: {config.start.model} is in the store, and training goes on from there"
    if "start" in made and not made["start"].work:
        yield (
            "start: the model is not on this machine yet, so what pretraining and all behind it take is not "
            "known; `moinho run FILE --until start` fetches it"
        )
    if rates is None or not made:
        return
    for stage in made.values():
        if seconds := compile_seconds(stage.work, rates):
            yield f"{stage.stage}: {seconds:.0f} s of it compile; torch's cache saves most of that next time"
    if config.compute.ray_address is not None:
        yield f"the cluster at {config.compute.ray_address} is as fast as this machine, which was measured"
    if rates.busy:
        yield (
            f"this machine was measured while it had other work ({rates.found()}): "
            "times may be too long; add --recalibrate when it is idle"
        )


def _layout(work: Work) -> str:
    """How a training is divided, in words."""
    workers, shards, tensor = (int(work[name]) for name in ("workers", "shards", "tensor_parallel"))
    rows, again = int(work["micro_batch_rows"]), int(work["recomputed_layers"])
    told = [f"{workers} worker{'' if workers == 1 else 's'}"]
    if shards > 1:
        told.append(f"the model cut into {shards} shards")
    elif workers > tensor:
        told.append("each with a whole copy of the model")
    if tensor > 1:
        told.append(f"products shared by {tensor}")
    told.append(f"{rows} row{'' if rows == 1 else 's'} at a time")
    if again:
        told.append(f"{again} layers computed again for the backward pass")
    if work["offloaded"]:
        told.append("the optimizer's state in the machine's memory")
    return ", ".join(told)


def _often_seen(pretrain: PlannedStage, text_tokens: float | None, share: float) -> Iterator[str]:
    """What is read over and over is learnt by heart, and little else is learnt from it. The text has `share`
    of what is trained on."""
    times = share * (pretrain.tokens or 0) / text_tokens if text_tokens else 0
    if times > MANY_TIMES:
        fewer = max(1, int(pretrain.work["steps"] * MANY_TIMES / times))
        yield (
            f"pretrain: the text is read {times:.0f} times over; beyond {MANY_TIMES} times a model only "
            f"learns it by heart: crawl more pages, or --set pretrain.steps={fewer}"
        )
    elif times > FEW_TIMES:
        yield (
            f"pretrain: the text is read {times:.1f} times over; up to {FEW_TIMES} times it is nearly worth "
            "as much new text, and less with each time more"
        )

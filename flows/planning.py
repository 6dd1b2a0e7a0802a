"""`moinho plan`: the flow itself, run against a store that makes nothing, and what making it would take."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from crawler.crawl import WEB_PAGE_BYTES
from crawler.ingest import URL_ARCHIVE_BYTES
from flows.calibration import Calibration, calibration, machine
from flows.drift import Difference, differences
from flows.rates import compile_seconds, memory_of, seconds_of
from flows.run import Quiet
from flows.web_to_model import WebToModel, web_to_model
from pipeline.compute import Compute
from pipeline.store import Artifact, PlanningStore, Work


@dataclass(frozen=True)
class PlannedStage:
    """One line of a plan. Of what is in the store already nothing is estimated."""

    stage: str
    key: str
    in_store: bool
    bytes: float | None = None
    """Of HTML or text that it reads or makes."""
    tokens: float | None = None
    """Tokens that it makes or trains on."""
    flops: float | None = None
    """Floating point operations of training, forward and backward."""
    memory_bytes: float | None = None
    """That the largest of its processes has at most."""
    seconds: float | None = None
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
    """What this machine was measured to be able to; None if there is nothing to make."""

    @property
    def to_be_made(self) -> list[PlannedStage]:
        return [stage for stage in self.stages if not stage.in_store]

    @property
    def seconds(self) -> float:
        return sum(stage.seconds or 0 for stage in self.stages)

    @property
    def flops(self) -> float:
        return sum(stage.flops or 0 for stage in self.stages)

    @property
    def memory_bytes(self) -> float:
        """Of the largest process of all stages."""
        return max((stage.memory_bytes or 0 for stage in self.stages), default=0)


class _Collector(Quiet):
    def __init__(self) -> None:
        self.found: list[tuple[Artifact, Work]] = []

    def planned(self, artifact: Artifact, work: Work) -> None:
        self.found.append((artifact, work))


@dataclass
class _Machine(Compute):
    """Knows what Ray would find on this machine, without starting it."""

    found_gpus: int = 0

    def _resources(self) -> dict[str, float]:
        return {"CPU": len(os.sched_getaffinity(0)), "GPU": self.found_gpus}


def plan(config: WebToModel, tell: Callable[[str], None], recalibrate: bool = False) -> Plan:
    """Every stage of the flow in order: in the store, or to be made with what that takes.

    `tell` is told in words of a calibration that has to be made first: only where something has to be
    made, and once on a machine that is idle.
    """
    here, collector = machine(), _Collector()
    store = PlanningStore(config.compute.store, listeners=[collector])
    compute = _Machine(config.compute, found_gpus=len(here["gpus"]))
    web_to_model(config, store, compute)
    made = [artifact.record for artifact, _ in collector.found if artifact.exists()]
    rates = None
    if recalibrate or len(made) < len(collector.found):
        rates = calibration(here, tell, recalibrate)
    stages = [_planned(artifact, work, rates, compute) for artifact, work in collector.found]
    stages = _after_ray(stages, rates)
    return Plan(stages, differences(made), list(_assumptions(config, stages, rates)), rates)


def _planned(artifact: Artifact, work: Work, rates: Calibration | None, compute: Compute) -> PlannedStage:
    stage, key = artifact.stage, artifact.key
    if rates is None or artifact.exists():
        return PlannedStage(stage, key, in_store=True)
    return PlannedStage(
        stage,
        key,
        in_store=False,
        bytes=work.get("bytes"),
        tokens=work.get("tokens"),
        flops=work.get("flops"),
        memory_bytes=memory_of(stage, work, rates),
        seconds=seconds_of(stage, work, rates, compute.config.workers or compute.cpus()),
        work=work,
    )


def _after_ray(stages: list[PlannedStage], rates: Calibration | None) -> list[PlannedStage]:
    """Ray starts with the first stage that is made; its seconds count there."""
    first = next((at for at, stage in enumerate(stages) if not stage.in_store), None)
    if first is None or rates is None:
        return stages
    started = replace(stages[first], seconds=(stages[first].seconds or 0) + rates.starts["ray"])
    return [*stages[:first], started, *stages[first + 1 :]]


def _assumptions(config: WebToModel, stages: list[PlannedStage], rates: Calibration | None) -> Iterator[str]:
    made = {stage.stage: stage for stage in stages if not stage.in_store}
    if rates is None or not made:
        return
    crawl = config.crawl
    if "crawl" in made and crawl.names_seeds:
        hosts = len(crawl.allowed_hosts or {urlsplit(seed).hostname for seed in crawl.all_seeds()})
        yield (
            f"crawl: as many pages as the limit allows (crawl.max_pages, {crawl.max_pages:,}), of "
            f"{WEB_PAGE_BYTES:,} bytes each, one every {crawl.delay_seconds:g} s from each of {hosts} hosts; "
            "robots.txt may ask for longer delays"
        )
    if "ingest" in made and config.ingest is not None:
        yield (
            f"ingest: all that the archives hold is a page of {WEB_PAGE_BYTES:,} bytes; one that is fetched "
            f"has {URL_ARCHIVE_BYTES / 1e9:g} GB, and the time that fetching takes is not counted"
        )
    for stage in made.values():
        if seconds := compile_seconds(stage.work, rates):
            yield f"{stage.stage}: {seconds:.0f} s of it compile; torch's cache saves most of that next time"
    if config.compute.ray_address is not None:
        yield f"the cluster at {config.compute.ray_address} is as fast as this machine, which was measured"
    if rates.busy:
        yield (
            f"this machine was measured while it had other work ({rates.found()}), "
            "so that times are too long: add --recalibrate when it is idle"
        )

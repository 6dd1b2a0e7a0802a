"""From the work of a stage to its seconds and its memory, by the rates of a machine.

What trainings take is measured wholly. What the stages around them take was measured on one machine
(2 cores), and is scaled by the piece of text work that a calibration tries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.calibration import Calibration
from pipeline.store import Work

TEXT_SECONDS = 0.34
"""Of the calibration's text work on the machine that TEXT was measured on."""
COMPILED_SHARE = 0.4
"""Of what eager code takes beside its matrix products, what is left of it in compiled code."""
COMPILE_SECONDS, COMPILE_SECONDS_PER_LAYER = 15.0, 4.0
"""Of torch.compile with a cold cache, on that machine."""
TRAINER_STEP_SECONDS = 0.02
"""What TRL's trainer does around each step, on that machine."""
EXCHANGE_SECONDS = 1.2e-9
"""Of a byte that workers on one machine send each other by gloo, on that machine."""
WAITING = "delay_seconds"
"""A quantity that takes a second each on every machine: politeness."""


@dataclass(frozen=True)
class Text:
    """What a stage takes that reads and writes text, where the calibration's text work takes TEXT_SECONDS."""

    start: float
    """Seconds, whatever there is to do: processes, imports."""
    each: Mapping[str, float] = field(default_factory=dict)
    """Quantity → CPU seconds of one of it."""
    spread: bool = True
    """Over all workers; otherwise one process does it."""
    memory_bytes: float = 0.0
    """Of one process, whatever there is to do."""
    memory_each: Mapping[str, float] = field(default_factory=dict)
    """Quantity → bytes of memory in the largest process for one of it."""


TEXT = {
    "site": Text(start=2.0, each={"source_bytes": 1.6e-6, "bytes": 1e-8}, memory_bytes=500e6),
    "crawl": Text(start=2.0, each={"pages": 0.003}, memory_bytes=160e6),
    "ingest": Text(start=3.0, each={"bytes": 15e-9}, memory_bytes=250e6),
    "sources": Text(start=1.0, each={"bytes": 4e-9, "files": 0.002}, memory_bytes=160e6),
    "extract": Text(
        start=1.5,
        each={
            "trafilatura.bytes": 0.5e-6,
            "resiliparse.bytes": 0.07e-6,
            "fast-then-careful.bytes": 0.15e-6,
        },
        memory_bytes=200e6,
    ),
    "classifier": Text(start=3.0, each={"bytes": 0.5e-6}, spread=False, memory_bytes=500e6),
    "clean": Text(start=1.5, each={"kept-bytes": 0.55e-6, "private-bytes": 0.11e-6}, memory_bytes=350e6),
    "hold-out": Text(start=0.2, each={"bytes": 0.07e-6}, spread=False, memory_bytes=350e6),
    "start": Text(start=2.0, each={"bytes": 2e-9}, spread=False, memory_bytes=350e6),
    "vocabulary": Text(
        start=2.5, each={"bytes": 0.2e-6, "unigram.bytes": 0.7e-6}, spread=False, memory_bytes=700e6
    ),
    "tokens": Text(start=0.4, each={"bytes": 0.15e-6}, memory_bytes=350e6),
    "card": Text(start=2.0, each={"bytes": 0.25e-6}, memory_bytes=350e6),
    "conversations": Text(start=2.0, each={"bytes": 0.1e-6}, memory_bytes=350e6),
    "pretrain": Text(start=0.0, each={"exchanged_bytes": EXCHANGE_SECONDS}, spread=False),
    "sweep": Text(start=8.0, each={"trials": 1.5}, spread=False, memory_bytes=600e6),
    "finetune": Text(start=0.0, each={"steps": TRAINER_STEP_SECONDS}, spread=False),
    "answers": Text(start=6.0, each={}, memory_bytes=650e6),
    "preferences": Text(start=3.0, each={"answers": 1e-3}, memory_bytes=350e6),
    "reward": Text(start=0.0, each={"steps": TRAINER_STEP_SECONDS}, spread=False),
    "dpo": Text(start=0.0, each={"steps": TRAINER_STEP_SECONDS}, spread=False),
    "grpo": Text(start=0.0, each={"steps": TRAINER_STEP_SECONDS}, spread=False),
    "rloo": Text(start=0.0, each={"steps": TRAINER_STEP_SECONDS}, spread=False),
    "ppo": Text(start=0.0, each={"steps": TRAINER_STEP_SECONDS}, spread=False),
    "assess": Text(start=10.0, each={"questions": 0.05, "bytes": 1e-6}, memory_bytes=650e6),
    "compare": Text(start=3.0, each={"judged": 1e-3}, memory_bytes=450e6),
    "evaluate": Text(start=8.0, each={"questions": 0.05, "bytes": 1e-6}, memory_bytes=650e6),
}


def seconds_of(stage: str, work: Work, rates: Calibration, workers: int) -> float:
    """How long the stage takes, Ray's own start not counted."""
    text = TEXT[stage]
    slower = rates.text_seconds / TEXT_SECONDS
    busy = sum(work.get(quantity, 0) * each for quantity, each in text.each.items())
    alone = (text.start + busy / (workers if text.spread else 1)) * slower + work.get(WAITING, 0)
    training = training_seconds(rates)
    computed = sum(amount * training.get(quantity, 0) for quantity, amount in work.items())
    if stage not in rates.memory_bytes:
        return alone + computed / (workers if text.spread else 1)
    return alone + computed + rates.starts["worker"] + rates.starts[stage] + compile_seconds(work, rates)


def compile_seconds(work: Work, rates: Calibration) -> float:
    """Of torch.compile, with nothing in its cache."""
    layers = work.get("compiled_layers", 0)
    cold = COMPILE_SECONDS + COMPILE_SECONDS_PER_LAYER * layers if layers else 0
    return cold * rates.text_seconds / TEXT_SECONDS


def training_seconds(rates: Calibration) -> dict[str, float]:
    """Quantity of pipeline.models.cost → seconds of one. What compiled code takes follows from eager code
    where it is not known."""
    compiled = {
        quantity.replace("eager.", "compiled."): each * (1 if quantity.endswith(".flops") else COMPILED_SHARE)
        for quantity, each in rates.seconds.items()
        if quantity.startswith("eager.")
    }
    return compiled | rates.seconds


def memory_of(stage: str, work: Work, rates: Calibration) -> float:
    """Bytes that a process of the stage has at most; of a training on a GPU, those on the GPU too."""
    text = TEXT[stage]
    data = sum(work.get(quantity, 0) * each for quantity, each in text.memory_each.items())
    return rates.memory_bytes.get(stage, 0) + text.memory_bytes + data + work.get("memory_bytes", 0)

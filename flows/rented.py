"""Machines that are not this one: what a plan takes a rented one to be able to, and what it costs.

A peak is the maker's for dense bf16 products. What share of it a training uses grows with the model, and is
taken from what others published for eight GPUs of one machine. Prices are an assumption: set your own.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from flows.calibration import Calibration
from flows.rates import TEXT_SECONDS
from pipeline.errors import InputError
from pipeline.store import Work
from pipeline.training.resolve import FP8_CAPABILITY, DeviceLacksError

NAME = re.compile(r"(?:([1-9][0-9]*)x)?([a-z0-9-]+)")


class UnknownMachineError(InputError):
    """A plan was asked for a machine that is not in the table."""

    remedy = "Write a number and a GPU that the message lists, such as `--machine 8xh100`."


@dataclass(frozen=True)
class Gpu:
    """One of its kind."""

    peak_flops: float
    """Dense bf16 products, FLOP/s, by the maker's data sheet."""
    memory_bytes: float
    dollars_per_hour: float
    """Of one GPU with its share of the machine, on demand: a guess from offers of 2025."""
    cpus: int
    """That come with one GPU."""
    capability: tuple[int, int]
    """NVIDIA's compute capability."""


GPUS = {
    "rtx4090": Gpu(165e12, 24e9, 0.5, 12, (8, 9)),
    "l40s": Gpu(362e12, 48e9, 1.0, 12, (8, 9)),
    "a100": Gpu(312e12, 80e9, 1.7, 24, (8, 0)),
    "h100": Gpu(989e12, 80e9, 3.0, 24, (9, 0)),
    "h200": Gpu(989e12, 141e9, 3.6, 24, (9, 0)),
    "b200": Gpu(2250e12, 180e9, 5.5, 24, (10, 0)),
}

UTILISATION = ((0.0, 0.30), (3e8, 0.35), (1e9, 0.40), (5e9, 0.45))
"""From so many weights on, the share of the peak that a training with compiled code uses. llm-foundry on
8 H100 with rows of 2,048: 760M 34.9 %, 1.3B 41.8 %, 7B 46.4 %; llm.c: 124M about 40 %."""
EAGER_SHARE = 0.5
"""Of that, what code that is not compiled reaches: fine-tuning."""
CPU_FLOPS = 0.1e12
"""Products in fp32 of one CPU core, which evaluations compute on: 0.2e12 FLOP/s were measured on two."""
GENERATED_LAYER_SECONDS = 1e-3
"""For a layer, each time that a token is written."""
STARTS = {"ray": 15.0, "worker": 20.0, "pretrain": 15.0, "finetune": 15.0}
WORKER_BYTES = {"pretrain": 0, "finetune": 2_000_000_000}
"""That a training worker has of its GPU before it has a model, for the driver's context and torch's kernels;
of pretraining they are counted among what its steps take (pipeline.models.cost.GPU_EAGER)."""
ON_GPUS = ("pretrain", "finetune")
"""Stages that use GPUs; all others use the CPUs beside them, or a cheaper machine."""


@dataclass(frozen=True)
class Rented:
    """A machine of `count` equal GPUs."""

    name: str
    gpu: Gpu
    count: int
    dollars_per_hour: float
    """Of one GPU."""

    @property
    def cpus(self) -> int:
        return self.count * self.gpu.cpus

    def refuse_what_lacks(self, precision: str) -> None:
        """Raises DeviceLacksError if the GPU has no products in this precision."""
        if precision == "fp8" and self.gpu.capability < FP8_CAPABILITY:
            has, needs = (".".join(map(str, version)) for version in (self.gpu.capability, FP8_CAPABILITY))
            raise DeviceLacksError(
                f"pretrain.precision is fp8, but a GPU of {self.name} has compute capability {has}, and fp8 "
                f"needs {needs}; try bf16"
            )

    def rates(self, stage: str, work: Work) -> Calibration:
        """What the machine would be measured to be able to, for this stage."""
        seconds = self._on_cpus()
        if stage in ON_GPUS:
            seconds = self._on_gpus(_weights(work))
        return Calibration(
            machine={"name": self.name, "cpus": self.cpus, "gpus": [self.name] * self.count},
            made="assumed",
            load=0.0,
            text_seconds=TEXT_SECONDS,
            device="cuda",
            seconds=seconds,
            starts=STARTS,
            memory_bytes=WORKER_BYTES,
        )

    def _on_gpus(self, weights: float) -> dict[str, float]:
        """The published shares are of whole steps, so that nothing is left for what is no matrix product."""
        used = self.gpu.peak_flops * utilisation(weights)
        eager, compiled = 1 / (used * EAGER_SHARE), 1 / used
        return {
            "eager.bf16.flops": eager,
            "eager.fp32.flops": 8 * eager,
            "compiled.bf16.flops": compiled,
            "compiled.fp32.flops": 8 * compiled,
            "generated.layers": GENERATED_LAYER_SECONDS,
        }

    def _on_cpus(self) -> dict[str, float]:
        return {"eager.fp32.flops": 1 / CPU_FLOPS, "generated.layers": GENERATED_LAYER_SECONDS}

    def assumptions(self, work: Mapping[str, float]) -> str:
        """In words, what is taken for granted of the machine for this pretraining."""
        share = utilisation(_weights(work))
        return (
            f"{self.name}: {self.gpu.peak_flops / 1e12:,.0f} TFLOP/s each at most, of which {share:.0%} are "
            f"used (published for models of this size); {self.cpus} CPUs; ${self.dollars_per_hour:.2f} for "
            "an hour of one GPU (--price sets your own)"
        )


def rented(name: str, dollars_per_hour: float | None = None) -> Rented:
    """The machine that is written so: `8xh100`, or `h100` for one. Raises UnknownMachineError."""
    match = NAME.fullmatch(name.strip().lower())
    kind = match[2] if match else name
    if match is None or kind not in GPUS:
        near = difflib.get_close_matches(kind, GPUS, n=1)
        raise UnknownMachineError(
            f"--machine {name}: there is no GPU {kind!r} in the table"
            + (f"; did you mean {near[0]}?" if near else "")
            + f"; it has {', '.join(GPUS)}, written such as 8xh100"
        )
    count = int(match[1] or 1)
    price = GPUS[kind].dollars_per_hour if dollars_per_hour is None else dollars_per_hour
    return Rented(f"{count}x{kind}", GPUS[kind], count, price)


def utilisation(weights: float) -> float:
    """Of the peak, for a model of so many weights."""
    return max(share for least, share in UTILISATION if weights >= least)


def _weights(work: Mapping[str, float]) -> float:
    """Of the model that is trained; by the operations where the stage does not count them."""
    if "parameters" in work:
        return work["parameters"]
    return work.get("flops", 0.0) / (6 * work["tokens"]) if work.get("tokens") else 0.0

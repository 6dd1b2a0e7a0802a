"""What is chosen automatically, once per attempt: device, threads, micro-batch, compile.

It is written into the first checkpoint and kept on resume, so that a run that was killed goes on
in the very same arithmetic. What the user sets by hand counts always.
"""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import hardware
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.errors import InputError
from pipeline.models.cost import Checkpointing, Division
from pipeline.models.families import FAMILIES, FamilyName
from pipeline.training.fit import Demand, Options, Trained, check_division, check_heads, choose, divisors

MICRO_BATCH_TOKENS = {"cpu": 8192, "cuda": 65_536}
"""At most, however much memory there is: with more no device is busier."""
LOGITS_BYTES = 2 << 30
"""Where memory is not counted: for scores, their gradient and the loss of a micro-batch, at 4 bytes each,
four times over."""
FP8_CAPABILITY = (8, 9)
"""Compute capability of the first GPUs with products in 8 bits, NVIDIA's Ada; Hopper is 9.0."""
COMPILE_REPAID_FLOPS_CPU = 2e13
"""A cold compile takes 15 to 30 s; on 2 cores eager mode did 0.17e12 FLOP/s and compiled code
0.23e12, so that it is repaid from about 1.5e13 on."""

LAYOUT = ("workers", "shards", "tensor_parallel", "micro_batch_rows", "recomputed_layers", "offloaded")
"""What a plan tells of how a training is divided; the last is 1 or 0."""


class DeviceLacksError(InputError):
    """A way to compute was asked for by name that this device, or what is installed here, does not have."""

    remedy = "Leave out the setting that the message names, or train where there is such a device."


class FamilyLacksError(InputError):
    """A way to compute was asked for by name that trainings of this family do not have."""

    remedy = "Leave out the setting that the message names, or take a family that continues text."


@dataclass(frozen=True)
class Resolved:
    """How this attempt computes. Equal values on equal machines give equal bits."""

    device: str
    """Kind of device: cpu or cuda."""
    workers: int
    threads: int
    """CPU threads per worker."""
    micro_batch_rows: int
    """Rows per forward pass and worker; all have this shape."""
    compile: bool
    products: str = "bf16"
    """What matrix products are computed in: `bf16` or `fp32`."""
    attention: str = "dense"
    """How documents are kept apart: by a `dense` mask or by `flex`, FlexAttention's blocks."""
    fused_loss: bool = False
    """Scores and loss by Liger's kernel."""
    shards: int = 1
    tensor_parallel: int = 1
    activation_checkpointing: Checkpointing = "none"
    offload_optimizer: bool = False

    @property
    def division(self) -> Division:
        return Division(
            self.workers,
            self.shards,
            self.tensor_parallel,
            self.activation_checkpointing,
            self.offload_optimizer,
        )

    @property
    def share(self) -> float:
        """Of a step's tokens, those that one worker at full speed is busy with: workers with a GPU each
        divide them, workers on CPUs divide the machine."""
        return 1 / self.workers if self.device == "cuda" else 1.0

    def layout(self, depth: int) -> dict[str, float]:
        """How a model of so many layers lies on the workers, in numbers by the names of LAYOUT."""
        again = {"none": 0, "every-second": (depth + 1) // 2, "all": depth}
        return dict(
            zip(
                LAYOUT,
                (
                    self.workers,
                    self.shards,
                    self.tensor_parallel,
                    self.micro_batch_rows,
                    again[self.activation_checkpointing],
                    float(self.offload_optimizer),
                ),
                strict=True,
            )
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def resolve(
    given: ComputeConfig,
    kept: Mapping[str, Any] | None,
    *,
    device: str,
    workers: int,
    batch_rows: int,
    row_tokens: int,
    vocabulary_size: int,
    flops: float,
    products: str,
    trained: Trained | None = None,
) -> Resolved:
    """What the user gave, else what the checkpoint kept (if on the same kind of device), else a choice.

    Only of what is `trained` here is known how it can be divided and what it needs; the rest stays whole.
    How it was divided is kept on as many workers; on others it is chosen again. Raises LayoutError,
    DoesNotFitError.
    """
    before = kept if kept and kept.get("device") == device else {}
    same_size = before.get("workers") == workers
    threads = given.threads or (before.get("threads") if same_size else None) or _threads(workers)
    compiled = given.compile if given.compile is not None else before.get("compile")
    data_size = max(1, workers // given.tensor_parallel) if trained else workers
    rows_each = -(-batch_rows // data_size)
    counted = trained is not None and given.worker_memory_gb is not None
    rows = _micro_batches(device, rows_each, row_tokens, vocabulary_size, counted)
    micro = given.micro_batch_rows or before.get("micro_batch_rows") or rows[0]
    on_gpu, family = device == "cuda", FAMILIES[trained.family if trained else "llama"]
    for_decoders = on_gpu and family.is_decoder
    can_fuse = for_decoders and fused_loss_is_installed() and before.get("fused_loss", True)
    whole = Resolved(
        device=device,
        workers=workers,
        threads=int(threads),
        micro_batch_rows=min(rows_each, int(micro)),
        compile=not family.is_recurrent and (_repays(device, flops) if compiled is None else bool(compiled)),
        products=products,
        attention=given.attention or before.get("attention") or ("flex" if for_decoders else "dense"),
        fused_loss=bool(can_fuse if given.fused_loss is None else given.fused_loss),
    )
    if trained is None:
        return whole
    memory_gb = None if same_size else given.worker_memory_gb  # what ran before fits
    how = (device, whole.compile, products)
    demand = Demand(trained, vocabulary_size, row_tokens, *how, memory_gb, bool(before))
    return _divided(whole, given, before if same_size else {}, demand, rows, batch_rows)


def _divided(
    whole: Resolved,
    given: ComputeConfig,
    before: Mapping[str, Any],
    demand: Demand,
    rows: Sequence[int],
    batch_rows: int,
) -> Resolved:
    """With how the training is divided among its workers: as asked for, as before, or chosen."""
    tensor_parallel, shape = given.tensor_parallel, demand.trained.shape
    data_size = max(1, whole.workers // tensor_parallel)
    shards = data_size if given.shards == "all" else given.shards
    check_division(Division(whole.workers, shards or 1, tensor_parallel))
    if tensor_parallel > 1:
        check_heads(tensor_parallel, shape.key_value_heads, shape.mlp_width)
    chosen: dict[str, Any] = {
        "micro_batch_rows": whole.micro_batch_rows if given.micro_batch_rows or before else None,
        "activation_checkpointing": given.activation_checkpointing or before.get("activation_checkpointing"),
        "shards": shards or (before.get("shards") if data_size % before.get("shards", 1) == 0 else None),
        "offload_optimizer": before.get("offload_optimizer")
        if given.offload_optimizer is None
        else given.offload_optimizer,
    }
    is_decoder = FAMILIES[demand.trained.family].is_decoder
    free = Options(
        micro_batch_rows=tuple(dict.fromkeys([whole.micro_batch_rows, *rows])),
        activation_checkpointing=("none", "every-second", "all") if is_decoder else ("none",),
        shards=tuple(divisors(data_size)) if is_decoder else (1,),
        offload_optimizer=(False,) if demand.device == "cpu" else (False, True),
    )
    asked = replace(free, **{name: (value,) for name, value in chosen.items() if value is not None})
    choice = choose(demand, asked, free, whole.workers, tensor_parallel, batch_rows)
    return replace(
        whole,
        micro_batch_rows=choice.micro_batch_rows,
        shards=choice.division.shards,
        tensor_parallel=tensor_parallel,
        activation_checkpointing=choice.division.activation_checkpointing,
        offload_optimizer=choice.division.offload_optimizer,
    )


def refuse_what_lacks(given: ComputeConfig, precision: str, device: str) -> None:
    """Raises DeviceLacksError if something was asked for by name that trainings on this device cannot do."""
    if device == "cuda":
        return
    if precision == "fp8":
        raise DeviceLacksError(
            "pretrain.precision is fp8, but trainings run on a CPU here, and it needs a GPU; try bf16"
        )
    if given.attention == "flex":
        raise DeviceLacksError(
            "compute.attention is flex, but trainings run on a CPU here, and there torch has no "
            "backward pass of FlexAttention; leave compute.attention out"
        )
    if given.fused_loss:
        raise DeviceLacksError(
            "compute.fused_loss is true, but trainings run on a CPU here, and Liger's kernels need a GPU; "
            "leave compute.fused_loss out"
        )


def refuse_what_is_for_decoders(given: ComputeConfig, name: FamilyName) -> None:
    """Raises FamilyLacksError if something was asked for by name that was made for transformers that continue
    text alone, and the family is none."""
    family = FAMILIES[name]
    if family.is_decoder:
        return
    asked = {
        "shards": given.shards not in (None, 1),
        "tensor_parallel": given.tensor_parallel > 1,
        "activation_checkpointing": given.activation_checkpointing not in (None, "none"),
        "attention": given.attention == "flex",
        "fused_loss": bool(given.fused_loss),
        "compile": bool(given.compile) and family.is_recurrent,
    }
    vain = [f"compute.{setting}" for setting, is_asked in asked.items() if is_asked]
    if vain:
        raise FamilyLacksError(
            f"{', '.join(vain)} is set, and pretrain.family is {name}, for which it was not made: every "
            "worker has a whole copy of the model; leave it out, or take llama"
        )


def refuse_what_is_not_installed(given: ComputeConfig) -> None:
    """Raises DeviceLacksError if something was asked for by name whose package is not here."""
    if given.fused_loss and not fused_loss_is_installed():
        raise DeviceLacksError(
            "compute.fused_loss is true, but liger-kernel is not installed; pip install 'moinho[gpu]', or "
            "leave compute.fused_loss out"
        )


def foreseen(
    compute: Compute,
    stage: str,
    *,
    batch_rows: int,
    row_tokens: int,
    vocabulary_size: int,
    flops: float,
    precision: str,
    trained: Trained | None = None,
) -> Resolved:
    """What the training of a stage will choose from its first step on, as far as can be told before that.

    Raises LayoutError, DoesNotFitError.
    """
    device = compute.device(stage)
    return resolve(
        compute.config.model_copy(update={"worker_memory_gb": compute.worker_memory_gb(stage)}),
        None,
        device=device,
        workers=compute.training_workers(stage),
        batch_rows=batch_rows,
        row_tokens=row_tokens,
        vocabulary_size=vocabulary_size,
        flops=flops,
        products=hardware.products(precision, device),
        trained=trained,
    )


def _micro_batches(
    device: str, rows_each: int, row_tokens: int, vocabulary_size: int, counted: bool
) -> tuple[int, ...]:
    """Rows of a micro-batch, the largest first, each in equal parts: 12 rows of which 8 fit are
    two times 6. Where all memory is `counted`, that of scores needs no bound of its own on a GPU."""
    most = MICRO_BATCH_TOKENS[device] // row_tokens
    if device == "cpu" or not counted:
        most = min(most, LOGITS_BYTES // (16 * vocabulary_size * row_tokens))
    fewest = -(-rows_each // max(1, most))
    return tuple(dict.fromkeys(-(-rows_each // parts) for parts in range(fewest, rows_each + 1)))


def _threads(workers: int) -> int:
    """This machine's CPUs shared among the workers."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


def _repays(device: str, flops: float) -> bool:
    if device != "cpu":
        return True
    return flops >= COMPILE_REPAID_FLOPS_CPU and has_compiler()


def fused_loss_is_installed() -> bool:
    return importlib.util.find_spec("liger_kernel") is not None


def has_compiler() -> bool:
    """torch.compile on a CPU needs g++ and Python's headers."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return bool(shutil.which(os.environ.get("CXX", "g++"))) and header.exists()

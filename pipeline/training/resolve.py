"""What is chosen automatically, once per attempt: device, threads, micro-batch, compile.

It is written into the first checkpoint and kept on resume, so that a run that was killed goes on
in the very same arithmetic. What the user sets by hand counts always.
"""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.compute import Compute, ComputeConfig
from pipeline.errors import StageError

MICRO_BATCH_TOKENS_CPU = 8192
LOGITS_BYTES = 2 << 30
"""Memory for scores, their gradient and the loss of a micro-batch, at 4 bytes each, four times over."""
COMPILE_REPAID_FLOPS_CPU = 2e13
"""A cold compile takes 15 to 30 s; on 2 cores eager mode did 0.17e12 FLOP/s and compiled code
0.23e12, so that it is repaid from about 1.5e13 on."""


class DeviceLacksError(StageError):
    """A way to compute was asked for by name that this device, or what is installed here, does not have."""

    passes = False
    remedy = "Leave out the setting that the message names, or train where there is such a device."


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
    attention: str = "dense"
    """How documents are kept apart: by a `dense` mask or by `flex`, FlexAttention's blocks."""
    fused_loss: bool = False
    """Scores and loss by Liger's kernel."""

    @property
    def share(self) -> float:
        """Of a step's tokens, those that one worker at full speed is busy with: workers with a GPU each
        divide them, workers on CPUs divide the machine."""
        return 1 / self.workers if self.device == "cuda" else 1.0

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
) -> Resolved:
    """What the user gave, else what the checkpoint kept (if on the same kind of device), else a choice."""
    before = kept if kept and kept.get("device") == device else {}
    rows_each = -(-batch_rows // workers)
    micro = given.micro_batch_rows or before.get("micro_batch_rows")
    chosen = _micro_batch_rows(device, rows_each, row_tokens, vocabulary_size)
    same_size = before.get("workers") == workers
    threads = given.threads or (before.get("threads") if same_size else None) or _threads(workers)
    compiled = given.compile if given.compile is not None else before.get("compile")
    on_gpu = device == "cuda"
    can_fuse = on_gpu and fused_loss_is_installed() and before.get("fused_loss", True)
    return Resolved(
        device=device,
        workers=workers,
        threads=int(threads),
        micro_batch_rows=min(rows_each, int(micro or chosen)),
        compile=_repays(device, flops) if compiled is None else bool(compiled),
        attention=given.attention or before.get("attention") or ("flex" if on_gpu else "dense"),
        fused_loss=bool(can_fuse if given.fused_loss is None else given.fused_loss),
    )


def refuse_what_lacks(given: ComputeConfig, device: str) -> None:
    """Raises DeviceLacksError if something was asked for by name that trainings on this device cannot do."""
    if given.attention == "flex" and device != "cuda":
        raise DeviceLacksError(
            "compute.attention is flex, but trainings run on a CPU here, and there torch has no "
            "backward pass of FlexAttention; leave compute.attention out"
        )
    if given.fused_loss and device != "cuda":
        raise DeviceLacksError(
            "compute.fused_loss is true, but trainings run on a CPU here, and Liger's kernels need a GPU; "
            "leave compute.fused_loss out"
        )
    if given.fused_loss and not fused_loss_is_installed():
        raise DeviceLacksError(
            "compute.fused_loss is true, but liger-kernel is not installed; pip install 'moinho[gpu]', or "
            "leave compute.fused_loss out"
        )


def foreseen(
    compute: Compute, *, batch_rows: int, row_tokens: int, vocabulary_size: int, flops: float
) -> Resolved:
    """What a training from its first step on will choose, as far as can be told before it starts."""
    return resolve(
        compute.config,
        None,
        device="cuda" if compute.gpus() else "cpu",
        workers=compute.training_workers(),
        batch_rows=batch_rows,
        row_tokens=row_tokens,
        vocabulary_size=vocabulary_size,
        flops=flops,
    )


def _micro_batch_rows(device: str, rows_each: int, row_tokens: int, vocabulary_size: int) -> int:
    """As many rows as fit, in equal parts: 12 rows of which 8 fit are two times 6."""
    fit = LOGITS_BYTES // (16 * vocabulary_size * row_tokens)
    if device == "cpu":
        fit = min(fit, MICRO_BATCH_TOKENS_CPU // row_tokens)
    parts = -(-rows_each // max(1, fit))
    return -(-rows_each // parts)


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

"""Where a training's time goes: some steps of it under torch's profiler, in real training workers."""

import gzip
import json
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.pretrain import Job
from pipeline.training.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    from pipeline.training.loop import Loop
    from pipeline.training.worker import Data

PROFILE, TRACE = "profile.json", "trace.json.gz"
WARM_UP_STEPS = 3
SYNTHETIC_BATCHES = 4
OPERATIONS_KEPT = 25

KINDS = {
    "attention": r"flex_attention|scaled_dot_product|flash|fmha|attention",
    "communication": r"nccl|gloo|c10d|all_?reduce|all_?gather|reduce_scatter|broadcast",
    "optimizer": r"adam|multi_tensor_apply|_foreach|baddbmm|lerp",
    "loss": r"cross_entropy|nll_loss|log_softmax|liger",
    "matrix products": r"gemm|cutlass|cublas|nvjet|(?<![a-z])(add|scaled_)?mm(?![a-z])|bmm|matmul|linear"
    r"|mkldnn",
    "compiled code": r"triton_|cpp_fused|graph_\d|compiledfunction|torch-compiled|inductor",
    "copies": r"memcpy|memset|copy_|_to_copy|aten::to\b|aten::cat|aten::fill_|zero_|clone|contiguous",
}
"""Kind of work → what the names of its kernels and operations have; the first that fits counts."""
OTHER = "other"


@dataclass(frozen=True)
class ProfileJob:
    """All that a worker has to know."""

    attempt: Attempt
    config: PretrainConfig
    compute: ComputeConfig
    steps: int
    """So many are timed, then as many profiled."""
    rows_of: tuple[Tokens, Vocabulary] | None
    """Rows of the store; None for noise."""
    pieces: int
    row_tokens: int


@dataclass(frozen=True)
class Operation:
    """A kernel, or on a CPU an operation, in all profiled steps together."""

    name: str
    kind: str
    seconds: float
    """By itself, without what it calls; on a CPU of one thread."""
    calls: int


@dataclass(frozen=True)
class Profile:
    """Where the time of a step goes, on rank 0."""

    device: str
    workers: int
    steps: int
    rows: str
    """What was trained on."""
    resolved: dict[str, Any]
    parameters: int
    compile_seconds: float
    figures: dict[str, float]
    """As a training tells them, of steps without the profiler: tokens per second, MFU, memory, and seconds
    of a step by part."""
    operations: list[Operation]
    """Those that take most, of the profiled steps."""
    kinds: dict[str, float]
    """Kind of work → share of all operations' time."""
    operations_seconds: float
    """Of all operations in a step, under the profiler and over all threads: more than a step takes."""


def profile_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in every worker; rank 0 leaves the trace and PROFILE."""
    import tempfile

    import ray.train
    import ray.train.torch

    from pipeline.training.group import Group

    job: ProfileJob = settings["job"]
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    with tempfile.TemporaryDirectory(prefix="moinho-profile-") as folder:
        data, rows = _data(job, Path(folder))
        profile_here(job, data, rows, group)


def profile_here(job: ProfileJob, data: "Data", rows: str, group: Any) -> None:
    """Time and profile as one of the group; rank 0 publishes what was found."""
    from pipeline.models.families import parameters
    from pipeline.training.checkpoint import Checkpoints
    from pipeline.training.worker import assemble

    journal = job.attempt.journal(f"profile-{group.rank}")
    start = time.monotonic()
    checkpoints = Checkpoints(job.attempt, "profile")
    loop = assemble(job.config, job.compute, checkpoints, None, data, group, journal)
    assembled = time.monotonic() - start
    trace = job.attempt.path(f"trace-{group.rank}.json")
    with loop.loader:
        loop.train_steps(WARM_UP_STEPS)
        loop.begin_figures()
        loop.train_steps(job.steps)
        figures = loop.speed()
        operations = _profiled(loop, job.steps, trace)
    if group.is_first:
        found = Profile(
            device=device_name(group.device),
            workers=group.size,
            steps=job.steps,
            rows=rows,
            resolved=loop.resolved.as_dict(),
            parameters=parameters(job.config.shape(), job.pieces),
            compile_seconds=assembled,
            figures=figures,
            operations=operations[:OPERATIONS_KEPT],
            kinds=shares(operations),
            operations_seconds=sum(operation.seconds for operation in operations) / job.steps,
        )
        _publish(job.attempt, found, trace)
    group.everywhere(True)  # nobody leaves before that


def _data(job: ProfileJob, folder: Path) -> tuple["Data", str]:
    from pipeline.training.synthetic import synthetic_data
    from pipeline.training.worker import Data

    if job.rows_of is not None:
        tokens, vocabulary = job.rows_of
        return Data.of(Job(job.attempt, tokens, vocabulary, job.config, job.compute)), f"tokens/{tokens.key}"
    rows = SYNTHETIC_BATCHES * job.config.recipe().batch_tokens // job.row_tokens
    data = synthetic_data(folder, pieces=job.pieces, row_tokens=job.row_tokens, rows=rows)
    return data, "noise: one document in each row"


def _profiled(loop: "Loop", count: int, trace: Path) -> list[Operation]:
    """The operations of so many more steps, those first that take most."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = loop.group.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=activities) as profiler:
        loop.train_steps(count)
        if on_gpu:
            torch.cuda.synchronize()
    profiler.export_chrome_trace(str(trace))
    found = []
    for event in profiler.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if microseconds > 0 and not event.is_user_annotation:
            found.append(Operation(event.key, kind_of(event.key), microseconds / 1e6, int(event.count)))
    return sorted(found, key=lambda operation: -operation.seconds)


def kind_of(name: str) -> str:
    """Of a kernel or an operation, what sort of work it is."""
    for kind, pattern in KINDS.items():
        if re.search(pattern, name, re.IGNORECASE):
            return kind
    return OTHER


def shares(operations: Iterable[Operation]) -> dict[str, float]:
    """Kind of work → its share of the operations' time, the largest first."""
    seconds: dict[str, float] = defaultdict(float)
    for operation in operations:
        seconds[operation.kind] += operation.seconds
    whole = sum(seconds.values())
    return {kind: spent / whole for kind, spent in sorted(seconds.items(), key=lambda each: -each[1])}


def device_name(device: Any) -> str:
    """`cpu`, or what the GPU's driver calls it."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _publish(attempt: Attempt, found: Profile, trace: Path) -> None:
    packed = attempt.path(TRACE)
    with trace.open("rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    attempt.publish(packed)
    attempt.storage.create(f"{attempt.folder}/{PROFILE}", json.dumps(asdict(found)).encode())


def read(attempt: Attempt) -> Profile:
    """What the workers left."""
    found = json.loads(attempt.storage.read(f"{attempt.folder}/{PROFILE}"))
    operations = [Operation(**each) for each in found.pop("operations")]
    return Profile(**found, operations=operations)

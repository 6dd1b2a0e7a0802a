"""The section [compute]: where and with how much. No field of it is part of any key."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config import Config


class StageResources(Config):
    """What a stage asks the cluster for: each of its tasks, or each of its training workers."""

    cpus: float | None = Field(default=None, gt=0)
    """Default: 1 for a task; a training worker has its share of the machine."""
    gpus: float | None = Field(default=None, ge=0)
    """Default: 1 for each training worker and each task that computes with a model, where the cluster has
    GPUs."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Of a machine's memory, in GB (1e9 bytes): a node takes only as many as it has so much for."""
    accelerator: str | None = None
    """Kind of GPU, by Ray's names, such as A100 or H100."""
    workers: int | str | None = None
    """In place of compute.training_workers, of a stage that trains; of others in place of compute.workers."""

    @field_validator("workers")
    @classmethod
    def workers_are_a_number_or_a_range(cls, workers: int | str | None) -> int | str | None:
        return _one_number(workers)


class ComputeConfig(Config):
    """Where and with how much. No field of this section is part of any key."""

    store: str = "store"
    """Folder or object store (such as s3://bucket/prefix) that artifacts are kept in."""
    ray_address: str | None = None
    """Address of a Ray cluster to join; without one a local cluster is started and stopped again."""
    workers: int | None = Field(default=None, ge=1)
    """Tasks that run at once. Default: one per CPU of the cluster."""
    stages: dict[str, StageResources] = Field(default_factory=dict)
    """Stage → what it asks for, such as [compute.stages.pretrain] with gpus = 1 and accelerator = "H100"."""
    overlap: bool | None = None
    """Make stages side by side that do not hang on each other. Default: on a cluster that is joined."""
    autoscaling: bool = False
    """The cluster starts nodes when they are asked for: what has no room now is waited for, not refused."""
    crawl_processes: int | None = Field(default=None, ge=1, le=256)
    """Processes that crawl at once, each its own domains. Default: one per CPU of the cluster, at most four
    and no more than the seeds have domains; the site that moinho serves to itself needs one."""
    crawl_round_seconds: float = Field(default=300.0, gt=0)
    """A round of a crawl at most: then processes hand over what they found for each other. The first ones
    are shorter."""
    lost_shards: int = Field(default=0, ge=0)
    """Shards that a stage may set aside before it fails."""
    damaged_records: int = Field(default=0, ge=0)
    """Places in ingested archives that may be unreadable before the stage fails."""
    training_workers: int | str | None = None
    """Processes that train together; a range such as "2-8": as many as there is room for, also when it goes
    on after a failure. Default: one per GPU of the cluster, or one without GPUs."""
    training_restarts: int = Field(default=3, ge=0)
    """How often a training whose worker died goes on from its last checkpoint."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Time between checkpoints of a training: what a kill can cost at most. 0: one after every step."""
    process_group_timeout_seconds: int = Field(default=600, ge=1)
    """After this long without an answer from another rank, a worker counts as dead."""
    function_timeout_seconds: float = Field(default=60.0, gt=0)
    """A function of the user's (a rule, a reward, a judge) has so long for a batch of answers."""
    micro_batch_rows: int | None = Field(default=None, ge=1)
    """Rows per forward pass and worker. Default: chosen by memory and model size."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads per training worker. Default: all CPUs, shared among the workers."""
    compile: bool | None = None
    """Use torch.compile. Default: where a C++ compiler is there and the run is long enough to repay it."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Of the newest checkpoints of a training, so many are kept."""
    keep_best_checkpoints: int = Field(default=1, ge=0)
    """Beside them so many of those with the lowest held-out loss."""
    keep_every_steps: int | None = Field(default=None, ge=1)
    """Beside them all at a multiple of so many steps, where one is made whatever the clock says."""

    shards: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    """Parts that a training cuts weights, gradients and optimizer into: 1 keeps all of them on every worker,
    "all" makes as many as there are workers, a number in between keeps each part several times. Default: as
    few as fit into memory."""
    tensor_parallel: int = Field(default=1, ge=1)
    """Workers that share each matrix product of a training; more than one pays within a machine at most."""
    activation_checkpointing: Literal["none", "every-second", "all"] | None = None
    """Layers whose inner values are computed again for the backward pass, not kept. Default: as few as fit
    into memory."""
    offload_optimizer: bool | None = None
    """Keep the optimizer's state in the machine's memory, not in the GPU's. Default: where nothing else
    fits."""
    worker_memory_gb: float | None = Field(default=None, gt=0)
    """Memory of each training worker, in GB (1e9 bytes): of its GPU, or its share of a machine. Default: as
    found on the cluster."""

    attention: Literal["dense", "flex"] | None = None
    """How attention stops at a document's end: by a mask over all pairs, or by FlexAttention's blocks, of
    which empty ones are left out (on GPUs alone). Default: flex on GPUs."""
    fused_loss: bool | None = None
    """Use Liger's fused scores and loss, which need far less memory (on GPUs alone). Default: where
    liger-kernel is installed."""
    peak_flops: float | None = Field(default=None, gt=0)
    """bf16 FLOP/s that one device could do at most, for MFU. Default: from a table for known GPUs, otherwise
    no MFU is told."""
    hosts: dict[str, str] = Field(default_factory=dict)
    """Host name → address:port that the crawler connects to in its place, such as a mirror."""
    mlflow: str | None = None
    """MLflow tracking URI. Default: $MLFLOW_TRACKING_URI, else an SQLite database in the store."""

    @property
    def overlaps(self) -> bool:
        """Whether stages are made side by side."""
        return self.ray_address is not None if self.overlap is None else self.overlap

    @field_validator("training_workers")
    @classmethod
    def training_workers_are_a_number_or_a_range(cls, workers: int | str | None) -> int | str | None:
        return _one_number(workers)

    @field_validator("hosts")
    @classmethod
    def hosts_have_ports(cls, hosts: dict[str, str]) -> dict[str, str]:
        for name, target in hosts.items():
            if "*" in name:
                raise ValueError(
                    f"hosts maps {name!r}, a pattern; write each name whole, on a line of its own"
                )
            address, _, port = target.rpartition(":")
            if not address or not port.isdigit():
                raise ValueError(
                    f"hosts maps {name} to {target!r}; write address:port, such as 127.0.0.1:8080"
                )
        return hosts


def _one_number(workers: int | str | None) -> int | str | None:
    """A range of one number is that number. Raises ValueError."""
    low, high = worker_range(workers) or (1, 1)
    return low if low == high and workers is not None else workers


def worker_range(workers: int | str | None) -> tuple[int, int] | None:
    """The least and the most workers of `compute.training_workers`. Raises ValueError."""
    if workers is None:
        return None
    low, dash, high = str(workers).partition("-")
    if low.isdecimal() and high.isdecimal() == bool(dash):
        found = int(low), int(high or low)
        if 1 <= found[0] <= found[1]:
            return found
        if 1 <= found[1] < found[0]:
            raise ValueError(f"found {workers!r}, whose least is above its most; write '{high}-{low}'")
    raise ValueError(f"found {workers!r}; write a number from 1 on, or the least and the most, such as '2-8'")

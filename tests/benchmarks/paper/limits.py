"""What breaks first: things that grow with the corpus or the cluster, each beside what it may be at most.

Each was looked for in the code and names the module. Bounds that are settings of a machine (memory of a node,
files that a process may have open) are those of `assumed.Cluster` and `assumed.Guessed`. Those of the stages
before a training are in text_limits.py, those of the training here.
"""

from collections.abc import Iterator

from flows.disk import TOKEN_BYTES
from pipeline.compute_config import ComputeConfig
from pipeline.store.journal import PIECE_SECONDS
from pipeline.tracking.sender import TURN_SECONDS_REMOTE
from tests.benchmarks.paper.cases import machine, planned
from tests.benchmarks.paper.limit import HOUR, Limit
from tests.benchmarks.paper.road import Road
from tests.benchmarks.paper.text_limits import text_limits

LISTED = 1_000.0
"""Objects that an object store names in one answer."""
METRICS_SECONDS, FIGURES = 2.0, 20.0
"""Between two times that the loop tells MLflow of, and figures of each (pipeline/training/loop.py)."""
LEAST_BUSY = 0.7
"""Share of a step that ought to go into the model's own products."""


def limits(road: Road) -> list[Limit]:
    """In the order of the road; the same ones for every case and cluster."""
    return [
        *text_limits(road),
        *(limit for part in (_pretrain, _steps, _surviving, _tuned) for limit in part(road)),
    ]


def first(road: Road, ends: bool) -> Limit | None:
    """What breaks first, in the order in which a run comes to it: what ends it, or what slows it down."""
    return next((limit for limit in limits(road) if limit.breaks and limit.ends == ends), None)


def _pretrain(road: Road) -> Iterator[Limit]:
    one, guessed, cluster, training = road.given.measured, road.given.guessed, road.cluster, road.training
    gpu_bytes = machine(cluster).gpu.memory_bytes
    tokens = road.amounts.tokens * TOKEN_BYTES
    yield Limit(
        "pretrain",
        "memory of a GPU",
        training.memory_bytes,
        gpu_bytes,
        "bytes",
        "pipeline/models/cost.py; pipeline/training/fit.py",
        "counted before anything starts; shards, layers computed again, smaller micro-batches are chosen",
        ends=True,
    )
    yield Limit(
        "pretrain",
        "token files that each worker maps, each with a file descriptor",
        road.case.shards * one.token_file_descriptors,
        guessed.open_files,
        "count",
        "pipeline/tokens/rows.py, `Rows`",
        "`ulimit -Hn 65536` before the cluster is started",
        ends=True,
    )
    yield Limit(
        "pretrain",
        "memory of a node for where each row begins, in every worker",
        cluster.gpus_per_node * road.amounts.rows * 2.5 * one.row_bytes,
        cluster.gpu_node_bytes / 4,
        "bytes",
        "pipeline/tokens/rows.py, `Rows.__init__`",
        "to be built: that index as a file, which workers of a node share",
        ends=True,
    )
    yield Limit(
        "pretrain",
        "on an object store: tokens that every node fetches before the first step",
        tokens / guessed.store_node_bytes_per_second,
        HOUR,
        "seconds",
        "pipeline/store/storage.py, `download`; pipeline/tokens/encode.py, `Tokens.rows`",
        "a shared file system, where files are mapped and pages come as rows are drawn; to be built: "
        "reading rows by ranges",
    )


def _steps(road: Road) -> Iterator[Limit]:
    yield Limit(
        "pretrain",
        "GPUs for each row of a step",
        1 / road.training.rows_each,
        1.0,
        "count",
        "pipeline/training/loader.py, `prepare`",
        "a larger `pretrain.batch_tokens` (another recipe), or `compute.tensor_parallel` in a machine",
    )
    for shards, told in ((None, "as the plan divides it"), (8, "with `compute.shards = 8`")):
        yield Limit(
            "pretrain",
            f"share of a step that is no product of the model, {told}",
            1 - road.trained(shards).step.busy,
            1 - LEAST_BUSY,
            "share",
            "pipeline/training/layout.py, `_sum`; optimizer.py",
            "shards within a machine, so that each GPU sends and orthogonalizes an eighth; a larger batch; "
            "to be built: gradients that are sent while the backward pass goes on",
        )


def _surviving(road: Road) -> Iterator[Limit]:
    guessed, training, defaults = road.given.guessed, road.training, ComputeConfig()
    worse = min(guessed.gpu_hours_between_failures)
    pieces = training.seconds / PIECE_SECONDS
    yield Limit(
        "pretrain",
        "failures in the whole run, by the worse of two reports",
        training.failures(worse),
        defaults.training_restarts,
        "count",
        "pipeline/compute.py, `_train_settings`",
        '`compute.training_restarts = 1000`; `compute.training_workers = "504-512"` goes on without a node',
        ends=True,
    )
    yield Limit(
        "pretrain",
        "writing a checkpoint, where one is begun every 30 s",
        training.write_seconds,
        defaults.checkpoint_seconds,
        "seconds",
        "pipeline/training/checkpoint.py; loop.py, `_save_due`",
        "the next waits for the one before; `compute.checkpoint_seconds` as in the table below",
    )
    yield Limit(
        "pretrain",
        "rank 0 checks every byte of a checkpoint before it is believed, while all others wait",
        training.verify_seconds,
        defaults.process_group_timeout_seconds,
        "seconds",
        "pipeline/training/checkpoint_reading.py, `verified`",
        "`compute.process_group_timeout_seconds`; to be built: each rank checks its share",
        ends=True,
    )
    yield Limit(
        "pretrain",
        "figures in MLflow's database after the run: rank 0 tells twenty every two seconds",
        training.seconds / METRICS_SECONDS * FIGURES,
        guessed.metric_rows,
        "count",
        "pipeline/training/loop.py, `tell`",
        "as many whatever the number of GPUs, and never waited for; PostgreSQL ([infra/mlflow]"
        "(../infra/mlflow/README.md)); to be built: fewer as a run grows long",
    )
    yield Limit(
        "pretrain",
        "on an object store: listing a journal's pieces, at every look",
        pieces / LISTED * guessed.look_seconds,
        TURN_SECONDS_REMOTE,
        "seconds",
        "pipeline/store/journal.py, `JournalReader.read`",
        "MLflow and the display fall behind, the training does not wait; to be built: pieces that are joined "
        "as they age",
    )


def _tuned(road: Road) -> Iterator[Limit]:
    gpu_bytes = machine(road.cluster).gpu.memory_bytes
    stage = planned(road.case, road.cluster, None, None, road.steps)["finetune"]
    yield Limit(
        "finetune",
        "memory of a GPU: all weights, their gradients and AdamW's two moments on each",
        stage.memory_bytes or 0.0,
        gpu_bytes,
        "bytes",
        "pipeline/training/finetune.py, `estimated_work`; flows/planning.py, `_refuse_larger_than_gpus`",
        "`[finetune.adapter]`, whose memory the plan counts as if all weights were trained, so that it "
        "refuses what would fit; to be built: shards for fine-tuning, and that count",
        ends=True,
    )

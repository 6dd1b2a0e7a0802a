"""What the paper simulation takes as given: prices, a cluster, rates that were measured, what is guessed.

Each figure says where it is from. `Measured` has figures of `python -m tests.benchmarks.paper.measured` and
of the benchmarks, on 2 x86 cores; a core of a cluster is taken to be as fast as one of these.
"""

from dataclasses import dataclass, field

from flows.rented import GPUS

TB = 1e12


@dataclass(frozen=True)
class Prices:
    """Dollars; all of them assumed, set your own."""

    gpu_hour: float = GPUS["h100"].dollars_per_hour
    """Of one GPU with its share of the machine (flows/rented.py: a guess from offers of 2025)."""
    core_hour: float = 0.04
    """Of one CPU core with 4 GB of memory, on demand."""
    terabyte_month: float = 100.0
    """In a file system that all nodes share; an object store takes about 20."""
    put: float = 5e-6
    """An object written to an object store."""


@dataclass(frozen=True)
class Cluster:
    """GPU nodes, and the CPU nodes that go with them. Each stage is charged for those that it uses alone."""

    gpus: int
    kind: str = "h100"
    gpus_per_node: int = 8
    cores_per_gpu: int = 24
    """Cores of CPU nodes for each GPU: as many as come with one (flows/rented.py)."""
    cores_per_node: int = 96
    node_bytes: float = 384e9
    """Memory of a CPU node; the driver's node is one of them."""
    gpu_node_bytes: float = 2e12
    """Memory of a GPU node, as H100 machines are sold."""
    node_disk_bytes: float = 7.6e12
    """Local disk of a CPU node, and a quarter of that of a GPU node."""

    @property
    def cores(self) -> int:
        return self.gpus * self.cores_per_gpu

    @property
    def nodes(self) -> int:
        """Of CPUs."""
        return -(-self.cores // self.cores_per_node)

    @property
    def gpu_nodes(self) -> int:
        return -(-self.gpus // self.gpus_per_node)


@dataclass(frozen=True)
class Measured:
    """One of a thing, by name of the measurement; seconds are CPU seconds of one process.

    The machine had other work: where a measurement was repeated the lowest figure counts, and the highest
    was up to twice as much.
    """

    page_seconds: float = 8.3e-6
    """`pages`: the driver's list of pages before extraction (pipeline/corpus/extract_shards.py, slices)."""
    page_bytes: float = 560.0
    file_bytes: float = 844.0
    """`records`: a file in a shard's record, in the driver's memory (pipeline/store/records.py)."""
    file_read_seconds: float = 2.2e-6
    file_sent_bytes: float = 217.0
    file_sent_seconds: float = 3.2e-6
    file_looked_at_seconds: float = 1.1e-7
    merge_seconds: float = 1.6e-6
    """`captures`: a line of an ingestion's log, each time that files are merged; and written at last."""
    log_seconds: float = 1.6e-5
    log_line_bytes: float = 417.0
    signature_bytes: float = 164.0
    """`signatures`: all that a document is compared by, on disk, and as DuckDB's table has it."""
    signature_table_bytes: float = 253.0
    choose_seconds: float = 3.1e-5
    """`clusters`: a document in the task that chooses what is held out (hold_out_shards.py, choose)."""
    choose_bytes: float = 1_750.0
    choice_seconds: float = 1.3e-6
    """`clusters`: the same document in each task that divides a shard."""
    choice_bytes: float = 458.0
    open_shard_bytes: float = 19e6
    """`open_shards`: a shard that the vocabulary's sample has open (pipeline/tokens/sample.py)."""
    passing_text_seconds: float = 2.7e-9
    """The same: a byte of text that is read, whether it is drawn or not."""
    row_seconds: float = 3.8e-8
    """`mapped_tokens`: a row that a training worker could draw, before the first step (Rows.__init__)."""
    row_bytes: float = 8.0
    token_file_descriptors: float = 1.0
    sha256_bytes_per_second: float = 1.2e9
    frontier_url_bytes: float = 48.0
    """`frontier`: a URL that a crawl knows of and has not visited, in its partition's SQLite file."""
    task_driver_seconds: float = 2.4e-3
    """`tasks`: a Ray task that does nothing, through Compute.map_shards, of the driver's time."""
    wait_seconds: float = 6.7e-7
    """`tasks`: ray.wait, once for each task that ends, for each task in flight."""
    compare_seconds: float = 7e-6
    """`duplicates --scale`: a document that is compared with all others: 7 CPU-s for a million."""
    compare_bytes: float = 50.0
    """pipeline/corpus/duplicates.py: a document, beside DuckDB's 512 MB."""
    pack_seconds: float = 1e-6
    """pipeline/tokens/pack.py: a second for a million documents, some 100 bytes for each."""
    pack_bytes: float = 100.0
    restart_seconds: float = 12.3
    """`restart`: from a worker's death to the next step, two workers on one machine."""


@dataclass(frozen=True)
class Guessed:
    """What could not be measured where this was written. No GPU was at hand."""

    utilisation: tuple[float, float] = (0.30, 0.50)
    """Share of a GPU's peak, lowest and highest; between them stands what others published for a model's size
    (flows/rented.py, UTILISATION). llm-foundry had 35 to 46 %, llm.c 40 %, nanochat 41 to 50 % on 8 H100."""
    nvlink_bytes_per_second: float = 300e9
    """Of a GPU to the others of its machine, two thirds of the 450e9 of NVLink 4's data sheet."""
    network_bytes_per_second: float = 40e9
    """Of a GPU to other machines: a card of 400 Gbit/s for each, at four fifths."""
    host_copy_bytes_per_second: float = 20e9
    """From a GPU to its machine's pinned memory, PCIe 5 with 16 lanes shared."""
    store_node_bytes_per_second: float = 2e9
    """Between a node and the shared file system."""
    look_seconds: float = 0.025
    """A question to an object store, one after the other."""
    puts_per_second: float = 3_500.0
    """That S3 takes for a prefix before it answers SlowDown (AWS, "Best practices design patterns")."""
    gpu_hours_between_failures: tuple[float, float] = (8_100.0, 50_700.0)
    """1,024 GPUs failed every 7.9 hours (Kokolis et al., 2024, arXiv:2410.21680); 16,384 H100 were
    interrupted unexpectedly 419 times in 54 days (Llama 3, 2024, arXiv:2407.21783, section 3.3.4)."""
    node_seconds: float = 300.0
    """Until another machine stands in for one that failed, where none is kept ready."""
    text_factor: float = 3.0
    """Memory of a task that has a shard's rows as Python objects and as a table, for each byte of text."""
    ray_tasks: float = 10_000.0
    """That Ray is tried with at once (its own benchmarks, "scalability envelope")."""
    metric_rows: float = 1e8
    """That MLflow's database still answers for quickly."""
    open_files: int = 4_096
    """Files that a process may have open: the hard limit that Linux gives by itself (systemd gives 524,288).
    Where Ray starts it raises the soft limit of 1,024 to that, in the driver and in tasks alike: tried."""
    answer_seconds: float = 1.0
    """From a crawler's request to the last byte of its page."""
    new_urls_of_page: float = 10.0
    """That a page's links add to what a crawl knows, of its whole length."""


@dataclass(frozen=True)
class Given:
    """All of it; `python -m tests.benchmarks paper` has options for the prices."""

    prices: Prices = field(default_factory=Prices)
    measured: Measured = field(default_factory=Measured)
    guessed: Guessed = field(default_factory=Guessed)

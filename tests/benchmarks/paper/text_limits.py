"""What breaks first before a training: what ingestion, extraction and the stages of the corpus hold."""

from collections.abc import Iterator

from tests.benchmarks.paper.limit import DAY, HOUR, Limit
from tests.benchmarks.paper.road import Road

INTEGER = float(2**31 - 1)
"""DuckDB's INTEGER, by which documents are numbered (pipeline/corpus/duplicates.py)."""
ROW_NUMBERS = float(2**32)
"""Rows that PIECE can tell apart (pipeline/tokens/rows.py)."""
RUN_BYTES, WORD_BYTES = 24.0, 6.0
"""Of a run of held-out words in its index (pipeline/corpus/hold_out_overlap.py), and of a word."""
SORTED_TIMES = 3.0
"""While the index is made: the runs, the runs in order, and those that are kept."""


def text_limits(road: Road) -> list[Limit]:
    """In the order of the road."""
    parts = (_ingest, _extract, _extract_on_an_object_store, _clean, _hold_out, _vocabulary, _tokens)
    return [limit for part in parts for limit in part(road)]


def _ingest(road: Road) -> Iterator[Limit]:
    one, pages, cluster = road.given.measured, road.amounts.pages, road.cluster
    yield Limit(
        "ingest",
        "one task merges all captures and writes one log of all pages",
        road.stage("ingest").alone_seconds,
        DAY,
        "seconds",
        "crawler/ingest_shards.py, `write_log`",
        "to be built: a log for each range of URLs",
    )
    yield Limit(
        "ingest",
        "local disk of that task: captures, the same merged, the log",
        3 * pages * one.log_line_bytes,
        cluster.node_disk_bytes,
        "bytes",
        "crawler/line_sort.py",
        "`TMPDIR` on a larger disk; the same to be built",
        ends=True,
    )
    yield Limit(
        "ingest",
        "reading its record, which names a WARC file for each 16 MiB",
        road.warc_files * one.file_read_seconds,
        60.0,
        "seconds",
        "pipeline/store/records.py; crawler/warc.py, `FILE_BYTES`",
        "to be built: files that grow with the archive; then the record is small again",
    )


def _extract(road: Road) -> Iterator[Limit]:
    one, guessed, cluster = road.given.measured, road.given.guessed, road.cluster
    stage = road.stage("extract")
    yield Limit(
        "extract",
        "the driver's memory: a list of all pages, and the records of all slices",
        stage.driver_bytes,
        cluster.node_bytes,
        "bytes",
        "pipeline/corpus/extract.py, `_build`; extract_shards.py, `slices`",
        "a head node with more memory; to be built: slices made from the log by the tasks themselves, and "
        "`PAGES_PER_SHARD` (100) that grows with the crawl: a hundred times as many pages in a slice leave a "
        "hundredth of the tasks and of the files",
        ends=True,
    )
    yield Limit(
        "extract",
        "the driver looks through all files once for each bucket",
        road.case.shards * stage.files * one.file_looked_at_seconds,
        HOUR,
        "seconds",
        "pipeline/corpus/extract_shards.py, `parts`",
        "to be built: one pass that deals them out",
    )
    yield Limit(
        "extract",
        "the driver's time for its Ray tasks, if every core has one",
        road.driver_seconds(stage.tasks, cluster.cores),
        max(HOUR, road.busy_seconds("extract") / cluster.cores),
        "seconds",
        "pipeline/compute.py, `_run_all`",
        "in flight are never more than two for each worker; `compute.workers` keeps that few (the tables "
        f"above reckon with {stage.workers:,.0f} here); to be built: as for the driver's memory",
    )
    yield Limit(
        "extract",
        "Ray tasks at once, if every core has one",
        min(stage.tasks, cluster.cores),
        guessed.ray_tasks,
        "count",
        "pipeline/compute.py, `_run_all`",
        "the driver never holds more references than two for each worker, however many shards there are; "
        "`compute.workers`",
    )
    yield Limit(
        "extract",
        "memory of a task that gathers or judges a shard",
        road.rows_bytes,
        cluster.node_bytes / cluster.cores_per_node,
        "bytes",
        "pipeline/corpus/extract_shards.py, `write_bucket`; clean_shards.py, `judge`",
        "`extract.shards`, 10,000 at most; beyond that `compute.stages.clean.memory_gb`, so that fewer "
        "run at a time on a node",
        ends=True,
    )


def _extract_on_an_object_store(road: Road) -> Iterator[Limit]:
    guessed, cluster, stage = road.given.guessed, road.cluster, road.stage("extract")
    yield Limit(
        "extract",
        "on an object store: asking for each slice whether it is done, before the first begins",
        road.slices * guessed.look_seconds,
        HOUR,
        "seconds",
        "pipeline/compute.py, `map_shards`",
        "a folder on a shared file system as store; to be built: one listing in place of the questions",
    )
    yield Limit(
        "extract",
        f"on an object store: its files at {guessed.puts_per_second:,.0f} a second "
        f"(${stage.files * road.given.prices.put:,.0f})",
        stage.files / guessed.puts_per_second,
        DAY,
        "seconds",
        "pipeline/corpus/candidates.py, `_write`",
        "SlowDown is waited out (pipeline/store/storage.py); a shared file system; larger slices",
    )
    yield Limit(
        "extract",
        "on an object store: WARC files that a node has fetched and keeps in its cache",
        road.fetched_by_each_node,
        cluster.node_disk_bytes,
        "bytes",
        "pipeline/store/storage.py, `download`",
        "a shared file system, where nothing is copied; to be built: a cache that lets go",
        ends=True,
    )


def _clean(road: Road) -> Iterator[Limit]:
    one, amounts, shards = road.given.measured, road.amounts, road.case.shards
    yield Limit(
        "clean",
        "documents that are compared for duplicates in one table",
        amounts.kept,
        INTEGER,
        "count",
        "pipeline/corpus/duplicates.py, `_number`",
        "to be built: the table cut by bands, so that each part is a task; a number of 64 bits",
        ends=True,
    )
    yield Limit(
        "clean",
        "one task compares them",
        amounts.kept * one.compare_seconds,
        DAY,
        "seconds",
        "pipeline/corpus/clean_shards.py, `compare`",
        "memory is bounded there (512 MB, and 50 bytes for each), time is not; the same to be built",
    )
    yield Limit(
        "clean",
        "memory of that task",
        512e6 + amounts.kept * one.compare_bytes,
        road.cluster.node_bytes,
        "bytes",
        "pipeline/corpus/duplicates.py, `smallest_joined`",
        "`compute.stages.clean.memory_gb`",
        ends=True,
    )
    yield Limit(
        "clean",
        "local disk of that task, where DuckDB puts what does not fit",
        amounts.kept * one.signature_table_bytes,
        road.cluster.node_disk_bytes,
        "bytes",
        "pipeline/corpus/duplicates.py, `connect`",
        "`TMPDIR` on a larger disk",
        ends=True,
    )
    yield Limit(
        "clean",
        "the driver sends every dividing task the names of all shards' duplicates",
        shards * 2 * shards * one.file_sent_seconds,
        HOUR,
        "seconds",
        "pipeline/corpus/clean_shards.py, `Dividing.compared`",
        "fewer shards; to be built: each task is sent its own two names",
    )


def _hold_out(road: Road) -> Iterator[Limit]:
    one, amounts, cluster = road.given.measured, road.amounts, road.cluster
    words = amounts.kept_bytes * road.case.held_out / WORD_BYTES
    yield Limit(
        "hold-out",
        "memory of the one task that chooses clusters",
        amounts.documents * one.choose_bytes,
        cluster.node_bytes,
        "bytes",
        "pipeline/corpus/hold_out_shards.py, `choose`",
        "a node with more memory; to be built: columns in place of a Python dict for each document",
        ends=True,
    )
    yield Limit(
        "hold-out",
        "memory of each task that divides a shard: the choice of all documents",
        road.choice_bytes,
        cluster.node_bytes / cluster.cores_per_node,
        "bytes",
        "pipeline/corpus/hold_out_shards.py, `divide`",
        "`compute.stages.hold-out.memory_gb`, so that as few run on a node as fit (the tables above do); "
        "to be built: a choice for each shard",
        ends=True,
    )
    yield Limit(
        "hold-out",
        "the same on a node by itself",
        road.choice_bytes,
        cluster.node_bytes,
        "bytes",
        "pipeline/corpus/hold_out_shards.py, `divide`",
        "the same to be built",
        ends=True,
    )
    yield Limit(
        "hold-out",
        "the index of the held-out runs of words, while it is made",
        SORTED_TIMES * RUN_BYTES * words,
        cluster.node_bytes,
        "bytes",
        "pipeline/corpus/hold_out_overlap.py, `index`",
        f"a smaller `hold_out.share` (here {road.case.held_out:g}; 0.06 by default)",
        ends=True,
    )


def _vocabulary(road: Road) -> Iterator[Limit]:
    cluster, shards = road.cluster, road.case.shards
    yield Limit(
        "vocabulary",
        "files that the driver has open: all shards, to read documents by their ids",
        shards,
        road.given.guessed.open_files,
        "count",
        "pipeline/tokens/sample.py, `rows_by_id`",
        "Ray raises the soft limit to the hard one; `ulimit -Hn 65536` before the cluster is started; to "
        "be built: which documents are drawn hangs on their ids alone, so shards could be read one after "
        "the other",
        ends=True,
    )
    yield Limit(
        "vocabulary",
        "memory of the driver meanwhile",
        road.stage("vocabulary").driver_bytes,
        cluster.node_bytes,
        "bytes",
        "pipeline/tokens/sample.py, `rows_by_id`",
        "the same",
        ends=True,
    )
    yield Limit(
        "vocabulary",
        "two passes over the whole corpus for a sample of 1 GB, in one process",
        road.stage("vocabulary").alone_seconds,
        DAY,
        "seconds",
        "pipeline/tokens/vocabulary.py, `_learned`",
        "`vocabulary.tokenizer` takes one over that was learned elsewhere (but counts the corpus too); to be "
        "built: a task for each shard draws its part",
    )


def _tokens(road: Road) -> Iterator[Limit]:
    one, amounts, cluster = road.given.measured, road.amounts, road.cluster
    yield Limit(
        "tokens",
        "memory of the one task that packs documents into rows",
        amounts.documents * one.pack_bytes,
        cluster.node_bytes,
        "bytes",
        "pipeline/tokens/pack.py, `pack`",
        "a node with more memory; to be built: packing a group of shards at a time",
        ends=True,
    )
    yield Limit(
        "tokens",
        "rows",
        amounts.rows,
        ROW_NUMBERS,
        "count",
        "pipeline/tokens/rows.py, `PIECE`",
        "longer rows (`tokens.row_tokens`)",
        ends=True,
    )

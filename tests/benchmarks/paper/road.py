"""The road on a cluster: for each stage hours, money, bytes, tasks, memory.

What spreads over workers is the plan's own estimate (`moinho plan --machine`): its work, its seconds for one
of each quantity, its memory. The plan was made for one machine, where what one process does by itself takes
no time worth telling; that is added here, by what `measured` found for one page, document or file.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

from crawler.line_sort import MERGED_FILES
from crawler.warc import FILE_BYTES
from flows.disk import TEXT_PACKED, TOKEN_BYTES
from flows.rates import TEXT, seconds_of
from pipeline.compute import IN_FLIGHT_PER_CPU
from pipeline.corpus.extract import PAGES_PER_SHARD
from pipeline.evaluation.parts import PIECES_PER_PART
from pipeline.store import Work
from pipeline.tokens.rows import PIECE
from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks.paper.assumed import Cluster, Given
from tests.benchmarks.paper.cases import (
    PIECES,
    ROW_TOKENS,
    SAMPLE_BYTES,
    TUNING_WORKERS,
    Amounts,
    Case,
    machine,
    planned,
)
from tests.benchmarks.paper.training import Training

SAMPLE_MEMORY = 6
"""Of a vocabulary's learning, for a byte of its sample (pipeline/tokens/vocabulary.py)."""
VOCABULARY_PASSES = 2
"""Over the whole corpus: one to learn from, one to measure on (pipeline/tokens/vocabulary.py, _learned)."""
ANY = Cluster(8)
"""What is done to text does not hang on the cluster."""
CHOICE_FILE_BYTES = 80.0
"""Of a document in the file that says what is held out: three strings, of which two are its id."""


@dataclass(frozen=True)
class Stage:
    """One stage of the road on one cluster."""

    name: str
    spread_seconds: float
    """Of what is spread over workers."""
    alone_seconds: float
    """Of what one process does by itself, the driver's included; the others wait."""
    dollars: float
    tasks: float = 0.0
    files: float = 0.0
    """Written to the store, records of shards included."""
    store_bytes: float = 0.0
    """That it leaves in the store, what its own steps hand on to each other included."""
    network_bytes: float = 0.0
    """Read from the store and written to it."""
    driver_bytes: float = 0.0
    task_bytes: float = 0.0
    """Of the largest of its processes, in the machine's memory or, of trainings, in the GPU's."""
    workers: float = 1.0
    """Tasks that run at once."""

    @property
    def seconds(self) -> float:
        return self.spread_seconds + self.alone_seconds

    @property
    def hours(self) -> float:
        return self.seconds / 3600


@dataclass(frozen=True)
class Road:
    """A case on a cluster."""

    case: Case
    cluster: Cluster
    given: Given = field(default_factory=Given)

    @cached_property
    def amounts(self) -> Amounts:
        works = {name: each.work for name, each in planned(self.case, ANY, "tokens", None, 1).items()}
        return Amounts(
            archives=works["ingest"]["archives"],
            pages=works["ingest"]["pages"],
            html=works["ingest"]["bytes"],
            text=2 * works["clean"]["kept-bytes"],
            kept=works["clean"]["kept"],
            kept_bytes=works["clean"]["kept-bytes"],
            documents=works["hold-out"]["train"] + works["hold-out"]["held-out"],
            tokens=works["tokens"]["train.tokens"],
        )

    @cached_property
    def steps(self) -> int:
        """As many as read every token once."""
        return max(1, int(self.amounts.tokens / self.case.model["batch_tokens"]))

    @cached_property
    def training(self) -> Training:
        """With copies as the plan chooses them, or with eight shards: whichever takes less time."""
        return min((self.trained(shards) for shards in (None, 8)), key=lambda each: each.step.seconds)

    def trained(self, shards: int | None) -> Training:
        stage = planned(self.case, self.cluster, "pretrain", shards, self.steps)["pretrain"]
        rates = machine(self.cluster).rates("pretrain", stage.work)
        config = PretrainConfig(**{**self.case.model, "steps": self.steps})
        return Training(
            config=config,
            pieces=PIECES,
            work=stage.work,
            planned_seconds=seconds_of("pretrain", stage.work, rates, 1),
            memory_bytes=stage.memory_bytes or 0.0,
            flop_seconds=rates.seconds["compiled.bf16.flops"],
            cluster=self.cluster,
            given=self.given,
        )

    @cached_property
    def text_stages(self) -> tuple[Stage, ...]:
        """Those before a training."""
        makers = (self._ingest, self._extract, self._clean, self._hold_out, self._vocabulary, self._tokens)
        return tuple(make() for make in makers)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return (*self.text_stages, self._pretrain(), *self._tuned())

    def stage(self, name: str) -> Stage:
        """Of the text, or of all."""
        found = [stage for stage in self.text_stages if stage.name == name]
        return found[0] if found else next(stage for stage in self.stages if stage.name == name)

    @property
    def total(self) -> Stage:
        """Of all stages, one after the other; memory is the largest of any."""

        def added(name: str) -> float:
            return float(sum(getattr(stage, name) for stage in self.stages))

        sums = (
            "spread_seconds",
            "alone_seconds",
            "dollars",
            "tasks",
            "files",
            "store_bytes",
            "network_bytes",
        )
        most = {
            name: max(getattr(stage, name) for stage in self.stages)
            for name in ("driver_bytes", "task_bytes")
        }
        return Stage("all", **{name: added(name) for name in sums}, **most)

    # --- what all stages of text have in common ---

    def on_cores(
        self,
        name: str,
        *,
        at_once: float,
        tasks: float,
        alone_seconds: float,
        task_bytes: float,
        alone_bytes: float = 0.0,
        more_seconds: float = 0.0,
        **rest: float,
    ) -> Stage:
        """A stage whose widest step has `at_once` tasks of `task_bytes` each, and one task of `alone_bytes`;
        `more_seconds` are CPU seconds that the plan does not know of."""
        busy = self.busy_seconds(name) + more_seconds
        room = min(self.cluster.cores, at_once, self.room(task_bytes))
        workers = min(room, self.workers_that_pay(busy, tasks))
        spread = TEXT[name].start + max(busy / workers, self.driver_seconds(tasks, workers))
        held = (spread + alone_seconds) / 3600 * self.cluster.cores
        return Stage(
            name=name,
            spread_seconds=spread,
            alone_seconds=alone_seconds,
            dollars=held * self.given.prices.core_hour,
            tasks=tasks,
            task_bytes=max(task_bytes, alone_bytes),
            workers=workers,
            **rest,
        )

    def busy_seconds(self, name: str) -> float:
        """CPU seconds of a stage that are spread over workers, by the plan's rates."""
        work = self._work(name)
        return seconds_of(name, work, machine(self.cluster).rates(name, work), 1) - TEXT[name].start

    def room(self, task_bytes: float) -> float:
        """Tasks of this size that the nodes hold at once; one on each node where none fits."""
        return self.cluster.nodes * max(1, self.cluster.node_bytes // max(1.0, task_bytes))

    def driver_seconds(self, tasks: float, workers: float) -> float:
        """Of the driver's loop, which asks about all tasks in flight each time that one ends."""
        one = self.given.measured
        return tasks * (one.task_driver_seconds + one.wait_seconds * self.in_flight(tasks, workers))

    @staticmethod
    def in_flight(tasks: float, workers: float) -> float:
        return min(tasks, IN_FLIGHT_PER_CPU * workers)

    def workers_that_pay(self, busy: float, tasks: float) -> float:
        """The number from which on more workers only give the driver more to ask about: where tasks end as
        fast as the driver notices it. It is compute.workers' task to keep to it."""
        one = self.given.measured
        square, linear = tasks * one.wait_seconds * IN_FLIGHT_PER_CPU, tasks * one.task_driver_seconds
        return max(1.0, (-linear + math.sqrt(linear**2 + 4 * square * busy)) / (2 * square))

    @property
    def shard_text(self) -> float:
        """Bytes of raw text in a shard."""
        return self.amounts.text / self.case.shards

    @property
    def rows_bytes(self) -> float:
        """Of a task that has a whole shard's text in memory."""
        return TEXT["clean"].memory_bytes + self.given.guessed.text_factor * self.shard_text

    # --- the stages ---

    def _work(self, name: str) -> Work:
        return planned(self.case, ANY, "tokens", None, 1)[name].work

    @property
    def warc_files(self) -> float:
        """Of moinho's own, which the archives' pages are copied to."""
        return self.case.raw_bytes / FILE_BYTES

    def _ingest(self) -> Stage:
        one, amounts = self.given.measured, self.amounts
        rounds = _rounds(amounts.archives) + _rounds(self.warc_files)
        lines, files = amounts.pages * one.log_line_bytes, 3 * (amounts.archives + self.warc_files)
        return self.on_cores(
            "ingest",
            at_once=amounts.archives,
            tasks=amounts.archives + self.warc_files + 2,
            alone_seconds=amounts.pages * (one.merge_seconds * rounds + one.log_seconds),
            task_bytes=TEXT["ingest"].memory_bytes,
            files=files,
            store_bytes=self.case.raw_bytes + 4 * lines,
            network_bytes=3 * self.case.raw_bytes + 6 * lines,
            driver_bytes=files * one.file_bytes,
        )

    @property
    def slices(self) -> float:
        return self.amounts.pages / PAGES_PER_SHARD

    @property
    def slice_files(self) -> float:
        """Files that a task of extraction writes: one for each bucket that a page of its falls into."""
        shards = self.case.shards
        return float(shards * (1 - (1 - 1 / shards) ** PAGES_PER_SHARD))

    @property
    def fetched_by_each_node(self) -> float:
        """Of the WARC files, those that a node has read a slice of: an object store's are fetched whole."""
        slices_of_file = max(1.0, self.slices / self.warc_files)
        return float(self.case.raw_bytes * (1 - (1 - 1 / self.cluster.nodes) ** slices_of_file))

    def _extract(self) -> Stage:
        one, amounts, shards = self.given.measured, self.amounts, self.case.shards
        files, written = self.slices * self.slice_files, 2 * TEXT_PACKED * self.amounts.text
        return self.on_cores(
            "extract",
            at_once=self.slices,
            tasks=self.slices + shards,
            alone_seconds=amounts.pages * one.page_seconds + shards * files * one.file_looked_at_seconds,
            task_bytes=TEXT["extract"].memory_bytes,
            alone_bytes=self.rows_bytes,
            files=files + self.slices + 3 * shards,
            store_bytes=written,
            network_bytes=self.case.raw_bytes + 1.5 * written,
            driver_bytes=amounts.pages * one.page_bytes + files * one.file_bytes,
        )

    def _clean(self) -> Stage:
        one, amounts, shards = self.given.measured, self.amounts, self.case.shards
        text, kept = TEXT_PACKED * amounts.text, TEXT_PACKED * amounts.kept_bytes
        signatures, named = amounts.kept * one.signature_bytes, 2 * shards * shards
        return self.on_cores(
            "clean",
            at_once=shards,
            tasks=3 * shards + 3,
            alone_seconds=amounts.kept * one.compare_seconds + named * one.file_sent_seconds,
            task_bytes=self.rows_bytes,
            alone_bytes=512e6 + one.compare_bytes * amounts.kept,
            files=13 * shards,
            store_bytes=text + kept + signatures,
            network_bytes=3 * text + 3 * kept + 2 * signatures + named * one.file_sent_bytes,
            driver_bytes=13 * shards * one.file_bytes,
        )

    @property
    def choice_bytes(self) -> float:
        """Of each task that divides a shard into training and held-out documents."""
        return self.amounts.documents * self.given.measured.choice_bytes + self.rows_bytes

    def _hold_out(self) -> Stage:
        one, amounts, shards = self.given.measured, self.amounts, self.case.shards
        kept, bands = TEXT_PACKED * amounts.kept_bytes, amounts.documents * one.signature_bytes
        choice = amounts.documents * CHOICE_FILE_BYTES
        return self.on_cores(
            "hold-out",
            at_once=shards,
            tasks=3 * shards + 2,
            alone_seconds=amounts.documents * one.choose_seconds,
            more_seconds=shards * amounts.documents * one.choice_seconds,
            task_bytes=self.choice_bytes,
            alone_bytes=amounts.documents * one.choose_bytes,
            files=8 * shards,
            store_bytes=2 * kept + bands + choice,
            network_bytes=5 * kept + 2 * bands + shards * choice,
            driver_bytes=8 * shards * one.file_bytes,
        )

    def _vocabulary(self) -> Stage:
        one, amounts, work = self.given.measured, self.amounts, self._work("vocabulary")
        learned = seconds_of("vocabulary", work, machine(self.cluster).rates("vocabulary", work), 1)
        passed = VOCABULARY_PASSES * amounts.kept_bytes * one.passing_text_seconds
        memory = self.case.shards * one.open_shard_bytes + SAMPLE_MEMORY * SAMPLE_BYTES
        return Stage(
            "vocabulary",
            spread_seconds=0.0,
            alone_seconds=learned + passed,
            dollars=(learned + passed) / 3600 * self.cluster.cores_per_node * self.given.prices.core_hour,
            files=8,
            store_bytes=4e6,
            network_bytes=VOCABULARY_PASSES * TEXT_PACKED * amounts.kept_bytes,
            driver_bytes=memory,
            task_bytes=memory,
        )

    def _tokens(self) -> Stage:
        one, amounts, shards = self.given.measured, self.amounts, self.case.shards
        written = amounts.tokens * TOKEN_BYTES + amounts.rows * PIECE.itemsize
        return self.on_cores(
            "tokens",
            at_once=2 * shards,
            tasks=2 * shards + 2,
            alone_seconds=amounts.documents * one.pack_seconds,
            task_bytes=TEXT["tokens"].memory_bytes,
            alone_bytes=one.pack_bytes * amounts.documents,
            files=6 * shards,
            store_bytes=written,
            network_bytes=TEXT_PACKED * amounts.kept_bytes + written,
            driver_bytes=6 * shards * one.file_bytes,
        )

    def _pretrain(self) -> Stage:
        training, prices = self.training, self.given.prices
        opened = self.amounts.rows * self.given.measured.row_seconds
        seconds = training.seconds + opened
        return Stage(
            "pretrain",
            spread_seconds=training.seconds,
            alone_seconds=opened,
            dollars=seconds / 3600 * self.cluster.gpus * prices.gpu_hour,
            tasks=self.cluster.gpus,
            files=training.checkpoints * training.checkpoint_files,
            store_bytes=3 * training.checkpoint_bytes + 2 * 4 * training.weights,
            network_bytes=self.amounts.tokens * 2 + training.checkpoints * training.checkpoint_bytes,
            driver_bytes=TEXT["conversations"].memory_bytes,
            task_bytes=training.memory_bytes,
            workers=self.cluster.gpus,
        )

    def _tuned(self) -> tuple[Stage, ...]:
        """Fine-tuning on the GPUs of one machine, and the evaluation on as many CPUs as its likelihoods have
        parts."""
        stages = planned(self.case, self.cluster, None, None, self.steps)
        prices, found = self.given.prices, []
        pieces = self.amounts.tokens * self.case.held_out / ROW_TOKENS
        scored = max(1, min(self.cluster.cores, int(pieces // PIECES_PER_PART)))
        hourly = {
            "finetune": (TUNING_WORKERS, TUNING_WORKERS * prices.gpu_hour),
            "evaluate": (scored, scored * prices.core_hour),
        }
        for name, (workers, dollars) in hourly.items():
            work = stages[name].work
            seconds = seconds_of(name, work, machine(self.cluster).rates(name, work), workers)
            found.append(
                Stage(
                    name,
                    spread_seconds=seconds,
                    alone_seconds=0.0,
                    dollars=seconds / 3600 * dollars,
                    tasks=workers,
                    files=100,
                    store_bytes=2 * 4 * self.training.weights if name == "finetune" else 1e8,
                    network_bytes=3 * 4 * self.training.weights,
                    driver_bytes=TEXT[name].memory_bytes or 350e6,
                    task_bytes=stages[name].memory_bytes or 0.0,
                    workers=workers,
                )
            )
        return tuple(found)


def _rounds(files: float) -> int:
    """How often a line is written where so many sorted files are merged (crawler/line_sort.py)."""
    return max(1, math.ceil(math.log(max(2.0, files), MERGED_FILES)))

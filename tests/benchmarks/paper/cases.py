"""What is simulated: how much is read, what model is made of it, on which clusters; and its plan."""

import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from crawler.ingest import URL_ARCHIVE_BYTES, IngestConfig
from flows.planning import PlannedStage, plan
from flows.rented import Rented, rented
from flows.web_to_model import WebToModel
from pipeline.compute_config import ComputeConfig, StageResources
from pipeline.corpus.clean import CleanConfig
from pipeline.corpus.extract import ExtractConfig
from pipeline.corpus.hold_out import HoldOutConfig
from pipeline.tokens.encode import TokensConfig
from pipeline.tokens.vocabulary import VocabularyConfig
from pipeline.training.conversations import ConversationsConfig
from pipeline.training.finetune import FinetuneConfig
from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks.paper.assumed import TB, Cluster

ROOT = Path(__file__).parents[3]
ROW_TOKENS, PIECES, SAMPLE_BYTES = 2_048, 32_768, 1_000_000_000
TUNING_WORKERS = 8
"""GPUs that fine-tuning is given, however many there are: its batches have 64 conversations."""
STORE_NOWHERE = str(Path(tempfile.gettempdir()) / "moinho-paper-has-no-store")


def pretraining(name: str) -> dict[str, Any]:
    """The section [pretrain] of a configuration that is shipped."""
    found: dict[str, Any] = tomllib.loads((ROOT / "configs" / name).read_text())["pretrain"]
    return found


@dataclass(frozen=True)
class Case:
    """How much there is to read, and what is made of it."""

    name: str
    raw_bytes: float
    """Of WARC files, packed by gzip, as they lie in the store before the first stage."""
    shards: int
    """extract.shards: 10,000 at most."""
    held_out: float
    """hold_out.share."""
    model: Mapping[str, Any] = field(hash=False)
    """Settings of [pretrain]; steps are as many as read every token once."""

    def config(self, compute: ComputeConfig, steps: int) -> WebToModel:
        archives = round(self.raw_bytes / URL_ARCHIVE_BYTES)
        return WebToModel(
            name="paper",
            ingest=IngestConfig(
                archives=tuple(f"https://archives.example/{number:06}.warc.gz" for number in range(archives))
            ),
            extract=ExtractConfig(kind="web", extractor="fast-then-careful", shards=self.shards),
            clean=CleanConfig(languages=("pt",), keeper="longest", paragraphs_once="site"),
            hold_out=HoldOutConfig(share=self.held_out),
            vocabulary=VocabularyConfig(pieces=PIECES, sample_bytes=SAMPLE_BYTES),
            tokens=TokensConfig(row_tokens=ROW_TOKENS),
            pretrain=PretrainConfig(**{**self.model, "steps": steps}),
            conversations=ConversationsConfig(train_conversations=50_000),
            finetune=FinetuneConfig(batch_rows=64, learning_rate=1e-4),
            compute=compute,
        )


CASES = (
    Case("1 TB", TB, 512, 0.002, pretraining("pt-1b-8gpu.toml")),
    Case(
        "100 TB",
        100 * TB,
        10_000,
        0.00002,
        {
            "depth": 32,
            "width": 4_096,
            "heads": 32,
            "key_value_heads": 8,
            "mlp_width": 14_336,
            "batch_tokens": 4 << 20,
            "evaluation_rows": 512,
        },
    ),
)
SHARDS_OF_TERABYTE, MOST_SHARDS = CASES[0].shards, CASES[-1].shards


def of_size(terabytes: float) -> Case:
    """As the smaller case, with as many shards for a terabyte; as much is held out as there."""
    first = CASES[0]
    return replace(
        first,
        name=f"{terabytes:g} TB",
        raw_bytes=terabytes * TB,
        shards=max(1, min(MOST_SHARDS, round(SHARDS_OF_TERABYTE * terabytes))),
        held_out=min(0.02, first.held_out / terabytes),
    )


CLUSTERS = (Cluster(8), Cluster(64), Cluster(512))


@dataclass(frozen=True)
class Amounts:
    """What there is at each border between stages, as the plan expects it."""

    archives: float
    pages: float
    html: float
    """Bytes."""
    text: float
    """Bytes of all pages' text: about as much again as is kept (flows/disk.py)."""
    kept: float
    """Documents."""
    kept_bytes: float
    documents: float
    """After they were cut at headings."""
    tokens: float

    @property
    def rows(self) -> float:
        return self.tokens / ROW_TOKENS


@cache
def planned(
    case: Case, cluster: Cluster, until: str | None, shards: int | None, steps: int
) -> Mapping[str, PlannedStage]:
    """The plan's stages by name. Without `until` it is for GPUs of any memory, since it refuses what does not
    fit."""
    compute = ComputeConfig(
        store=STORE_NOWHERE, shards=shards, stages={"finetune": StageResources(workers=TUNING_WORKERS)}
    )
    on = machine(cluster)
    if until is None:
        on = replace(on, gpu=replace(on.gpu, memory_bytes=1e15))
    found = plan(case.config(compute, steps), tell=_refuse, until=until, on=on)
    return {stage.stage: stage for stage in found.stages}


def machine(cluster: Cluster) -> Rented:
    return rented(f"{cluster.gpus}x{cluster.kind}")


def _refuse(told: str) -> None:
    raise AssertionError(f"a plan for a rented machine measures nothing, but said: {told}")

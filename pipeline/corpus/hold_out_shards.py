"""The hold-out stage's Ray tasks: cut pages into documents, choose clusters, divide the documents."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.clean import Documents
from pipeline.corpus.duplicates import near
from pipeline.corpus.hold_out import HoldOutConfig
from pipeline.corpus.sections import cut_into_sections
from pipeline.corpus.signatures import write_bands
from pipeline.corpus.tables import DOCUMENTS, outputs_of, read_rows, write_rows
from pipeline.errors import StageError
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord

CUT = pa.schema([field for field in DOCUMENTS if field.name != "cluster"] + [pa.field("bytes", pa.int64())])
CHOICE = pa.schema([("id", pa.string()), ("cluster", pa.string()), ("split", pa.string())])
LARGEST_SHARE = 3
"""At most one part in so many is held out of a corpus that is small."""
DOCUMENTS_PER_PART = 10
"""No held-out document is over one part in so many of the held-out bytes, where that can be."""


class TooFewDocumentsError(StageError):
    """There are not two clusters of documents to tell training and held-out apart."""

    passes = False
    remedy = "Crawl more pages, or loosen the rules of [clean]."


@dataclass(frozen=True)
class Cutting:
    """One shard of kept pages to be cut into documents."""

    documents: Documents
    shard: str
    config: HoldOutConfig


@dataclass(frozen=True)
class Choosing:
    """All documents, of which some are to be held out."""

    attempt: Attempt
    cut: tuple[ShardRecord, ...]
    config: HoldOutConfig


@dataclass(frozen=True)
class Dividing:
    """One shard of documents to be written into its splits."""

    attempt: Attempt
    cut: ShardRecord
    chosen: ShardRecord


@dataclass(frozen=True)
class Cluster:
    """Documents that resemble each other; they are held out together or not at all."""

    id: str
    """The smallest id of its documents."""
    language: str
    """That document's language."""
    documents: int
    bytes: int
    longest: int
    """Bytes of its longest document."""


def cut(part: Cutting, output: ShardOutput) -> dict[str, int]:
    """Write the shard's documents and the bands of their signatures."""
    rows: list[dict[str, Any]] = []
    for page in read_rows([part.documents.path(f"kept/{part.shard}.parquet")]):
        start = 0
        for number, text in enumerate(cut_into_sections(page["text"], part.config.document_bytes)):
            identity = f"{page['id']}-{number:04d}"
            end = start + len(text.encode())
            place = {"page_id": page["id"], "start": start, "end": end, "bytes": end - start}
            rows.append({**page, **place, "id": identity, "text": text})
            start = end
    write_rows(output.path(f"cut/{part.shard}.parquet"), rows, CUT)
    write_bands(
        output.path(f"bands/{part.shard}.parquet"),
        rows,
        part.config.similar_bands,
        part.config.similar_rows,
    )
    return {"documents": len(rows)}


def choose(work: Choosing, output: ShardOutput) -> dict[str, int]:
    """Write every document's cluster and split. Raises TooFewDocumentsError."""
    with tempfile.TemporaryDirectory() as scratch:
        keepers = near(outputs_of(work.attempt, work.cut, "bands/"), Path(scratch))
    documents: list[dict[str, Any]] = []
    for path in outputs_of(work.attempt, work.cut, "cut/"):
        documents += pq.read_table(path, columns=["id", "language", "bytes"]).to_pylist()
    clusters = clusters_of(documents, keepers)
    held_out = choose_clusters(clusters, work.config)
    rows = [
        {
            "id": document["id"],
            "cluster": (cluster := keepers.get(document["id"], document["id"])),
            "split": "held-out" if cluster in held_out else "train",
        }
        for document in documents
    ]
    write_rows(output.path("choice.parquet"), rows, CHOICE)
    return {"clusters": len(clusters), "held-out-clusters": len(held_out)}


def divide(part: Dividing, output: ShardOutput) -> dict[str, int]:
    """Write the shard's documents into `train/` and `held-out/`, each sorted by id."""
    choice = {row["id"]: row for row in read_rows(outputs_of(part.attempt, [part.chosen], "choice.parquet"))}
    counts: Counter[str] = Counter()
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "held-out": []}
    for row in read_rows(outputs_of(part.attempt, [part.cut], "cut/")):
        split = choice[row["id"]]["split"]
        splits[split].append({**row, "cluster": choice[row["id"]]["cluster"]})
        counts.update({split: 1, f"{split}.bytes": row["bytes"], f"{split}.{row['language']}": 1})
    for split, rows in splits.items():
        write_rows(output.path(f"{split}/{part.cut.identity}.parquet"), rows, DOCUMENTS)
    return {"train": 0, "held-out": 0, "train.bytes": 0, "held-out.bytes": 0, **counts}


def clusters_of(documents: Iterable[Mapping[str, Any]], keepers: Mapping[str, str]) -> list[Cluster]:
    """Clusters sorted by id, of documents with id, language and bytes; `keepers` says who belongs to whom."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for document in sorted(documents, key=lambda document: str(document["id"])):
        members.setdefault(keepers.get(document["id"], document["id"]), []).append(document)
    return [
        Cluster(
            id=cluster,
            language=inside[0]["language"],
            documents=len(inside),
            bytes=sum(document["bytes"] for document in inside),
            longest=max(document["bytes"] for document in inside),
        )
        for cluster, inside in sorted(members.items())
    ]


def choose_clusters(clusters: Sequence[Cluster], config: HoldOutConfig) -> set[str]:
    """Ids of the clusters to hold out; the order in which they are taken is by a hash of their id.

    From each language clusters are taken until its share is reached, then from all until the
    minima are: never more than a third of the bytes, and no document of over a tenth of what is
    held out. A corpus too small for that gives what is possible, one cluster at least.
    Raises TooFewDocumentsError where that would be all there is.
    """
    if len(clusters) < 2:
        raise TooFewDocumentsError(
            f"the corpus has {sum(cluster.documents for cluster in clusters)} documents that all resemble "
            "each other, so none can be held out: crawl more pages"
        )
    order = sorted(
        clusters, key=lambda cluster: hashlib.sha256(f"{config.seed}:{cluster.id}".encode()).digest()
    )
    total = sum(cluster.bytes for cluster in clusters)
    most = total // LARGEST_SHARE
    target = min(most, max(round(config.share * total), config.minimum_bytes))
    chosen = _take(order, target, most, target // DOCUMENTS_PER_PART, config)
    if sum(cluster.bytes for cluster in chosen) < target:
        # Too few documents are that short: rather a longer one than too little.
        chosen = _take(order, target, most, total, config)
    return {cluster.id for cluster in chosen} or {
        min(clusters, key=lambda cluster: (cluster.bytes, cluster.id)).id
    }


def _take(
    order: Sequence[Cluster], target: int, most: int, longest: int, config: HoldOutConfig
) -> list[Cluster]:
    """Clusters without documents over `longest` bytes, until `target` bytes; `most` is never exceeded."""
    chosen: dict[str, Cluster] = {}
    held_bytes: Counter[str] = Counter()
    fitting = [cluster for cluster in order if cluster.longest <= longest]

    def take(cluster: Cluster) -> None:
        if cluster.id not in chosen and held_bytes.total() + cluster.bytes <= most:
            chosen[cluster.id] = cluster
            held_bytes[cluster.language] += cluster.bytes

    all_bytes: Counter[str] = Counter()
    for cluster in order:
        all_bytes[cluster.language] += cluster.bytes
    for cluster in fitting:
        if held_bytes[cluster.language] < config.share * all_bytes[cluster.language]:
            take(cluster)
    held_documents = sum(cluster.documents for cluster in chosen.values())
    for cluster in fitting:
        if held_bytes.total() >= target and held_documents >= config.minimum_documents:
            break
        before = len(chosen)
        take(cluster)
        held_documents += cluster.documents if len(chosen) > before else 0
    return list(chosen.values())

"""The stage that sets documents apart: pages → documents by section, for training and held out.

Held-out documents are chosen by cluster of near duplicates and before vocabulary, training rows
and conversations are made, so that no later stage can have seen them. The work itself is in
hold_out_shards.py.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.clean import Documents
from pipeline.corpus.tables import as_dataset
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, Store, Work

if TYPE_CHECKING:
    import datasets

Split = Literal["train", "held-out"]

FILLED = 0.55
"""Of `document_bytes`, what a document has that was cut at its headings; 0.5 to 0.6 in four corpora."""


class HoldOutConfig(Config):
    """How long a document may be, and how much is held out."""

    document_bytes: int = Field(default=20_000, ge=200)
    """UTF-8 bytes of a document at most; longer pages are cut at their headings."""
    share: float = Field(default=0.06, gt=0, lt=0.34)
    """Share of each language's bytes that is held out."""
    minimum_documents: int = Field(default=20, ge=1)
    """Held-out documents at least, where a third of the corpus has as many."""
    minimum_bytes: int = Field(default=200_000, ge=1)
    """Held-out UTF-8 bytes at least, where a third of the corpus has as many."""
    similar_bands: int = Field(default=20, ge=1, le=1_000)
    """Bands of the signature by which documents are taken for one cluster."""
    similar_rows: int = Field(default=5, ge=1, le=100)
    """Hashes in a band; with 20 bands of 5, half of the pairs of similarity .51 are one cluster."""
    seed: int = 0
    """Another seed holds out other clusters."""


class Corpus(Artifact):
    """Documents of at most 20 kB in `train/` and `held-out/`; near duplicates are in the same split.

    `overlap/` has which document for training shares words with which held-out one.
    """

    stage, role, revision = "hold-out", "corpus", 4

    def dataset(self, split: Split) -> "datasets.Dataset":
        """Columns as in tables.DOCUMENTS; sorted by id within each shard."""
        return as_dataset(self.paths(f"{split}/"))

    def texts(self, split: Split) -> Iterator[str]:
        """Every document's text, in the order of shards and ids, without loading the rest."""
        from pipeline.corpus.tables import read_texts

        for path in self.paths(f"{split}/"):
            yield from read_texts(path)


def hold_out(store: Store, documents: Documents, config: HoldOutConfig, compute: Compute) -> Corpus:
    """Documents by section, of which a share is held out: whole clusters of near duplicates, by hash.

    Every language is held out by its own share. Raises TooFewDocumentsError if that would leave
    nothing to train on.
    """
    return store.make(
        Corpus,
        config,
        {"documents": documents},
        partial(_build, documents=documents, config=config, compute=compute),
        work=partial(_work, documents, config),
    )


def _work(documents: Documents, config: HoldOutConfig) -> Work:
    """Both splits, as if there were one language and no long cluster."""
    counts = documents.counts()
    size = counts["kept-bytes"]
    held_out = min(max(config.share * size, config.minimum_bytes), size / 3)
    cut = max(counts["kept"], size / (FILLED * config.document_bytes))
    return {
        "documents": counts["kept"],
        "bytes": size,
        "train": cut * (1 - held_out / max(1, size)),
        "train.bytes": size - held_out,
        "held-out": cut * held_out / max(1, size),
        "held-out.bytes": held_out,
    }


def _build(attempt: Attempt, documents: Documents, config: HoldOutConfig, compute: Compute) -> Made:
    from pipeline.corpus import hold_out_overlap as overlap
    from pipeline.corpus import hold_out_shards as shards

    names = [name.removeprefix("kept/").removesuffix(".parquet") for name in documents.names("kept/")]
    cut = compute.map_shards(
        attempt,
        "cut",
        {name: shards.Cutting(documents, name, config) for name in names},
        shards.cut,
    )
    chosen = compute.map_shards(
        attempt, "choose", {"all": shards.Choosing(attempt, tuple(cut), config)}, shards.choose
    )
    divided = compute.map_shards(
        attempt,
        "divide",
        {
            record.identity: shards.Dividing(attempt, record, chosen[0])
            for record in cut
            if record.lost is None
        },
        shards.divide,
    )
    there = [record for record in divided if record.lost is None]
    indexed = compute.map_shards(
        attempt, "index", {"held-out": overlap.Indexing(attempt, tuple(there))}, overlap.index
    )
    compared = compute.map_shards(
        attempt,
        "overlap",
        {record.identity: overlap.Searching(attempt, record, indexed[0]) for record in there},
        overlap.search,
    )
    return Made(
        files=files_of(divided) | files_of(compared),
        counts=counts_of(divided) | counts_of(chosen) | counts_of(compared),
        incomplete=any_lost(cut + chosen + divided + compared),
    )

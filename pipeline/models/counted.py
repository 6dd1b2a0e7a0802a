"""The stage that counts: an n-gram model of all training tokens, by interpolated Kneser-Ney smoothing.

Kneser and Ney (1995), interpolated and with three discounts as Chen and Goodman (1998) have it; `one` takes
the single discount of the former. The tokens are those that networks are trained on. Three steps of Ray tasks
(counting.py): each token shard's n-grams are counted; all counts of a range of first tokens are brought
together, and sorted; their shares are computed with the discounts of all ranges. What comes out hangs neither
on shards nor on ranges.
"""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pipeline.models.ngram import NGramModel

FOLDER = "ngram"
TOKENS_PER_RANGE = 20_000_000
"""Of all training tokens about so many are counted in one range of first tokens."""
Discounts = Literal["modified", "one"]


class NGramConfig(Config):
    """A model that counts how often tokens follow one another."""

    order: int = Field(default=5, ge=1, le=12)
    """Tokens of the longest sequences that are counted: the last, and what it is foretold from."""
    discounts: Discounts = "modified"
    """What is taken off each count: "modified", more from what was seen twice or more often (Chen and
    Goodman, 1998); "one", the same from all (Kneser and Ney, 1995)."""


class CountedModel(Artifact):
    """An n-gram model: `ngram/` has three sorted arrays for each length, looked up where they lie."""

    stage, role, revision = "count", "ngram", 1

    def open(self) -> "NGramModel":
        """The model, memory-mapped."""
        from pipeline.models.ngram import NGramModel

        return NGramModel.open(self.folder(FOLDER))


def count_ngrams(
    store: Store, tokens: Tokens, vocabulary: Vocabulary, config: NGramConfig, compute: Compute
) -> CountedModel:
    """Count the training tokens, and judge the model on the held-out ones."""
    return store.make(
        CountedModel,
        config,
        {"tokens": tokens, "vocabulary": vocabulary},
        partial(_build, tokens=tokens, vocabulary=vocabulary, config=config, compute=compute),
        work=lambda: {"tokens": tokens.counts().get("train.tokens", 0)},
    )


def _build(
    attempt: Attempt, tokens: Tokens, vocabulary: Vocabulary, config: NGramConfig, compute: Compute
) -> Made:
    from pipeline.models.counting import (
        CountShard,
        MergeRange,
        SmoothRange,
        count_shard,
        merge_range,
        smooth_range,
        write_model,
    )

    begin = vocabulary.encoder().begin
    ranges = max(1, round(tokens.counts()["train.tokens"] / TOKENS_PER_RANGE))
    starts = tuple(number * vocabulary.pieces // ranges for number in range(ranges))
    shards = {
        name.removesuffix(".tokens.npy").replace("/", "-"): CountShard(
            tokens, name, config.order, begin, starts
        )
        for name in tokens.names("train/")
        if name.endswith(".tokens.npy")
    }
    counted = compute.map_shards(attempt, "count", shards, count_shard)
    found = counts_of(counted)
    order = max(number for number in range(1, config.order + 1) if found.get(f"grams.{number}"))
    names = [f"range-{number:04d}" for number in range(ranges)]
    here, pieces, files = (attempt.storage, attempt.base), vocabulary.pieces, files_of(counted)
    merges = {name: MergeRange(*here, name, files, order, begin, pieces) for name in names}
    merged = compute.map_shards(attempt, "merge", merges, merge_range)
    totals, one = counts_of(merged), config.discounts == "one"
    of_counts = counts_of_counts(totals, order)
    smooths = {
        record.identity: SmoothRange(*here, record, order, pieces, of_counts, one) for record in merged
    }
    smoothed = compute.map_shards(attempt, "smooth", smooths, smooth_range)
    folder = attempt.path(f"{FOLDER}/.").resolve()
    write_model(folder, smooths, smoothed, begin)
    loss = held_out_loss(tokens, folder)
    return Made(
        files=attempt.publish_folder(FOLDER),
        counts={
            "tokens": int(tokens.counts()["train.tokens"]),
            **{f"grams.{number}": totals[f"grams.{number}"] for number in range(1, order + 1)},
        },
        figures={
            "held_out_loss": loss,
            "held_out_bits_per_byte": loss / math.log(2) * tokens.held_out_tokens_per_byte(),
        },
        incomplete=any_lost(counted) or any_lost(merged) or any_lost(smoothed),
    )


def counts_of_counts(totals: Mapping[str, int], order: int) -> tuple[tuple[int, ...], ...]:
    """Of each length: how many n-grams have a count of 1, 2, 3 and 4."""
    return tuple(
        tuple(totals.get(f"{number}.{count}", 0) for count in (1, 2, 3, 4)) for number in range(1, order + 1)
    )


def held_out_loss(tokens: Tokens, folder: Path) -> float:
    """Nats of each held-out token that is foretold, on average."""
    from pipeline.models.ngram import NGramModel
    from pipeline.tokens.rows import open_tokens

    model, nats, labels = NGramModel.open(folder), 0.0, 0
    for path in tokens.paths("held-out/"):
        if path.name.endswith(".tokens.npy"):
            ids = open_tokens(path)
            nats -= float(model.log_probabilities(ids).sum())
            labels += int((ids != model.begin).sum())
    return nats / labels

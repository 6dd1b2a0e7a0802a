"""The documents that a vocabulary is learned from: all of a small corpus, a sample of a large one."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import merge
from operator import itemgetter
from typing import Any

from pipeline.corpus.hold_out import Corpus, Split
from pipeline.tokens.vocabulary import VocabularyConfig


class Sample:
    """Training texts in the order of their documents' ids, read anew each time; some are in memory.

    Whether a document is drawn hangs on the seed, its id, its language and the bytes of each language in
    the corpus: not on how the corpus is cut into files, nor on who reads it. With
    `vocabulary.language_shares` each language is drawn to its share of `sample_bytes`, and languages
    that are not named are left out; without it all are drawn alike.
    """

    def __init__(self, corpus: Corpus, config: VocabularyConfig) -> None:
        self._corpus, self._seed = corpus, config.seed
        shares = config.language_shares
        self.bytes_by_language = self._count() if shares else {}
        total = corpus.record.counts.get("train.bytes", 0)
        self._rates = (
            {
                language: min(1.0, share * config.sample_bytes / max(1, self.bytes_by_language[language]))
                for language, share in shares.items()
                if language in self.bytes_by_language
            }
            if shares
            else config.sample_bytes / max(1, total)
        )

    def __iter__(self) -> Iterator[str]:
        """Texts that are not empty, as they stand in the corpus."""
        for row in rows_by_id(self._corpus, "train"):
            rate = self._rates if isinstance(self._rates, float) else self._rates.get(row["language"], 0)
            if row["text"] and luck(self._seed, row["id"]) < rate:
                yield row["text"]

    def _count(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        for row in rows_by_id(self._corpus, "train"):
            found[row["language"]] += len(row["text"].encode())
        return found


def rows_by_id(corpus: Corpus, split: Split) -> Iterator[Mapping[str, Any]]:
    """Documents with id, language and text. Shards are sorted by id, so merging them sorts all."""
    from pipeline.corpus.tables import read_documents

    shards = [read_documents(path, ["id", "language", "text"]) for path in corpus.paths(f"{split}/")]
    return merge(*shards, key=itemgetter("id"))


def luck(seed: int, identity: str) -> float:
    """Evenly spread in [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"vocabulary {seed} {identity}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)

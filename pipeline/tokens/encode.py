"""Tokens: the corpus as ids, packed into rows, with an index from every row back to its documents.

Per split and corpus shard: `<split>/NNNNN.tokens.npy`, all documents one after another, each as
<s>, its ids, </s>; `<split>/NNNNN.documents.parquet`, where each begins and what it is; and per
split `<split>/rows.npy`, the packed pieces (`pipeline.tokens.rows.PIECE`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import StageError
from pipeline.shards import ShardOutput, any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, File, Made, Storage, Store
from pipeline.tokens.encoders import Encoder, Ids
from pipeline.tokens.markers import PAD_ID, neutralise
from pipeline.tokens.rows import PIECE, Rows
from pipeline.tokens.texts import COLUMNS, TextConfig, names_of, text_of
from pipeline.tokens.vocabulary import FOLDER, Vocabulary, require_unchanged

SPLITS = ("train", "held-out")
CHECKED_EVERY = 64
"""One document in so many is also encoded by the transformers tokenizer, and the ids compared."""
TEXTS_AT_ONCE = 256


class TokensConfig(Config):
    """How the corpus becomes training rows."""

    row_tokens: int = Field(default=512, ge=8, le=1 << 20)
    """Context length T, in tokens; a longer document is cut."""
    texts: tuple[TextConfig, ...] = ()
    """Documents for training that are packed into rows of their own, for [pretrain.mixture]. Default: all are
    one text."""

    @model_validator(mode="after")
    def texts_have_names_of_their_own(self) -> Self:
        names = [text.name for text in self.texts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two texts are called {', '.join(twice)}; give each a name of its own")
        return self


class EmptySplitError(StageError):
    """A split of the corpus has no documents."""

    passes = False
    remedy = "Crawl more, or set the shares of [hold_out] so that both splits get documents."


class Tokens(Artifact):
    """Token files, document indexes and packed rows of both splits."""

    stage, role, revision = "tokens", "tokens", 1

    @property
    def row_tokens(self) -> int:
        return int(self.config()["row_tokens"])

    def text_rows(self) -> dict[str, int]:
        """Rows for training of each text, in the order of their numbers; empty where all are one text."""
        names = names_of([TextConfig.model_validate(text) for text in self.config().get("texts", ())])
        return {name: int(self.counts().get(f"train.rows.{name}", 0)) for name in names}

    def held_out_tokens_per_byte(self) -> float:
        """Labels per UTF-8 byte of the held-out documents."""
        import pyarrow.parquet

        documents = [
            pyarrow.parquet.read_table(path, columns=["tokens", "bytes"])
            for path in self.paths("held-out/")
            if path.name.endswith(".documents.parquet")
        ]
        # of a document's tokens all but the first, <s>, are predicted
        labels: int = sum(sum(table["tokens"].to_pylist()) - len(table) for table in documents)
        size: int = sum(sum(table["bytes"].to_pylist()) for table in documents)
        return labels / size

    def rows(self, split: str) -> Rows:
        """The packed rows of `train` or `held-out`, memory-mapped."""
        tokens = [name for name in self.names(f"{split}/") if name.endswith(".tokens.npy")]
        return Rows(
            self.path(f"{split}/rows.npy"),
            [self.path(name) for name in tokens],
            [self.path(name.replace(".tokens.npy", ".documents.parquet")) for name in tokens],
            self.row_tokens,
            PAD_ID,
        )


class GeneralTokens(Tokens):
    """The same of a text that is mixed into another's training: in a run's names apart from that one's."""

    role = "general"


def tokenize(
    store: Store,
    corpus: Corpus,
    vocabulary: Vocabulary,
    config: TokensConfig,
    compute: Compute,
    kind: type[Tokens] = Tokens,
) -> Tokens:
    """Encode every document of the corpus and pack both splits into rows, as Ray tasks.

    Raises EmptySplitError.
    """
    return store.make(
        kind,
        config,
        {"corpus": corpus, "vocabulary": vocabulary},
        partial(_build, corpus=corpus, vocabulary=vocabulary, config=config, compute=compute),
        work=partial(_work, corpus, vocabulary, config),
    )


def _work(corpus: Corpus, vocabulary: Vocabulary, config: TokensConfig) -> dict[str, float]:
    sizes = {split: corpus.counts().get(f"{split}.bytes", 0) for split in SPLITS}
    tokens = {split: size / vocabulary.bytes_per_token() for split, size in sizes.items()}
    return {
        "bytes": sum(sizes.values()),
        "tokens": sum(tokens.values()),
        **{f"{split}.tokens": amount for split, amount in tokens.items()},
        **{f"{split}.rows": amount / config.row_tokens for split, amount in tokens.items()},
    }


@dataclass(frozen=True)
class EncodeShard:
    """One file of the corpus."""

    corpus: Corpus
    vocabulary: Vocabulary
    name: str
    """Logical name in the corpus, such as train/00003.parquet."""
    texts: tuple[TextConfig, ...] = ()


@dataclass(frozen=True)
class PackSplit:
    """The document indexes of one split, which an attempt has just written."""

    storage: Storage
    base: str
    split: str
    indexes: list[File]
    row_tokens: int
    texts: tuple[str, ...] = ()
    """Names, if documents of several texts do not come into one row."""


def _build(
    attempt: Attempt, corpus: Corpus, vocabulary: Vocabulary, config: TokensConfig, compute: Compute
) -> Made:
    shards = {
        name.removesuffix(".parquet").replace("/", "-"): EncodeShard(corpus, vocabulary, name, config.texts)
        for split in SPLITS
        for name in corpus.names(f"{split}/")
    }
    encoded = compute.map_shards(attempt, "encode", shards, encode_shard)
    counts, files = counts_of(encoded), files_of(encoded)
    for split in SPLITS:
        if not counts.get(f"{split}.documents"):
            raise EmptySplitError(
                f"the {split} split of {corpus.base} has no documents; give the flow more pages, "
                "or change what [hold_out] sets apart"
            )
    packs = {split: _pack_payload(attempt, split, files, config) for split in SPLITS}
    packed = compute.map_shards(attempt, "pack", packs, pack_split)
    counts |= counts_of(packed)
    totals = {
        each: sum(counts.get(f"{split}.{each}", 0) for split in SPLITS)
        for each in ("documents", "tokens", "rows")
    }
    return Made(
        files=files | files_of(packed),
        counts=totals | dict(sorted(counts.items())),
        figures={
            "bytes_per_token": counts["train.bytes"] / counts["train.tokens"],
            "row_filling": counts["train.tokens"] / (counts["train.rows"] * config.row_tokens),
        },
        incomplete=any_lost(encoded) or any_lost(packed),
    )


def _pack_payload(attempt: Attempt, split: str, files: dict[str, File], config: TokensConfig) -> PackSplit:
    indexes = [
        files[name]
        for name in sorted(files)
        if name.startswith(f"{split}/") and name.endswith(".documents.parquet")
    ]
    texts = tuple(names_of(config.texts)) if split == "train" else ()
    return PackSplit(attempt.storage, attempt.base, split, indexes, config.row_tokens, texts)


def encode_shard(shard: EncodeShard, output: ShardOutput) -> dict[str, int]:
    """A corpus file as a token file and its document index. Counts: documents, tokens, bytes by split.

    A few documents are in memory at a time, however large the file is.
    """
    from pipeline.tokens.token_files import INDEX, INDEX_OF_TEXTS, DocumentIndex, TokenFile

    split, name = shard.name.removesuffix(".parquet").split("/")
    kind = _id_type(shard.vocabulary.pieces)
    encoder = shard.vocabulary.encoder()
    begin, end = np.array([encoder.begin]), np.array([encoder.end])
    documents = tokens = size = 0
    with (
        TokenFile(output.path(f"{split}/{name}.tokens.npy"), kind) as file,
        DocumentIndex(
            output.path(f"{split}/{name}.documents.parquet"), INDEX_OF_TEXTS if shard.texts else INDEX
        ) as index,
    ):
        for rows, encoded in _encoded(shard, encoder):
            for row, ids in zip(rows, encoded, strict=True):
                row_bytes, row_tokens = len(row.pop("text").encode()), len(ids) + 2
                placed = {"offset": tokens, "tokens": row_tokens, "bytes": row_bytes}
                index.append(
                    {**row, **placed, **({"text": text_of(row, shard.texts)} if shard.texts else {})}
                )
                for part in (begin, ids, end):
                    file.append(part)
                documents, tokens, size = documents + 1, tokens + row_tokens, size + row_bytes
    return {f"{split}.documents": documents, f"{split}.tokens": tokens, f"{split}.bytes": size}


def _encoded(shard: EncodeShard, encoder: Encoder) -> Iterator[tuple[list[dict[str, Any]], list[Ids]]]:
    """Some documents at a time, with each one's ids. SentencePiece's are checked now and then against those
    of transformers; by any other library every text must come back.

    Raises TokenizersDifferError and VocabularyLosesTextError.
    """
    from pipeline.corpus.tables import read_documents
    from pipeline.tokens.encoders import FastEncoder
    from pipeline.tokens.transformers_files import Comparison

    compare = Comparison(shard.vocabulary.folder(FOLDER))
    columns = ["id", "url", "language", "text", *(COLUMNS if shard.texts else ())]
    rows = read_documents(shard.corpus.path(shard.name), columns)
    while some := list(islice(rows, TEXTS_AT_ONCE)):
        texts = [neutralise(row["text"], encoder.markers) for row in some]
        encoded = encoder.encode(texts)
        compare(texts[::CHECKED_EVERY], encoded[::CHECKED_EVERY])
        if isinstance(encoder, FastEncoder):
            require_unchanged(f"{shard.vocabulary.base} in {shard.name}", encoder, texts, encoded)
        yield some, encoded


def _id_type(pieces: int) -> type[np.unsignedinteger[Any]]:
    return np.uint16 if pieces <= np.iinfo(np.uint16).max + 1 else np.uint32


def pack_split(work: PackSplit, output: ShardOutput) -> dict[str, int]:
    """The rows of one split, text after text. Counts: rows, and pieces that they hold; of several texts the
    rows of each."""
    import pyarrow.parquet as pq

    from pipeline.tokens.pack import pack_shards

    columns = ["tokens", *(["text"] if work.texts else [])]
    tables = [pq.read_table(_local(work, index), columns=columns) for index in work.indexes]
    lengths = [table["tokens"].to_numpy() for table in tables]
    packed, counts, rows = [], {}, 0
    for text in work.texts or (None,):
        chosen = text and [np.array(table["text"].to_pylist()) == text for table in tables]
        pieces = pack_shards(lengths, work.row_tokens, chosen or None)
        assert pieces.dtype == PIECE
        own = int(pieces["row"][-1]) + 1 if len(pieces) else 0
        pieces["row"] += rows
        rows += own
        packed.append(pieces)
        if text:
            counts[f"{work.split}.rows.{text}"] = own
    pieces = np.concatenate(packed)
    np.save(output.path(f"{work.split}/rows.npy"), pieces)
    return {f"{work.split}.rows": rows, f"{work.split}.pieces": len(pieces), **counts}


def _local(work: PackSplit, file: File) -> Path:
    return work.storage.download(f"{work.base}/{file.path}", file.sha256)

"""Rows of noise with a vocabulary of any size: to measure how fast a model trains, no corpus is needed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from pipeline.tokens.rows import PIECE, Rows
from pipeline.training.worker import Data

BOS, EOS, PAD = 0, 1, 2
HELD_OUT_ROWS = 8


def synthetic_data(
    folder: Path, *, pieces: int, row_tokens: int, rows: int, documents_per_row: int = 1, seed: int = 0
) -> Data:
    """`rows` full training rows of `documents_per_row` documents of equal length, and a few held-out rows.

    `pieces` is the size of the vocabulary. Written below `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return Data(
        train=_rows(folder, "train", pieces, row_tokens, rows, documents_per_row, seed),
        held_out=_rows(folder, "held-out", pieces, row_tokens, HELD_OUT_ROWS, documents_per_row, seed + 1),
        held_out_tokens_per_byte=1.0,
        tokenizer_folder=_tokenizer(folder / "tokenizer", pieces),
    )


def _rows(
    folder: Path, name: str, pieces: int, row_tokens: int, rows: int, documents_per_row: int, seed: int
) -> Rows:
    shard, index, table = folder / f"{name}.tokens.npy", folder / f"{name}.parquet", folder / f"{name}.npy"
    kind = np.uint16 if pieces <= 1 << 16 else np.uint32
    np.save(shard, np.random.default_rng(seed).integers(PAD + 1, pieces, rows * row_tokens).astype(kind))
    bounds = np.linspace(0, row_tokens, documents_per_row + 1).astype(np.int64)
    found = np.zeros(rows * documents_per_row, PIECE)
    found["row"] = np.repeat(np.arange(rows), documents_per_row)
    found["document"] = np.arange(len(found))
    found["start"] = (np.arange(rows)[:, None] * row_tokens + bounds[:-1]).ravel()
    found["tokens"] = np.tile(np.diff(bounds), rows)
    np.save(table, found)
    names = [f"noise:{number}" for number in range(len(found))]
    pq.write_table(pa.table({"id": names, "url": names, "offset": found["start"].astype(np.int64)}), index)
    return Rows(table, [shard], [index], row_tokens, PAD)


def _tokenizer(folder: Path, pieces: int) -> Path:
    """A tokenizer that has as many words."""
    special = ["<s>", "</s>", "<pad>"]
    words = {word: number for number, word in enumerate([*special, *map(str, range(len(special), pieces))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.save_pretrained(folder)
    return folder

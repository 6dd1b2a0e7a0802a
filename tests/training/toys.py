"""A tiny corpus packed into rows, on disk, without the stages that usually make them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline.store import Attempt, Storage
from pipeline.tokens.pack import pack
from pipeline.tokens.rows import PIECE, Rows
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.worker import Data

BOS, EOS, PAD = 256, 257, 258
VOCABULARY_SIZE = 259


def byte_tokenizer(folder: Path) -> Path:
    """A tokenizer of 256 bytes and <s>, </s>, <pad>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.save_pretrained(folder)
    return folder


def rows_of(folder: Path, name: str, texts: list[str], row_tokens: int) -> Rows:
    """The texts, one token a byte, packed into rows; the URL of text 3 is http://test/3."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = [np.array([BOS, *text.encode(), EOS], np.uint16) for text in texts]
    lengths = np.array([len(document) for document in documents])
    tokens, index, pieces = folder / f"{name}.tokens.npy", folder / f"{name}.parquet", folder / f"{name}.npy"
    np.save(tokens, np.concatenate(documents))
    offsets = np.cumsum(lengths) - lengths
    urls = [f"http://test/{number}" for number in range(len(texts))]
    pq.write_table(pa.table({"id": urls, "url": urls, "offset": offsets}), index)
    row, document, start, count = pack(lengths, row_tokens)
    table = np.zeros(len(row), PIECE)
    table["row"], table["document"], table["tokens"] = row, document, count
    table["start"] = offsets[document] + start
    np.save(pieces, table)
    return Rows(pieces, [tokens], [index], row_tokens, PAD)


def toy_texts(count: int, seed: int) -> list[str]:
    """Sums such as "3 + 4 = 7. ", of which a small model learns something within a few steps."""
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        pairs = random.integers(0, 10, (int(random.integers(1, 12)), 2))
        texts.append("".join(f"{a} + {b} = {a + b}. " for a, b in pairs))
    return texts


def toy_data(folder: Path, row_tokens: int = 32) -> Data:
    """About 100 training rows and 10 held-out rows."""
    held_out = toy_texts(5, seed=2)
    size = sum(len(text) for text in held_out)
    return Data(
        train=rows_of(folder, "train", toy_texts(50, seed=1), row_tokens),
        held_out=rows_of(folder, "held-out", held_out, row_tokens),
        held_out_tokens_per_byte=(size + len(held_out)) / size,
        tokenizer_folder=byte_tokenizer(folder / "tokenizer"),
    )


def toy_config(**values: Any) -> PretrainConfig:
    """A model of 25 thousand weights, 8 rows a batch."""
    given: dict[str, Any] = {
        "depth": 1,
        "width": 32,
        "heads": 2,
        "batch_tokens": 256,
        "steps": 20,
        "learning_rate": 0.01,
        "prompts": ("3 + 4 =",),
    }
    return PretrainConfig(**(given | values))


def toy_attempt(folder: Path, id: str = "first") -> Attempt:
    return Attempt(Storage(str(folder / "store")), "pretrain", "toy", id)

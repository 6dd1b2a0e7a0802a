"""From text to ids and back, by whichever library has the vocabulary."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]
MODEL = "tokenizer.model"
"""SentencePiece's own file; a vocabulary without it is encoded by `tokenizers`."""


class Encoder(Protocol):
    """For text that went through `neutralise`: it adds no markers, and makes none from text."""

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, on one thread: a Ray task has one processor."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids of one text."""
        ...


class SentencePieceEncoder:
    """SentencePiece: for BPE half as fast again as `tokenizers`, for unigram six times."""

    def __init__(self, model: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._processor = SentencePieceProcessor(model_proto=model)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        found: list[Ids] = self._processor.encode(list(texts), return_type="numpy", num_threads=1)
        return found

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._processor.decode(list(ids))
        return text


class FastEncoder:
    """`tokenizers`, the library below transformers."""

    def __init__(self, path: Path) -> None:
        import tokenizers

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(each.ids, np.uint32) for each in found]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text


def open_encoder(folder: Path) -> Encoder:
    """The encoder of a vocabulary's folder."""
    model = folder / MODEL
    return (
        SentencePieceEncoder(model.read_bytes()) if model.exists() else FastEncoder(folder / "tokenizer.json")
    )

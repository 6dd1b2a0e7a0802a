"""From text to ids and back, by whichever library has the vocabulary."""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.tokens.markers import BEGIN_ID, END_ID, MARKERS, SPACE_SIGN
from pipeline.tokens.pieces import bytes_of_pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = NDArray[np.integer[Any]]
MODEL = "tokenizer.model"
"""SentencePiece's own file; a vocabulary without it is encoded by `tokenizers`."""


class Encoder(Protocol):
    """For text that went through `neutralise` with its markers: it adds none, and makes none from text."""

    markers: tuple[str, ...]
    """What text must not be taken for."""
    begin: int
    """The id that a document begins with."""
    end: int
    """The id that it ends with."""

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, on one thread: a Ray task has one processor."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids of one text."""
        ...


class SentencePieceEncoder:
    """SentencePiece: for BPE half as fast again as `tokenizers`, for unigram six times."""

    markers: tuple[str, ...] = MARKERS
    begin: int = BEGIN_ID
    end: int = END_ID

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
    """`tokenizers`, the library below transformers, with a folder that transformers reads."""

    def __init__(self, folder: Path) -> None:
        import tokenizers

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        made.no_padding()
        made.no_truncation()
        special = [token.content for token in made.get_added_tokens_decoder().values() if token.special]
        self.markers: tuple[str, ...] = tuple(sorted({*MARKERS, *special}))
        settings = json.loads((folder / "tokenizer_config.json").read_bytes())
        self.begin = cast(int, made.token_to_id(settings["bos_token"]))
        self.end = cast(int, made.token_to_id(settings["eos_token"]))
        self._tokenizer = made
        self._lengths = _piece_lengths(made) if _cuts_alone(made) else None

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(each.ids, np.uint32) for each in found]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def changed(self, texts: Sequence[str], encoded: Sequence[Ids]) -> list[tuple[int, str]]:
        """Places of the texts that their ids do not give back, each with what they give.

        To decode a text takes a sixth of the time of encoding it. A tokenizer that does nothing but cut can
        leave something out, but replace nothing: with it a text whose pieces have as many bytes as itself
        comes back, and only the others are decoded.
        """
        found = []
        for place, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
            if not self._has_all_bytes(text, ids) and (back := self.decode(ids.tolist())) != text:
                found.append((place, back))
        return found

    def _has_all_bytes(self, text: str, ids: Ids) -> bool:
        if self._lengths is None:
            return False
        return int(self._lengths[ids].sum()) == len(text.encode()) + self._before

    @cached_property
    def _before(self) -> int:
        """1 if it puts a space before each text that decoding takes away again."""
        begin = self.encode(["a"])[0]
        spelt = 0 if self._lengths is None else int(self._lengths[begin].sum())
        return 1 if spelt == 2 and self.decode(begin.tolist()) == "a" else 0


def _cuts_alone(tokenizer: "Tokenizer") -> bool:
    """Whether it has no normalizer but those that write a space as U+2581 and put one before the text."""
    state = tokenizer.normalizer.__getstate__() if tokenizer.normalizer is not None else b'{"normalizers":[]}'
    normalizer = json.loads(state)
    space = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SIGN}
    before = {"type": "Prepend", "prepend": SPACE_SIGN}
    return all(each in (space, before) for each in normalizer.get("normalizers", [normalizer]))


def _piece_lengths(tokenizer: "Tokenizer") -> NDArray[np.int64]:
    """Bytes of text that each id stands for."""
    added = tokenizer.get_added_tokens_decoder()
    names = [
        tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size(with_added_tokens=True))
    ]
    texts = {index: token.content for index, token in added.items()}
    markers = {index for index, token in added.items() if token.special}
    spelt = bytes_of_pieces(names, texts, markers, tokenizer.decoder)
    return np.array([len(each) for each in spelt], np.int64)


def open_encoder(folder: Path) -> Encoder:
    """The encoder of a vocabulary's folder."""
    model = folder / MODEL
    return SentencePieceEncoder(model.read_bytes()) if model.exists() else FastEncoder(folder)

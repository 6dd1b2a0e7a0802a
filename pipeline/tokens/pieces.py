"""What the pieces of a tokenizer stand for, in bytes of text."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.tokens.markers import SPACE_SIGN

BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A piece that is one byte, as SentencePiece writes it."""


def bytes_of_pieces(
    names: Sequence[str | None], added: Mapping[int, str], markers: Collection[int], decoder: Any
) -> list[bytes]:
    """The UTF-8 bytes that each id stands for; empty for `markers`. Index: token id.

    `names` are the pieces as the vocabulary has them, `added` those among them that are text wherever it
    stands, such as runs of spaces; `decoder` is that of `tokenizers`. It follows GPT-2 (each byte has a
    letter of its own) or SentencePiece (U+2581 is a space, `<0xNN>` a single byte).
    """
    letters = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
    spell = _of_letters if letters else _of_sentencepiece
    raw = {index: text.encode() for index, text in added.items()} if letters else {}
    return [
        b"" if index in markers or name is None else raw.get(index) or spell(name)
        for index, name in enumerate(names)
    ]


def _of_letters(piece: str) -> bytes:
    return bytes(_BYTE_OF_LETTER[letter] for letter in piece)


def _byte_of_letter() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTE_OF_LETTER = _byte_of_letter()


def _of_sentencepiece(piece: str) -> bytes:
    if BYTE.fullmatch(piece):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE_SIGN, " ").encode()

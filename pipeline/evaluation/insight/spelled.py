"""A text as a model reads it, tokens, and as people do, words; and which token belongs to which word."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.errors import InputError
from pipeline.models.generation import context_tokens, encode, piece_bytes
from pipeline.models.words import is_word_character


class NothingToLookAtError(InputError):
    """The text that a model is to be looked into with has no word, or is longer than the model can see."""

    remedy = "Give a sentence in quotes that is shorter than the model's context."


@dataclass(frozen=True)
class Word:
    """A run of letters, digits, marks and underscores in a text."""

    text: str
    start: int
    """Index of its first character in the text."""
    tokens: tuple[int, ...]
    """Indices of the tokens that hold some of its bytes; the space before a word may be in them."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Spelled:
    """A text in tokens and in words."""

    text: str
    """As the tokenizer decodes it."""
    ids: tuple[int, ...]
    """BOS first, where the tokenizer has one."""
    pieces: tuple[bytes, ...]
    """UTF-8 bytes of each token; empty for a marker."""
    words: tuple[Word, ...]

    def word(self, text: str) -> Word:
        """The first word that is spelt so; failing that, so but for its case. Raises NothingToLookAtError."""
        for alike in (str, str.casefold):
            for word in self.words:
                if alike(word.text) == alike(text):
                    return word
        there = ", ".join(word.text for word in self.words) or "none"
        raise NothingToLookAtError(f"there is no word {text!r} in {self.text!r}; its words: {there}")


def spell(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> Spelled:
    """Raises NothingToLookAtError if the text has no word, or more tokens than the model can see."""
    ids = encode(tokenizer, text)
    room = context_tokens(model)
    if len(ids) > room:
        raise NothingToLookAtError(f"the text has {len(ids)} tokens, and the model sees {room}; shorten it")
    spelt = piece_bytes(tokenizer)
    pieces = [spelt[token] for token in ids]
    whole = b"".join(pieces).decode(errors="replace")
    words = tuple(_words(whole, pieces))
    if not words:
        raise NothingToLookAtError(f'{text!r} has no word; give a sentence, such as "The function returns a"')
    return Spelled(whole, tuple(ids), tuple(pieces), words)


def _words(text: str, pieces: Sequence[bytes]) -> Iterator[Word]:
    ends = list(itertools.accumulate(len(piece) for piece in pieces))
    start = place = 0  # in characters, and in bytes
    for is_word, characters in itertools.groupby(text, is_word_character):
        run = "".join(characters)
        size = len(run.encode())
        if is_word:
            within = [
                token
                for token, (piece, end) in enumerate(zip(pieces, ends, strict=True))
                if end > place and end - len(piece) < place + size
            ]
            yield Word(run, start, tuple(within))
        start, place = start + len(run), place + size


def shown(piece: bytes) -> str:
    """Its characters; the bytes of a part of one as hexadecimal; ⟨⟩ where there are none."""
    if not piece:
        return "⟨⟩"
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in piece)

"""Noise that an encoder reads, and the text that its decoder writes.

T5 (Raffel et al., 2020, arXiv:1910.10683, section 3.1.4): spans are replaced by sentinels, one for each, and
the decoder writes every sentinel followed by what stood there. BART (Lewis et al., 2020, arXiv:1910.13461,
section 2.2): spans whose lengths are drawn from a Poisson distribution become a single mask (text infilling),
sentences change their order, and the decoder writes the whole text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.models.objectives.batches import SequenceBatch, pieces_of, random_of
from pipeline.tokens.mixture import TrainingRows
from pipeline.tokens.rows import NO_LABEL

SHORTEST_NOISED = 8
"""A piece of fewer tokens is only read: what it would be asked for is hardly told by the rest."""

Ids = NDArray[np.int64]


class Noise(Protocol):
    """What is done to a piece."""

    def __call__(self, tokens: Ids, random: np.random.Generator) -> tuple[Ids, Ids]:
        """What the encoder reads of it, no longer than the piece; what the decoder writes, without what it
        begins with."""
        ...

    def written(self, length: int) -> int:
        """Tokens that the decoder writes of a piece of so many."""
        ...


@dataclass(frozen=True)
class SpanCorruption:
    """T5's noise: what is missing is written, sentinel by sentinel."""

    share: float
    """Of the tokens that are left out."""
    mean_span: float
    """Tokens of a span, on average."""
    sentinels: tuple[int, ...]
    """Ids, the first for a piece's first span."""
    end: int
    """The id behind all that is written, and behind what is read."""

    def spans(self, length: int) -> tuple[int, int]:
        """How many of `length` tokens are left out, and in how many spans."""
        left_out = min(max(1, round(self.share * length)), length - 1)
        spans = max(1, round(left_out / self.mean_span))
        return left_out, min(spans, left_out, length - left_out, len(self.sentinels))

    def written(self, length: int) -> int:
        return sum(self.spans(length - 1)) + 1

    def __call__(self, tokens: Ids, random: np.random.Generator) -> tuple[Ids, Ids]:
        """Parts that stay and parts that are left out take turns; the first part, with <s>, stays."""
        inner = tokens[1:]
        left_out, spans = self.spans(len(inner))
        lengths = np.empty(2 * spans, np.int64)
        lengths[0::2] = _partition(len(inner) - left_out, spans, random)
        lengths[1::2] = _partition(left_out, spans, random)
        parts = np.split(inner, np.cumsum(lengths)[:-1])
        read, written = [tokens[:1]], []
        for sentinel, stays, missing in zip(self.sentinels, parts[0::2], parts[1::2], strict=False):
            mark = np.array([sentinel])
            read += [stays, mark]
            written += [mark, missing]
        return np.concatenate(read), np.concatenate([*written, [self.end]])


@dataclass(frozen=True)
class Infilling:
    """BART's noise: spans become one mask each, sentences change places; the whole text is written."""

    share: float
    """Of the tokens that are covered by masks."""
    mean_span: float
    """Of the Poisson distribution that a span's tokens are drawn from; a span of none puts a mask between
    two tokens."""
    mask: int
    end: int
    sentence_ends: NDArray[np.bool_]
    """[ids]: whether a sentence ends with the token."""

    def written(self, length: int) -> int:
        return length - 1

    def __call__(self, tokens: Ids, random: np.random.Generator) -> tuple[Ids, Ids]:
        inner = tokens[1:]
        last = len(inner) - 1 if inner[-1] == self.end else len(inner)
        read = self._masked(self._shuffled(inner[:last], random), random)
        return np.concatenate([tokens[:1], read, inner[last:]]), inner

    def _shuffled(self, tokens: Ids, random: np.random.Generator) -> Ids:
        """The sentences in any order; one that the piece's end cuts counts as a sentence."""
        sentences = np.split(tokens, np.flatnonzero(self.sentence_ends[tokens]) + 1)
        order = random.permutation(len(sentences))
        return np.concatenate([sentences[number] for number in order])

    def _masked(self, tokens: Ids, random: np.random.Generator) -> Ids:
        """Spans at random places, until a share of all is covered; they may touch, and never overlap. Never
        longer than before: masks between tokens are as many as others have made room for, at most."""
        spans, between, left = [], 0, round(self.share * len(tokens))
        while left > 0:
            length = min(int(random.poisson(self.mean_span)), left)
            spans += [length] if length else []
            between += length == 0
            left -= length
        lengths = np.array(spans, np.int64)
        stays = len(tokens) - lengths.sum()
        before = np.sort(random.integers(0, stays + 1, len(spans)))
        places = random.integers(0, stays + 1, min(between, int(lengths.sum()) - len(spans)))
        starts = before + np.cumsum(lengths) - lengths
        covered = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        kept = np.delete(tokens, covered)
        read: Ids = np.insert(kept, np.concatenate([before, places]), self.mask)
        return read


def _partition(total: int, parts: int, random: np.random.Generator) -> Ids:
    """So many positive lengths that come to the total, all such equally likely."""
    borders = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], borders, [total]]))


@dataclass(frozen=True)
class Denoising:
    """An encoder reads a row with noise, a decoder writes what the noise asks for."""

    seed: int
    noise: Noise
    row_tokens: int
    start: int
    """The id that the decoder begins each piece with."""
    pad: int

    @cached_property
    def decoder_tokens(self) -> int:
        """Room for what is written of any row, whatever pieces it has: all batches have one shape."""
        most = max(
            self.noise.written(length) / length for length in range(SHORTEST_NOISED, self.row_tokens + 1)
        )
        return math.ceil(most * self.row_tokens)

    def __call__(self, rows: TrainingRows, numbers: NDArray[np.int64], step: int) -> SequenceBatch:
        batch = rows.batch(numbers)
        B, T, D = *batch.tokens_BT.shape, self.decoder_tokens
        read = _Written(np.full((B, T), self.pad, np.int64))
        written, labels_BD = _Written(np.full((B, D), self.pad, np.int64)), np.full((B, D), NO_LABEL)
        for place, row in enumerate(numbers.tolist()):
            random = random_of(self.seed, step, row)
            column = end = 0
            for piece in pieces_of(batch.tokens_BT[place], batch.documents_BT[place]):
                given, wanted = piece.tokens, np.empty(0, np.int64)
                if len(piece.tokens) >= SHORTEST_NOISED:
                    given, wanted = self.noise(piece.tokens, random)
                column = read.put(place, column, piece.number, given)
                labels_BD[place, end : end + len(wanted)] = wanted
                end = written.put(place, end, piece.number, [self.start, *wanted[:-1]][: len(wanted)])
        return SequenceBatch(
            read.tokens, read.documents, read.positions, labels_BD,
            written.tokens, written.documents, written.positions,
        )  # fmt: skip


class _Written:
    """Rows that are filled piece by piece."""

    def __init__(self, tokens: NDArray[np.int64]) -> None:
        self.tokens = tokens
        self.documents = np.full(tokens.shape, -1, np.int32)
        self.positions = np.zeros(tokens.shape, np.int32)

    def put(self, row: int, column: int, number: int, tokens: Ids | Sequence[Any]) -> int:
        """Put a piece behind what is there. Returns where it ends."""
        end = column + len(tokens)
        self.tokens[row, column:end] = tokens
        self.documents[row, column:end] = number
        self.positions[row, column:end] = np.arange(len(tokens))
        return end

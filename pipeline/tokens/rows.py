"""Training rows: packed pieces of documents, read from memory-mapped token files.

B rows of a batch, T tokens of a row.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.tokens import order

if TYPE_CHECKING:
    import pyarrow

Number = TypeVar("Number", np.int32, np.int64)

NO_LABEL = -100
"""The label that torch's cross entropy leaves out."""

PIECE = np.dtype([("row", "<u4"), ("shard", "<u4"), ("document", "<u4"), ("start", "<u8"), ("tokens", "<u4")])
"""A stretch of one document in a row: `document` counts within its shard, `start` is the offset of
its first token in the shard's token file. Sorted by row; within a row in the order of their place."""


@dataclass(frozen=True)
class Batch:
    """What a model is given. All arrays have the shape [B, T]."""

    tokens_BT: NDArray[np.int64]
    """Token ids; after the last piece of a row `pad`, an id that nothing looks at."""
    documents_BT: NDArray[np.int32]
    """Number of the piece within its row, from 0; -1 on padding. Attention must stay within one."""
    positions_BT: NDArray[np.int32]
    """Tokens since the piece's beginning; 0 on padding."""
    labels_BT: NDArray[np.int64]
    """The token after each token of the same piece, already shifted; NO_LABEL where there is none."""


@dataclass(frozen=True)
class Origin:
    """Where a stretch of a row comes from."""

    document: str
    url: str
    start: int
    """First token of the stretch, counted from the document's beginning (its <s> is token 0)."""
    tokens: int


def open_tokens(path: Path) -> NDArray[Any]:
    """The tokens of a shard, one document after another, without reading them into memory."""
    try:
        tokens: NDArray[Any] = np.load(path, mmap_mode="r")
    except ValueError:  # an empty file cannot be mapped
        tokens = np.load(path)
    return tokens


class Rows:
    """The packed rows of a split. Opens files where it stands; pickles as paths."""

    def __init__(
        self, pieces: Path, shards: Sequence[Path], documents: Sequence[Path], row_tokens: int, pad: int
    ) -> None:
        """`shards` and `documents`: token files and document indexes in the order of shard numbers."""
        self._paths = (pieces, list(shards), list(documents))
        self.row_tokens, self.pad = row_tokens, pad
        self.pieces: NDArray[np.void] = np.load(pieces, mmap_mode="r")
        self._shards = [open_tokens(shard) for shard in shards]
        rows = int(self.pieces["row"][-1]) + 1 if len(self.pieces) else 0
        self._first_piece = np.searchsorted(self.pieces["row"], np.arange(rows + 1))

    def __reduce__(self) -> tuple[type["Rows"], tuple[Path, list[Path], list[Path], int, int]]:
        return (Rows, (*self._paths, self.row_tokens, self.pad))

    def __len__(self) -> int:
        return len(self._first_piece) - 1

    def of_step(self, seed: int, step: int, batch_rows: int) -> NDArray[np.int64]:
        """The numbers of the rows in the batch of a step."""
        return order.batch_rows(seed, step, batch_rows, len(self))

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The rows with these numbers, in this order. Raises IndexError for a number out of range."""
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows {indices.min()} to {indices.max()} asked for, there are {len(self)}")
        first, last = self._first_piece[indices], self._first_piece[indices + 1]
        count = last - first
        row = np.repeat(np.arange(len(indices)), count)
        number = _count_up(count)
        pieces = self.pieces[np.repeat(first, count) + number]
        lengths = pieces["tokens"].astype(np.int64)
        before = np.cumsum(lengths) - lengths
        row_start = before[np.cumsum(count) - count]
        position = _count_up(lengths)
        column = np.repeat(before - row_start[row], lengths) + position
        place = np.repeat(row, lengths) * self.row_tokens + column
        found = self._tokens_of(pieces)
        labels = np.full(len(found), NO_LABEL, np.int64)
        labels[:-1] = found[1:]
        labels[before + lengths - 1] = NO_LABEL
        return Batch(
            tokens_BT=self._spread(found, place, self.pad, len(indices)),
            documents_BT=self._spread(np.repeat(number, lengths).astype(np.int32), place, -1, len(indices)),
            positions_BT=self._spread(position.astype(np.int32), place, 0, len(indices)),
            labels_BT=self._spread(labels, place, NO_LABEL, len(indices)),
        )

    def _tokens_of(self, pieces: NDArray[np.void]) -> NDArray[np.int64]:
        """The tokens of the pieces one after another."""
        stretches = [
            self._shards[shard][start : start + tokens]
            for shard, start, tokens in zip(
                pieces["shard"].tolist(), pieces["start"].tolist(), pieces["tokens"].tolist(), strict=True
            )
        ]
        return np.concatenate(stretches).astype(np.int64) if stretches else np.empty(0, np.int64)

    def _spread(
        self, values: NDArray[Number], place: NDArray[np.int64], empty: int, rows: int
    ) -> NDArray[Number]:
        spread = np.full(rows * self.row_tokens, empty, values.dtype)
        spread[place] = values
        return spread.reshape(rows, self.row_tokens)

    def origin(self, index: int) -> list[Origin]:
        """The documents in row `index`, from left to right, with their URLs."""
        return self.origins([index])[index]

    def origins(self, indices: Iterable[int]) -> dict[int, list[Origin]]:
        """The same for several rows; the index of each shard is read once."""
        pieces = {
            row: self.pieces[self._first_piece[row] : self._first_piece[row + 1]] for row in map(int, indices)
        }
        found: dict[int, list[Origin | None]] = {row: [None] * len(each) for row, each in pieces.items()}
        places = defaultdict(list)
        for row, each in pieces.items():
            for number, shard in enumerate(each["shard"].tolist()):
                places[shard].append((row, number))
        for shard, inside in places.items():
            table = self._documents(shard)
            for row, number in inside:
                found[row][number] = _origin(table, pieces[row][number])
        return {row: [origin for origin in each if origin] for row, each in found.items()}

    def _documents(self, shard: int) -> "pyarrow.Table":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self._paths[2][shard], columns=["id", "url", "offset"])


def _origin(documents: "pyarrow.Table", piece: Any) -> Origin:
    document = documents.slice(int(piece["document"]), 1).to_pylist()[0]
    start = int(piece["start"]) - document["offset"]
    return Origin(document["id"], document["url"], start, int(piece["tokens"]))


def _count_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … for each length, one after another: [2, 3] → [0, 1, 0, 1, 2]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)

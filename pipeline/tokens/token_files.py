"""Writing a shard's tokens and its document index bit by bit: a large shard needs little memory."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("offset", pa.int64()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
"""A row per document: `offset` and `tokens` say where in the token file, `bytes` those of its text."""
INDEX_OF_TEXTS = INDEX.append(pa.field("text", pa.string()))
"""The same where the corpus has several texts, with the name of the document's."""
INDEX_ROWS = 16_384
"""Documents in a row group, and in memory before they are written."""


class TokenFile:
    """A .npy file of one dimension that grows: the same bytes as `np.save` of all that was appended."""

    def __init__(self, path: Path, kind: type[np.unsignedinteger[Any]]) -> None:
        self._file, self._kind, self._tokens = path.open("wb"), np.dtype(kind), 0
        self._write_header()
        self._begin = self._file.tell()

    def append(self, ids: NDArray[np.integer[Any]]) -> None:
        self._file.write(ids.astype(self._kind).tobytes())
        self._tokens += len(ids)

    def _write_header(self) -> None:
        """numpy leaves room in a header for the largest number of elements, so that it can be rewritten."""
        described = {"descr": self._kind.str, "fortran_order": False, "shape": (self._tokens,)}
        npy.write_array_header_1_0(self._file, described)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()
                assert self._file.tell() == self._begin


class DocumentIndex:
    """The Parquet file that says which document stands where in a token file."""

    def __init__(self, path: Path, schema: pa.Schema = INDEX) -> None:
        self._schema, self._writer = schema, pq.ParquetWriter(path, schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def append(self, row: dict[str, Any]) -> None:
        """A row with the schema's columns."""
        self._rows.append(row)
        if len(self._rows) == INDEX_ROWS:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._writer:
            if error is None:
                self._write()

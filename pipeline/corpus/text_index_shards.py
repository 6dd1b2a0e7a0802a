"""The Ray tasks that make documents searchable: a chunk at a time, whatever a shard's size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.suffixes import SEPARATOR, sorted_starts
from pipeline.corpus.tables import read_documents, write_table
from pipeline.corpus.text_index import DOCUMENTS, STARTS, TEXT
from pipeline.shards import ShardOutput

WHICH = pa.schema([("id", pa.string()), ("url", pa.string()), ("offset", pa.int64())])


@dataclass(frozen=True)
class Indexing:
    """A shard of a corpus."""

    corpus: Corpus
    name: str
    """Logical name in the corpus, such as train/00003.parquet."""
    chunk_bytes: int


def index(work: Indexing, output: ShardOutput) -> dict[str, int]:
    """Counts: documents, their bytes, beginnings of words."""
    shard = work.name.removeprefix("train/").removesuffix(".parquet")
    documents = size = starts = 0
    for number, chunk in enumerate(_chunks(work)):
        text = SEPARATOR.join(row["text"] for row in chunk)
        lengths = np.array([len(row["text"]) + len(SEPARATOR) for row in chunk])
        order = sorted_starts(text)
        name = f"chunks/{shard}-{number:04d}"
        output.path(f"{name}{TEXT}").write_bytes(text)
        np.save(output.path(f"{name}{STARTS}"), order)
        which = [
            {"id": row["id"], "url": row["url"], "offset": int(offset)}
            for row, offset in zip(chunk, np.cumsum(lengths) - lengths, strict=True)
        ]
        write_table(output.path(f"{name}{DOCUMENTS}"), pa.Table.from_pylist(which, schema=WHICH))
        documents, size, starts = documents + len(chunk), size + len(text), starts + len(order)
    return {"documents": documents, "bytes": size, "words": starts}


def _chunks(work: Indexing) -> Iterator[list[dict[str, Any]]]:
    """Documents with their text in UTF-8, as many as a chunk holds; one at least."""
    chunk: list[dict[str, Any]] = []
    size = 0
    for row in read_documents(work.corpus.path(work.name), ["id", "url", "text"]):
        row["text"] = row["text"].encode()
        if chunk and size + len(row["text"]) > work.chunk_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row["text"]) + len(SEPARATOR)
    if chunk:
        yield chunk

"""What documents are compared by: a hash of their words, and the bands of their MinHash signature.

Words are told apart whatever their case and punctuation (`word_runs.py`). A shingle's hash follows from its
five words' by arithmetic, so that no shingle is ever spelt out.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import rensa
from numpy.typing import NDArray

from pipeline.corpus.clean import Scope
from pipeline.corpus.damage import REPLACEMENT
from pipeline.corpus.paragraphs import paragraph_hashes
from pipeline.corpus.tables import TEXT_ROWS, Row, write_table
from pipeline.corpus.word_runs import MIX, Hashes, gram_hashes, word_hashes

SHINGLE_WORDS = 5
SEED = 42
BANDS = pa.schema([("id", pa.string()), ("bands", pa.list_(pa.int64()))])
"""A hash of each band of the document's signature; the band's number is in it."""
SIGNATURES = pa.schema(
    [
        *BANDS,
        ("text_hash", pa.int64()),
        ("url", pa.string()),
        ("bytes", pa.int64()),
        ("replaced", pa.int64()),
        ("date", pa.string()),
        ("quality", pa.float64()),
        ("paragraphs", pa.list_(pa.int64())),
    ]
)
"""All by which documents are compared; `bytes` are those of the text in UTF-8, `replaced` its U+FFFD."""
STATED = ("id", "url", "date", "quality")
"""Columns that are a document's own."""


def write_bands(path: Path, documents: Iterable[Row], bands: int, rows: int) -> None:
    """Write the table BANDS of documents with id and text, in the order in which they come."""
    write_table(path, _joined(_signed(documents, bands, rows), BANDS))


def write_signatures(
    path: Path, documents: Iterable[Row], bands: int, rows: int, paragraphs: Scope = "off"
) -> None:
    """Write the table SIGNATURES of documents as they are kept, in the order in which they come."""
    write_table(path, _joined(_signed(documents, bands, rows, paragraphs), SIGNATURES))


def _joined(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table, of these columns alone."""
    return pa.concat_tables([schema.empty_table(), *(table.select(schema.names) for table in tables)])


def _signed(documents: Iterable[Row], bands: int, rows: int, scope: Scope = "off") -> Iterator[pa.Table]:
    """The documents' signatures, with those of the columns of SIGNATURES that they have."""
    waiting = iter(documents)
    while batch := list(islice(waiting, TEXT_ROWS)):
        texts = [document["text"] for document in batch]
        words = word_hashes(texts)
        text_hashes = np.array(list(map(text_hash, texts, words)), np.int64)
        found = band_hashes(shingles(words, text_hashes), bands, rows)
        ends = np.arange(len(batch) + 1, dtype=np.int32) * bands
        columns = {
            name: pa.array([document[name] for document in batch], SIGNATURES.field(name).type)
            for name in STATED
            if name in batch[0]
        }
        yield pa.table(
            columns
            | {
                "bands": pa.ListArray.from_arrays(ends, found.ravel()),
                "text_hash": text_hashes,
                "bytes": pa.array([len(text.encode()) for text in texts], pa.int64()),
                "replaced": pa.array([text.count(REPLACEMENT) for text in texts], pa.int64()),
                "paragraphs": pa.array(
                    [paragraph_hashes(document, scope) for document in batch], pa.list_(pa.int64())
                ),
            }
        )


def text_hash(text: str, words: Hashes) -> int:
    """64 bits over the words alone: punctuation and layout do not count, unless there is nothing else."""
    digest = hashlib.blake2b(words.tobytes() or text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def shingles(words: Sequence[Hashes], text_hashes: NDArray[np.int64]) -> list[Hashes]:
    """Of each text a hash of each five words in a row; if it is shorter, one of all its words or signs."""
    grams = gram_hashes(np.concatenate(words), SHINGLE_WORDS)
    found, start = [], 0
    for place, each in enumerate(words):
        if len(each) >= SHINGLE_WORDS:
            found.append(grams[start : start + len(each) - SHINGLE_WORDS + 1])
        else:
            found.append(text_hashes[place : place + 1].view(np.uint64))
        start += len(each)
    return found


def band_hashes(shingled: Sequence[Hashes], bands: int, rows: int) -> NDArray[np.int64]:
    """Of each text one 64-bit hash per band of the MinHash signature over its shingles.

    Two documents of similarity s (Jaccard, over shingles) share a band with probability
    1 - (1 - s^rows)^bands: 14 bands of 8 rows find half of the pairs of similarity .72.
    """
    ends = np.cumsum([0, *map(len, shingled)], dtype=np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        np.concatenate(shingled), ends, bands * rows, SEED
    )
    values = np.array(matrix.to_rows(), np.uint64).reshape(len(shingled), bands, rows)
    total = np.broadcast_to(np.arange(bands, dtype=np.uint64), values.shape[:2])
    for row in range(rows):
        total = total * MIX + values[:, :, row]
    return total.view(np.int64)

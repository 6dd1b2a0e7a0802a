import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards import ShardOutput
from pipeline.store import Store
from pipeline.tokens.encode import EncodeShard, encode_shard
from pipeline.tokens.token_files import INDEX_ROWS, DocumentIndex, TokenFile
from pipeline.tokens.vocabulary import Vocabulary
from tests.tokens.conftest import SmallCorpusConfig, small_corpus


@given(st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=9), max_size=9))
def test_a_token_file_has_the_bytes_that_numpy_saves(tmp_path_factory: pytest.TempPathFactory, parts):
    path = tmp_path_factory.mktemp("token-file") / "tokens.npy"
    with TokenFile(path, np.uint16) as file:
        for part in parts:
            file.append(np.array(part, np.int32))
    expected = io.BytesIO()
    np.save(expected, np.array([token for part in parts for token in part], np.uint16))
    assert path.read_bytes() == expected.getvalue()


def test_an_index_is_written_in_groups_and_loses_no_row(tmp_path: Path):
    rows = [
        {"id": f"{number}", "url": "", "language": "pt-BR", "offset": number, "tokens": 1, "bytes": 2}
        for number in range(INDEX_ROWS + 3)
    ]
    with DocumentIndex(tmp_path / "index.parquet") as index:
        for row in rows:
            index.append(row)
    assert pq.read_table(tmp_path / "index.parquet").to_pylist() == rows
    assert pq.ParquetFile(tmp_path / "index.parquet").num_row_groups == 2


def test_what_failed_half_way_is_no_token_file(tmp_path: Path):
    path = tmp_path / "tokens.npy"
    with pytest.raises(ValueError, match="not a number"), TokenFile(path, np.uint16) as file:
        file.append(np.array(["not a number"]))
    assert len(np.load(path)) == 0


def test_a_shard_larger_than_a_batch_is_encoded_whole(store: Store, vocabulary: Vocabulary, tmp_path: Path):
    texts = [f"Document {number}.\n" * (number % 5) for number in range(1500)]
    corpus = small_corpus(store, texts, SmallCorpusConfig(held_out=1))
    shard = EncodeShard(corpus, vocabulary, "train/00000.parquet")
    counts = encode_shard(shard, ShardOutput(tmp_path))
    index = pq.read_table(tmp_path / "train/00000.documents.parquet")
    assert counts["train.documents"] == index.num_rows == 750
    assert counts["train.bytes"] == sum(len(text) for text in texts[1::2])
    assert counts["train.tokens"] == len(np.load(tmp_path / "train/00000.tokens.npy"))

import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.tokens.pack import pack_shards
from pipeline.tokens.rows import NO_LABEL, PIECE, Rows

PAD = 3


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Shard 0 holds the documents 10-12 and 20-26, shard 1 the document 30-31; rows of 6 tokens."""
    shards = [np.array([10, 11, 12, 20, 21, 22, 23, 24, 25, 26], np.uint16), np.array([30, 31], np.uint16)]
    pieces = np.array(
        [(0, 0, 0, 0, 3), (0, 1, 0, 0, 2), (1, 0, 1, 3, 6), (2, 0, 1, 9, 1)],
        PIECE,
    )
    for number, shard in enumerate(shards):
        np.save(tmp_path / f"{number}.npy", shard)
    np.save(tmp_path / "rows.npy", pieces)
    return Rows(tmp_path / "rows.npy", [tmp_path / "0.npy", tmp_path / "1.npy"], [], 6, PAD)


def test_a_batch_has_the_rows_in_the_order_asked_for(rows: Rows):
    assert len(rows) == 3
    batch = rows.batch(np.array([2, 0, 1]))
    assert batch.tokens_BT.tolist() == [
        [26, PAD, PAD, PAD, PAD, PAD],
        [10, 11, 12, 30, 31, PAD],
        [20, 21, 22, 23, 24, 25],
    ]
    assert batch.documents_BT.tolist() == [[0, -1, -1, -1, -1, -1], [0, 0, 0, 1, 1, -1], [0] * 6]
    assert batch.positions_BT.tolist() == [[0] * 6, [0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]


def test_labels_are_the_next_token_and_stop_at_a_documents_end(rows: Rows):
    N = NO_LABEL
    assert rows.batch(np.array([0, 1, 2])).labels_BT.tolist() == [
        [11, 12, N, 31, N, N],
        [21, 22, 23, 24, 25, N],
        [N] * 6,
    ]


def test_the_same_row_may_be_asked_for_twice(rows: Rows):
    batch = rows.batch(np.array([1, 1]))
    np.testing.assert_array_equal(batch.tokens_BT[0], batch.tokens_BT[1])
    assert batch.documents_BT.dtype == np.int32


def test_rows_travel_to_other_processes_as_paths(rows: Rows):
    sent = pickle.dumps(rows)
    assert len(sent) < 1000
    there = pickle.loads(sent)
    np.testing.assert_array_equal(there.batch(np.array([0])).tokens_BT, rows.batch(np.array([0])).tokens_BT)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_row_that_is_not_there_is_refused(rows: Rows, index: int):
    with pytest.raises(IndexError, match="there are 3"):
        rows.batch(np.array([index]))


def test_a_batch_equals_one_put_together_token_by_token(tmp_path: Path):
    random = np.random.default_rng(0)
    lengths = [random.integers(1, 40, 50) for _ in range(3)]
    flat = [random.integers(8, 500, own.sum()).astype(np.uint16) for own in lengths]
    pieces = pack_shards(lengths, 16)
    np.save(tmp_path / "rows.npy", pieces)
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, tokens in zip(paths, flat, strict=True):
        np.save(path, tokens)
    rows = Rows(tmp_path / "rows.npy", paths, [], 16, PAD)
    batch = rows.batch(np.arange(len(rows)))
    for row in range(len(rows)):
        column = 0
        for number, piece in enumerate(pieces[pieces["row"] == row]):
            for position in range(piece["tokens"]):
                here = int(piece["start"]) + position
                assert batch.tokens_BT[row, column] == flat[piece["shard"]][here]
                assert batch.documents_BT[row, column] == number
                assert batch.positions_BT[row, column] == position
                last = position + 1 == piece["tokens"]
                assert batch.labels_BT[row, column] == (NO_LABEL if last else flat[piece["shard"]][here + 1])
                column += 1
        assert (batch.documents_BT[row, column:] == -1).all()
        assert (batch.labels_BT[row, column:] == NO_LABEL).all()

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.tokens.pack import best_fit, cut, pack, pack_shards

some_lengths = st.lists(st.integers(0, 60), max_size=80).map(lambda found: np.array(found, np.int64))


@given(some_lengths, st.integers(1, 25))
def test_every_token_is_in_one_row_and_only_there(lengths: NDArray[np.int64], row_tokens: int):
    _, document, start, tokens = pack(lengths, row_tokens)
    seen = np.concatenate(
        [np.zeros(0, np.int64)]
        + [d * 1000 + np.arange(s, s + n) for d, s, n in zip(document, start, tokens, strict=True)]
    )
    expected = [d * 1000 + t for d, length in enumerate(lengths) for t in range(length)]
    assert sorted(seen.tolist()) == expected


@given(some_lengths, st.integers(1, 25))
def test_rows_are_numbered_without_gaps_and_none_overflows(lengths: NDArray[np.int64], row_tokens: int):
    row, _, _, tokens = pack(lengths, row_tokens)
    filled = np.bincount(row, weights=tokens)
    assert (np.diff(row) >= 0).all()
    assert ((filled > 0) & (filled <= row_tokens)).all()


@given(some_lengths, st.integers(1, 25))
def test_only_documents_longer_than_a_row_are_cut(lengths: NDArray[np.int64], row_tokens: int):
    document, _, tokens = cut(lengths, row_tokens)
    pieces = np.bincount(document, minlength=len(lengths))
    assert (pieces[lengths <= row_tokens] <= 1).all()
    assert (pieces == -(-lengths // row_tokens)).all()
    assert (tokens > 0).all()


@given(some_lengths, st.integers(1, 25))
def test_each_piece_goes_where_the_least_room_is_left(lengths: NDArray[np.int64], row_tokens: int):
    tokens = np.sort(cut(lengths, row_tokens)[2])[::-1]
    room: dict[int, int] = {}
    for row, length in zip(best_fit(tokens, row_tokens).tolist(), tokens.tolist(), strict=True):
        fitting = [left for left in room.values() if left >= length]
        assert room.get(row, row_tokens) == min(fitting, default=row_tokens)
        room[row] = room.get(row, row_tokens) - length


@given(some_lengths, st.integers(1, 25))
def test_all_rows_but_one_are_more_than_half_full(lengths: NDArray[np.int64], row_tokens: int):
    row, _, _, tokens = pack(lengths, row_tokens)
    assert (2 * np.bincount(row, weights=tokens) <= row_tokens).sum() <= 1


def test_packing_fills_rows_that_documents_could_not_fill_alone():
    lengths = np.random.default_rng(0).lognormal(5, 1, 20_000).astype(np.int64) + 2
    row, _, _, tokens = pack(lengths, 512)
    assert tokens.sum() / (512 * (row[-1] + 1)) > 0.999


@pytest.mark.everything
@pytest.mark.parametrize("row_tokens", [512, 32_768])
def test_a_million_documents_take_time_in_proportion(row_tokens: int):
    def packed(documents: int) -> float:
        """CPU seconds."""
        lengths = np.random.default_rng(0).lognormal(6.2, 1.2, documents).astype(np.int64) + 2
        begin = time.process_time()
        pieces = pack_shards([lengths], row_tokens)
        took = time.process_time() - begin
        assert pieces["tokens"].sum() == lengths.sum()
        assert lengths.sum() / (row_tokens * (int(pieces["row"][-1]) + 1)) > 0.999
        return took

    # Ten times the documents. CPU time on a busy machine varies twofold and more; a square is a hundred.
    assert packed(1_000_000) < 40 * packed(100_000)


def test_packing_takes_some_hundred_bytes_for_a_piece():
    lengths = np.random.default_rng(0).lognormal(6.2, 1.2, 10_000).astype(np.int64) + 2
    tracemalloc.start()
    pieces = pack_shards([lengths], 512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * len(pieces)


@given(st.lists(some_lengths, max_size=4), st.integers(1, 25))
def test_pieces_name_the_shard_and_the_offset_in_its_file(shards: list[NDArray[np.int64]], row_tokens: int):
    pieces = pack_shards(shards, row_tokens)
    for number, lengths in enumerate(shards):
        own = pieces[pieces["shard"] == number]
        begins = np.cumsum(lengths) - lengths
        assert (own["start"] >= begins[own["document"]]).all()
        assert (own["start"] + own["tokens"] <= (begins + lengths)[own["document"]]).all()
        assert own["tokens"].sum() == lengths.sum()

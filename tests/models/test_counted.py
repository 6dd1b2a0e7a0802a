"""Counting by shards and ranges against counting all at once, and against the formulas."""

import pydoc_data.topics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.models import counted as counted_module
from pipeline.models import counting
from pipeline.models.counted import CountedModel, NGramConfig, count_ngrams
from pipeline.models.ngram import PARTS, NGramModel
from pipeline.store import Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.markers import BEGIN_ID
from pipeline.tokens.rows import open_tokens
from pipeline.tokens.vocabulary import Vocabulary
from tests.models.test_ngram import Oracle
from tests.rows_road import HERE, corpus_and_tokens, write_rows

PAGES = [{"text": text} for _, text in sorted(pydoc_data.topics.topics.items())[:50]]
VOCABULARY = 1024


class KilledError(Exception):
    """Stands for a kill where the process itself has to live on."""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    folder = tmp_path_factory.mktemp("counted")
    pages = write_rows(folder / "pages", PAGES)
    return corpus_and_tokens(Store(str(folder / "store")), pages, shards=3)[1]


def count(tokens: Tokens, folder: Path, ranges: int, **settings) -> CountedModel:
    """Counted anew, in a store of its own."""
    vocabulary = Vocabulary(tokens.storage, tokens.record.inputs["vocabulary"].key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted_module, "TOKENS_PER_RANGE", int(tokens.counts()["train.tokens"]) / ranges)
        return count_ngrams(Store(str(folder)), tokens, vocabulary, NGramConfig(**settings), HERE)


def all_tokens(tokens: Tokens) -> np.ndarray:
    paths = [path for path in tokens.paths("train/") if path.name.endswith(".tokens.npy")]
    return np.concatenate([open_tokens(path) for path in paths])


@pytest.mark.parametrize(("ranges", "block"), [(1, 4_000_000), (1, 1_000), (5, 4_000_000), (20, 20_000)])
def test_shards_ranges_and_blocks_count_what_is_counted_at_once(tokens, tmp_path, monkeypatch, ranges, block):
    monkeypatch.setattr(counting, "BLOCK_TOKENS", block)
    model = count(tokens, tmp_path, ranges, order=4).open()
    expected = NGramModel.fit(all_tokens(tokens), 1024, BEGIN_ID, order=4)
    assert len(model.levels) == len(expected.levels)
    for ours, theirs in zip(model.levels, expected.levels, strict=True):
        for part in PARTS:
            assert np.array_equal(getattr(ours, part), getattr(theirs, part))


def test_the_single_discount_is_that_of_kneser_and_ney(tokens, tmp_path):
    """Against the formulas, n-gram by n-gram, with the discount n1 / (n1 + 2 n2) taken off every count."""
    model = count(tokens, tmp_path, 3, order=3, discounts="one").open()
    ids = all_tokens(tokens)[:400]
    oracle = Oracle(all_tokens(tokens), 3, VOCABULARY)
    for length in oracle.discounts:
        found = [count for gram, count in oracle.counts.items() if len(gram) == length]
        once, twice = found.count(1), found.count(2)
        oracle.discounts[length] = np.array([0, *[once / (once + 2 * twice)] * 3])
    places = [n for n in range(0, 400, 13) if ids[n] != BEGIN_ID]
    logarithms = model.log_probabilities(ids)
    for n in places:
        first = max(np.flatnonzero(ids[:n] == BEGIN_ID), default=0)
        context = tuple(ids[max(first, n - 2) : n].tolist())
        assert np.exp(logarithms[n]) == pytest.approx(oracle.probability(int(ids[n]), context))


def test_what_may_come_next_is_what_is_scored(tokens, tmp_path):
    model = count(tokens, tmp_path, 2, order=4).open()
    ids = all_tokens(tokens)[:200]
    for n in range(1, 200, 17):
        next_V = model.next(ids[:n].tolist())
        assert next_V.sum() == pytest.approx(1)
        if ids[n] != BEGIN_ID:
            assert np.log(next_V[ids[n]]) == pytest.approx(model.log_probabilities(ids[: n + 1])[-1])
    unseen = model.next([BEGIN_ID, 900, 901, 902, 903])
    assert unseen.sum() == pytest.approx(1)


def test_it_writes_what_the_text_says_most_often(tokens, tmp_path):
    artifact, ids = count(tokens, tmp_path, 1), all_tokens(tokens)
    frequent = Counter(zip(*(ids[n:].tolist() for n in range(5)), strict=False))
    gram = next(gram for gram, _ in frequent.most_common() if BEGIN_ID not in gram)
    model = artifact.open()
    assert model.generate([BEGIN_ID, *gram[:4]], 1, seed=1, temperature=0.05) == [gram[4]]
    assert model.generate([BEGIN_ID], 8, seed=1) != model.generate([BEGIN_ID], 8, seed=2)
    assert artifact.record.figures["held_out_bits_per_byte"] < 3
    assert artifact.record.counts["grams.2"] > artifact.record.counts["grams.1"]


def test_a_count_that_was_killed_goes_on_with_what_is_finished(tokens, tmp_path, monkeypatch):
    whole = count(tokens, tmp_path / "whole", 3, order=3)

    def killed(work, output):
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "smooth_range", killed)
        with pytest.raises(KilledError):
            count(tokens, tmp_path / "torn", 3, order=3)

    def counted_again(work, output):
        raise AssertionError(f"{work.name} was counted again")

    monkeypatch.setattr(counting, "count_shard", counted_again)
    again = count(tokens, tmp_path / "torn", 3, order=3)
    files = [{name: file.sha256 for name, file in each.record.files.items()} for each in (whole, again)]
    assert files[0] == files[1]

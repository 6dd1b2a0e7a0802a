"""The oracle counts in dictionaries and follows the formulas one n-gram at a time."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.models.ngram import NGramModel, discounts, most_frequent_words

BEGIN, VOCABULARY = 1, 6
Gram = tuple[int, ...]
document = st.lists(st.integers(2, VOCABULARY - 1), max_size=12).map(lambda ids: [BEGIN, *ids])
streams = st.lists(document, min_size=1, max_size=12).map(
    lambda documents: np.array([id for ids in documents for id in ids], np.uint16)
)


def documents_of(tokens: NDArray[np.uint16]) -> list[list[int]]:
    found: list[list[int]] = []
    for token in tokens.tolist():
        if token == BEGIN or not found:
            found.append([])
        found[-1].append(token)
    return found


class Oracle:
    def __init__(self, tokens: NDArray[np.uint16], order: int, vocabulary: int = VOCABULARY) -> None:
        raw: Counter[Gram] = Counter()
        before: dict[Gram, set[int]] = defaultdict(set)
        for ids in documents_of(tokens):
            for end in range(len(ids)):
                for length in range(1, order + 1):
                    if end - length + 1 < 0:
                        break
                    gram = tuple(ids[end - length + 1 : end + 1])
                    raw[gram] += 1
                    if length > 1:
                        before[gram[1:]].add(gram[0])
        self.vocabulary = vocabulary
        longest = max(map(len, raw))
        self.counts = {
            gram: count if len(gram) == longest else len(before[gram]) or count for gram, count in raw.items()
        }
        self.counts[(BEGIN,)] = 0
        self.discounts = {
            length: discounts(np.array([c for gram, c in self.counts.items() if len(gram) == length]))
            for length in range(1, longest + 1)
        }

    def probability(self, token: int, context: Gram) -> float:
        below = 1 / (self.vocabulary - 1) if not context else self.probability(token, context[1:])
        after = {g[-1]: c for g, c in self.counts.items() if len(g) == len(context) + 1 and g[:-1] == context}
        total = sum(after.values())
        if not total:
            return below
        discount = self.discounts[len(context) + 1]
        own = after.get(token, 0)
        left_over = sum(discount[min(count, 3)] for count in after.values())
        return float((own - discount[min(own, 3)] + left_over * below) / total)


@settings(max_examples=60)
@given(train=streams, test=streams, order=st.integers(1, 4))
def test_probabilities_equal_those_counted_one_by_one(
    train: NDArray[np.uint16], test: NDArray[np.uint16], order: int
):
    oracle = Oracle(train, order)
    expected = [
        0.0 if token == BEGIN else np.log(oracle.probability(token, tuple(ids[max(0, n - order + 1) : n])))
        for ids in documents_of(test)
        for n, token in enumerate(ids)
    ]
    found = NGramModel.fit(train, VOCABULARY, BEGIN, order).log_probabilities(test)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=60)
@given(train=streams, context=document, order=st.integers(1, 5))
def test_probabilities_sum_to_one_after_any_context(
    train: NDArray[np.uint16], context: list[int], order: int
):
    model = NGramModel.fit(train, VOCABULARY, BEGIN, order)
    others = [token for token in range(VOCABULARY) if token != BEGIN]
    last = [model.log_probabilities(np.array([*context, token], np.uint16))[-1] for token in others]
    assert np.exp(last).sum() == pytest.approx(1)


def test_longer_contexts_predict_real_text_better():
    import pydoc_data.topics

    topics = [text.encode() for _, text in sorted(pydoc_data.topics.topics.items())]
    train, test = (
        np.frombuffer(b"\x01".join([b"", *part]), np.uint8).astype(np.uint16)
        for part in (topics[10:], topics[:10])
    )
    bits = [
        -NGramModel.fit(train, 256, BEGIN, order).log_probabilities(test).mean() / np.log(2)
        for order in (1, 2, 3, 5)
    ]
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 2.5


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        NGramModel.fit(np.zeros(0, np.uint16), VOCABULARY, BEGIN)


def test_words_are_ordered_by_frequency_then_alphabet():
    assert most_frequent_words(["b a b", "c a d"], 3) == ["a", "b", "c"]

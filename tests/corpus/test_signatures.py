import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import word_runs
from pipeline.corpus.signatures import band_hashes, shingles, text_hash
from pipeline.corpus.word_runs import Hashes, word_hashes, words_of

VOCABULARY = [f"word{number}" for number in range(5_000)]
PAIRS = 400


def hash_of(text: str) -> int:
    return text_hash(text, word_hashes([text])[0])


def shingles_of(*texts: str) -> list[Hashes]:
    return shingles(word_hashes(texts), np.array([*map(hash_of, texts)]))


@given(texts=st.lists(st.text(), min_size=1, max_size=4))
def test_the_words_that_are_hashed_are_those_of_the_expression_wherever_they_stand(texts: list[str]) -> None:
    for text, found in zip(texts, word_hashes(texts), strict=True):
        assert found.tolist() == [word_hashes([word])[0].item() for word in words_of(text)]


@given(text=st.text(alphabet="ab ", max_size=60), block=st.integers(8, 20))
def test_words_are_the_same_in_whatever_blocks_they_are_hashed(text: str, block: int) -> None:
    short = " ".join(word[:7] for word in text.split(" "))
    (whole,) = word_hashes([short])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_runs, "BLOCK_BYTES", block)
        assert word_hashes([short])[0].tolist() == whole.tolist()


def test_different_words_have_different_hashes() -> None:
    words = {f"{letters}{number}" for letters in ("", "a", "b", "ab", "ba", "é") for number in range(20_000)}
    (found,) = word_hashes([" ".join(words)])
    assert len(np.unique(found)) == len(words)
    assert abs(np.unpackbits(found.view(np.uint8)).mean() - 0.5) < 0.001
    assert len(np.unique(found >> np.uint64(44))) > 0.9 * len(words)


def test_a_word_without_end_is_cut() -> None:
    (found,) = word_hashes(["x" * (2 * word_runs.BLOCK_BYTES + 1)])
    assert len(found) == 3


def test_case_and_punctuation_do_not_count_unless_there_is_nothing_else() -> None:
    assert hash_of("Olá, mundo") == hash_of("olá mundo.")
    assert hash_of("olá mundo") != hash_of("olámundo")
    assert hash_of("!!!") != hash_of("???")


def test_texts_without_words_are_not_nearly_the_same() -> None:
    one, other = band_hashes(shingles_of("!!!", "???"), 14, 8)
    assert not np.any(one == other)


def test_shingles_are_those_of_each_text_alone() -> None:
    texts = ["a b c d e f", "", "a b", "a b c d e", "?", "f g h i j k l"]
    together = shingles_of(*texts)
    assert [len(each) for each in together] == [2, 1, 1, 1, 1, 3]
    for text, each in zip(texts, together, strict=True):
        assert np.array_equal(each, *shingles_of(text))


def test_a_signature_does_not_depend_on_the_documents_signed_with_it() -> None:
    found = shingles_of(*(" ".join(VOCABULARY[: 3 * number]) for number in range(9)))
    together = band_hashes(found, 14, 8)
    assert np.array_equal(together, np.concatenate([band_hashes([each], 14, 8) for each in found]))


@pytest.mark.parametrize(("replaced", "similarity"), [(2, 0.9), (4, 0.8), (13, 0.5)])
def test_near_duplicates_are_found_as_often_as_theory_says(replaced: int, similarity: float) -> None:
    chance = random.Random(replaced)
    similarities, found = [], 0
    for _ in range(PAIRS):
        words = chance.choices(VOCABULARY, k=204)
        other = list(words)
        for place in range(replaced):
            other[5 + place * (len(words) // replaced)] = chance.choice(VOCABULARY)
        similarities.append(jaccard(words, other))
        one, two = band_hashes(shingles_of(" ".join(words), " ".join(other)), 14, 8)
        found += bool(np.any(one == two))
    assert np.mean(similarities) == pytest.approx(similarity, abs=0.02)
    expected = 1 - (1 - np.array(similarities) ** 8) ** 14
    deviation = float(np.sqrt(np.sum(expected * (1 - expected))))
    assert found == pytest.approx(float(expected.sum()), abs=4 * deviation)


def jaccard(one: list[str], other: list[str]) -> float:
    """The similarity of two texts by the definition, from shingles that are spelt out."""
    first, second = (
        {tuple(words[start : start + 5]) for start in range(len(words) - 4)} for words in (one, other)
    )
    return len(first & second) / len(first | second)

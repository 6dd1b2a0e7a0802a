import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tokens.misspell import double, drop, misspelt, neighbour, swap
from tests.tokens.texts import PORTUGUESE, documentation

words = st.text(st.characters(categories=["Ll", "Lu"]), min_size=4, max_size=12)


def test_a_mistake_is_one_edit_of_a_letter_within_the_word():
    luck = random.Random(0)
    assert swap("farinha", 1, luck) == "frainha"
    assert drop("farinha", 2, luck) == "fainha"
    assert double("farinha", 3, luck) == "fariinha"
    assert {neighbour("farinha", 3, luck) for _ in range(99)} == {f"far{key}nha" for key in "ujok"}
    assert neighbour("ação", 1, luck) == "açção"


@given(words, st.integers(0, 99))
def test_the_first_and_the_last_letter_stay(word: str, seed: int):
    for right, wrong in misspelt(word, 1, random.Random(seed)):
        assert (wrong[0], wrong[-1]) == (right[0], right[-1])
        assert abs(len(wrong) - len(right)) <= 1


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_as_many_words_are_misspelt_as_was_asked_for_and_by_the_seed_alone(share: float):
    text = " ".join(documentation())
    found = misspelt(text, share, random.Random(1))
    assert found == misspelt(text, share, random.Random(1))
    assert found != misspelt(text, share, random.Random(2))
    assert len(found) / len(misspelt(text, 1, random.Random(1))) == pytest.approx(share, rel=0.05)


def test_the_four_edits_are_equally_frequent():
    changed = misspelt(PORTUGUESE * 50, 1, random.Random(0))
    lengths = Counter(len(wrong) - len(right) for right, wrong in changed)
    assert 0.2 < lengths[-1] / len(changed) < 0.3
    assert 0.2 < lengths[1] / len(changed) < 0.35

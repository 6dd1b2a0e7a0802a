"""Pairs of words are those that a look at every pair finds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.cards.cooccurrence import WINDOW, WORD, PeopleCounts, count_people, languages, lexicon
from pipeline.corpus.rule_files import known_languages
from pipeline.corpus.told_languages import primary

WORDS = some.sampled_from(["she", "he", "nurse", "Nurses", "engineer", "jewish", "x", "y", "the", "a b c d"])


@given(some.lists(WORDS, max_size=60))
def test_pairs_are_those_of_every_word_with_every_other(given: list[str]) -> None:
    words, found = lexicon("en"), PeopleCounts()
    text = " ".join(given)
    count_people(text, words, found)
    spoken = text.lower().split()
    pairs = Counter(
        (*which, words.professions[one])
        for here, one in enumerate(spoken)
        for there, other in enumerate(spoken)
        if one in words.professions and abs(here - there) <= WINDOW
        for which in words.people.get(other, ())
    )
    assert found.pairs == pairs
    assert found.words == len(spoken)
    assert PeopleCounts.of_json(found.as_json()) == found


@pytest.mark.parametrize(
    ("language", "text", "pairs"),
    [
        (
            "en",
            "The nurse said that she was tired; the engineers had left their mosque.",
            {
                ("gender", "female", "nurse"): 1,
                ("gender", "female", "engineer"): 1,
                ("religion", "muslim", "nurse"): 0,
                ("religion", "muslim", "engineer"): 1,
            },
        ),
        (
            "pt",
            "A médica e o marido dela foram à igreja; o engenheiro baiano ficou.",
            {
                ("gender", "female", "médico, médica"): 1,
                ("gender", "male", "médico, médica"): 1,
                ("religion", "cristã", "médico, médica"): 1,
                ("origin", "nordestina", "engenheiro, engenheira"): 1,
            },
        ),
    ],
)
def test_a_sentence_is_counted_as_one_reads_it(language: str, text: str, pairs: dict) -> None:
    found = PeopleCounts()
    count_people(text, lexicon(language), found)
    assert {pair: found.pairs[pair] for pair in pairs} == pairs


def test_the_lists_have_words_as_texts_have_them() -> None:
    assert set(languages()) == {primary(language) for language in known_languages()} & {"en", "pt"}
    for language in languages():
        words = lexicon(language)
        assert set(words.themes) == {"gender", "origin", "religion"}
        assert words.themes["gender"] == ("female", "male")
        assert len(set(words.professions.values())) > 45
        assert not set(words.people) & set(words.professions)
        for word in [*words.people, *words.professions]:
            assert WORD.fullmatch(word), word
            assert word == word.lower()

import random
from collections import Counter
from pathlib import Path

import pytest

from pipeline.store import Store
from pipeline.tokens import measure
from pipeline.tokens.comparison import (
    BY_LANGUAGE,
    REPORT,
    TOLD,
    ComparisonConfig,
    NothingHeldOutError,
    VocabularyComparison,
    compare_vocabularies,
)
from pipeline.tokens.comparison_page import DRAWN
from pipeline.tokens.markers import neutralise
from pipeline.tokens.misspell import misspelt
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig
from tests.tokens.conftest import SmallCorpus, SmallCorpusConfig, small_corpus
from tests.tokens.test_take_over import byte_level

CONFIG = ComparisonConfig(vocabulary=VocabularyConfig(pieces=1024))


@pytest.fixture(scope="module")
def comparison(shared_store: Store, corpus: SmallCorpus) -> VocabularyComparison:
    return compare_vocabularies(shared_store, corpus, CONFIG)


def test_every_kind_is_measured_and_loses_no_text(comparison: VocabularyComparison):
    found = comparison.figures()
    assert list(found) == ["bpe", "unigram", "char", "word"]
    for values in found.values():
        assert set(values) == {*TOLD, "languages"}
        assert values["round_trip"] == 1
        assert set(values["languages"]["en"]) == set(BY_LANGUAGE)
    assert found["char"]["letters_per_token"] < 1 < found["bpe"]["letters_per_token"]
    assert found["word"]["byte_share"] > found["bpe"]["byte_share"]


def test_the_figures_are_those_of_the_text(vocabulary: Vocabulary):
    texts = {"en": ["The mill grinds", "the wheel turns"], "pt-BR": ["a água move a roda"]}
    encoder = vocabulary.encoder()
    found = measure.tried(encoder, vocabulary.pieces, texts, CONFIG)
    tokens = [len(encoder.encode([neutralise(text)])[0]) for own in texts.values() for text in own]
    assert found["bytes_per_token"] == (15 + 15 + 19) / sum(tokens)
    assert found["letters_per_token"] == (13 + 13 + 14) / sum(tokens)
    assert found["languages"]["pt-BR"]["words_per_token"] == 5 / tokens[2]


def test_what_misspelling_does_is_counted_by_words(vocabulary: Vocabulary, texts: list[str]):
    found = measure.tried(vocabulary.encoder(), vocabulary.pieces, {"en": texts[5:9]}, CONFIG)
    right = wrong = kept = 0
    for place, text in enumerate(texts[5:9]):
        for pair in misspelt(text, CONFIG.misspelt_share, random.Random(f"0 {place}")):
            before, after = (vocabulary.encoder().encode([f" {word}"])[0].tolist() for word in pair)
            right, wrong = right + len(before), wrong + len(after)
            kept += sum((Counter(before) & Counter(after)).values())
    assert found["kept_pieces"] == kept / right
    assert found["misspelt_growth"] == wrong / right > 1


def test_the_report_is_one_page_with_pictures(comparison: VocabularyComparison):
    text = comparison.path(REPORT).read_text()
    assert text.count("<svg") == len(DRAWN) + len(BY_LANGUAGE)  # The corpus is in two languages
    assert all(meaning in text for meaning in TOLD.values())
    assert not any(loading in text for loading in ("<script", "<link", "<img", "@import"))
    assert comparison.record.figures["bytes_per_token.bpe"] == comparison.figures()["bpe"]["bytes_per_token"]


def test_a_tokenizer_that_is_taken_over_is_tried_too(tmp_path: Path, store: Store, texts: list[str]):
    corpus, place = small_corpus(store, texts), byte_level(tmp_path)
    settings = VocabularyConfig(pieces=1024, tokenizer=str(place), extend=16)
    comparison = compare_vocabularies(store, corpus, ComparisonConfig(vocabulary=settings, models=("char",)))
    found = comparison.figures()
    assert list(found) == ["char", "taken over"]
    assert found["taken over"]["round_trip"] == 1
    assert found["taken over"]["byte_share"] is None
    assert "taken over" in comparison.path(REPORT).read_text()


def test_a_corpus_without_held_out_text_is_told(store: Store, texts: list[str]):
    corpus = small_corpus(store, texts[5:], SmallCorpusConfig(held_out=0))
    with pytest.raises(NothingHeldOutError, match=r"the held-out split of .* holds no text"):
        compare_vocabularies(store, corpus, CONFIG)

import pytest

from pipeline.tokens.figures import tokenizer_figures
from pipeline.tokens.markers import neutralise
from pipeline.tokens.vocabulary import Vocabulary
from tests.tokens.conftest import processor_of
from tests.tokens.texts import PORTUGUESE, documentation


def test_figures_are_counted_by_language(vocabulary: Vocabulary):
    english = documentation()[:20]
    found = tokenizer_figures(vocabulary, {"en": english, "pt": [PORTUGUESE], "de": []})
    tokens = sum(len(processor_of(vocabulary).encode(neutralise(text))) for text in english)
    assert list(found) == ["en", "pt"]
    assert found["en"]["bytes_per_token"] == pytest.approx(
        sum(len(text.encode()) for text in english) / tokens
    )
    letters = sum(character.isalpha() for text in english for character in text)
    assert found["en"]["letters_per_token"] == pytest.approx(letters / tokens)
    assert 1 <= found["en"]["tokens_per_word"] < found["pt"]["tokens_per_word"]

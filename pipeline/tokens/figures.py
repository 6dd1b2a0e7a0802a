"""How well a vocabulary fits a language."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from pipeline.tokens.encoders import Encoder
from pipeline.tokens.markers import neutralise
from pipeline.tokens.vocabulary import Vocabulary

WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class TokenizerFigures:
    """Higher is better for the first two, lower for the last."""

    bytes_per_token: float
    """UTF-8 bytes of text per token."""
    letters_per_token: float
    """Letters (of any script) of text per token."""
    tokens_per_word: float
    """Pieces that a word with a space before it is cut into: 1 would be a piece for every word."""


def tokenizer_figures(
    vocabulary: Vocabulary, texts_by_language: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, float]]:
    """The figures of each language that has text, as plain numbers by name."""
    encoder = vocabulary.encoder()
    return {
        language: asdict(figures)
        for language, texts in texts_by_language.items()
        if (figures := figures_of(encoder, texts)) is not None
    }


def figures_of(encoder: Encoder, texts: Iterable[str]) -> TokenizerFigures | None:
    """The figures over all texts together; None without a token."""
    size = letters = tokens = 0
    words: Counter[str] = Counter()
    for text in texts:
        size += len(text.encode())
        tokens += len(encoder.encode([neutralise(text, encoder.markers)])[0])
        found = WORD.findall(text)
        letters += sum(map(len, found))
        words.update(found)
    if not tokens:
        return None
    pieces = encoder.encode([f" {word}" for word in words])
    in_words = sum(len(ids) * count for ids, count in zip(pieces, words.values(), strict=True))
    return TokenizerFigures(
        bytes_per_token=size / tokens,
        letters_per_token=letters / tokens,
        tokens_per_word=in_words / max(words.total(), 1),
    )

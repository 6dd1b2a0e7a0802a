"""Words where the next one is foretold: their letters, and the word that a text begins with."""

import unicodedata


def is_word_character(character: str) -> bool:
    """Letter, digit, underscore or combining mark. False for the empty string."""
    return bool(character) and (
        character == "_" or character.isalnum() or unicodedata.category(character)[0] == "M"
    )


def leading_word(text: str) -> tuple[str, str]:
    """`text` cut where its first word ends: the word characters it begins with, and the rest."""
    end = 0
    while end < len(text) and is_word_character(text[end]):
        end += 1
    return text[:end], text[end:]

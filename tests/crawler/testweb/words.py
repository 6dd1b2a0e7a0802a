"""Words without sense, and so many of them that no two texts look alike."""

import random

ONSETS = ("b", "br", "c", "d", "f", "fl", "g", "j", "l", "m", "n", "p", "pr", "r", "s", "t", "tr", "v", "z")
VOWELS = ("a", "e", "i", "o", "u", "ei", "ou")


def some_words(chance: random.Random, count: int) -> str:
    """Of two or three syllables each, with a full stop now and then."""
    words = []
    for _ in range(count):
        syllables = (chance.choice(ONSETS) + chance.choice(VOWELS) for _ in range(chance.choice((2, 2, 3))))
        words.append("".join(syllables) + ("." if chance.random() < 0.1 else ""))
    return " ".join(words)


def prose(key: str, count: int = 80) -> str:
    """The text that belongs to a key: always the same, and like that of no other."""
    return some_words(random.Random(key), count)

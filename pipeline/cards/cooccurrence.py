"""Which words of people stand near which professions in a text: of gender, origin and religion.

Two words stand near each other if at most WINDOW words are from the one to the other, across sentences and in
either direction (Bordia and Bowman, 2019, Identifying and Reducing Gender Bias in Word-Level Language Models,
arXiv:1904.03035, section 3). What is counted are pairs: a profession with two such words beside it counts
twice. The lists lie in words/, a file per language.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

WORD = re.compile(r"[^\W\d_]+")
WINDOW = 10
PROFESSIONS = "professions"


@dataclass(frozen=True)
class Lexicon:
    """The words of one language."""

    people: Mapping[str, tuple[tuple[str, str], ...]]
    """Word → theme and group; a word may be of several."""
    professions: Mapping[str, str]
    """Form → profession."""
    themes: Mapping[str, tuple[str, ...]]
    """Theme → its groups."""


@dataclass
class PeopleCounts:
    """What was counted in the texts of one language."""

    words: int = 0
    groups: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a word of the theme's group stands there."""
    professions: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Theme, group and profession: how often they stand near each other."""

    def add(self, other: "PeopleCounts") -> None:
        self.words += other.words
        self.groups.update(other.groups)
        self.professions.update(other.professions)
        self.pairs.update(other.pairs)

    def as_json(self) -> dict[str, Any]:
        """Tuples as lists: `[theme, group, count]`, `[theme, group, profession, count]`, by name."""
        return {
            "words": self.words,
            "groups": [[*key, count] for key, count in sorted(self.groups.items())],
            "professions": dict(sorted(self.professions.items())),
            "pairs": [[*key, count] for key, count in sorted(self.pairs.items())],
        }

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "PeopleCounts":
        return cls(
            values["words"],
            Counter({(theme, group): count for theme, group, count in values["groups"]}),
            Counter(values["professions"]),
            Counter({(theme, group, who): count for theme, group, who, count in values["pairs"]}),
        )


def languages() -> list[str]:
    """Those that there are lists for."""
    folder = resources.files("pipeline.cards") / "words"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


@cache
def lexicon(language: str) -> Lexicon:
    """The lists of a language that `languages` names."""
    text = (resources.files("pipeline.cards") / "words" / f"{language}.toml").read_text(encoding="utf-8")
    lists = tomllib.loads(text)
    professions = lists.pop(PROFESSIONS)
    people: dict[str, tuple[tuple[str, str], ...]] = {}
    for theme, groups in lists.items():
        for group, words in groups.items():
            for word in words:
                people[word] = (*people.get(word, ()), (theme, group))
    return Lexicon(
        people,
        {form: name for name, forms in professions.items() for form in forms},
        {theme: tuple(groups) for theme, groups in lists.items()},
    )


def count_people(text: str, words: Lexicon, found: PeopleCounts) -> None:
    """Adds what the text has to `found`. About 15 MB/s on one core."""
    spoken = WORD.findall(text.lower())
    found.words += len(spoken)
    people, professions = words.people, words.professions
    persons = [(place, word) for place, word in enumerate(spoken) if word in people]
    workers = [(place, professions[word]) for place, word in enumerate(spoken) if word in professions]
    for _, word in persons:
        found.groups.update(people[word])
    found.professions.update(name for _, name in workers)
    first = 0
    for place, profession in workers:
        while first < len(persons) and persons[first][0] < place - WINDOW:
            first += 1
        for number in range(first, len(persons)):
            near, word = persons[number]
            if near > place + WINDOW:
                break
            found.pairs.update((theme, group, profession) for theme, group in people[word])

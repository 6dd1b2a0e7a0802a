"""The thresholds of the quality rules: one TOML file per language, some of which extend another.

`rules/any.toml` is what all languages share; a language without a file of its own gets one that is
measured on its documents (measured_rules.py).
"""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError, field_validator

from pipeline.config import Config
from pipeline.corpus.kinds import Kind
from pipeline.errors import InputError

ANY = "any"
"""The file that the others extend; no language of its own."""


class RuleFileError(InputError):
    """A file of quality rules cannot be used."""

    remedy = "Correct the file that the message names; pipeline/corpus/rules/ has examples."


class Threshold(Config):
    """The range in which a rule's value must lie; either end may be open, and `{}` switches a rule off."""

    at_least: float | None = None
    at_most: float | None = None


Profile = dict[str, Threshold]
"""Rule → range."""


class Variety(Config):
    """What tells a variety of a language from the others, such as pt-BR from pt-PT."""

    words: tuple[str, ...] = ()
    """Lower-case words and phrases; `*` stands for the rest of a word."""
    patterns: tuple[str, ...] = ()
    """Regular expressions for what word lists cannot say: spelling, grammar."""


class LanguageRules(Config):
    """What rules/<language>.toml holds."""

    language: str
    """The file's name: a BCP 47 tag."""
    language_score: float = Field(ge=0, le=1)
    """Documents whose language is less sure than this are dropped."""
    stop_words: tuple[str, ...] = Field(min_length=1)
    variety: Variety = Variety()
    """Of the file for a variety: its marks."""
    web: Profile
    documentation: Profile
    article: Profile
    book: Profile
    thread: Profile

    @field_validator(*get_args(Kind))
    @classmethod
    def rules_exist(cls, profile: Profile) -> Profile:
        from pipeline.corpus.quality import RULES

        for name in profile:
            if name not in RULES:
                raise ValueError(f"there is no rule {name!r}; there are {', '.join(RULES)}")
        return profile

    def profile(self, kind: Kind) -> Profile:
        """The ranges for documents of that kind."""
        found: Profile = getattr(self, kind)
        return found


@cache
def rules_of(language: str) -> LanguageRules:
    """The rules for a language that is known. Raises FileNotFoundError for another."""
    return _validated(language, _shipped(language), f"pipeline/corpus/rules/{language}.toml")


@cache
def known_languages() -> tuple[str, ...]:
    """Languages that there are rules for, sorted."""
    names = (entry.name for entry in (files("pipeline.corpus") / "rules").iterdir())
    found = {name.removesuffix(".toml") for name in names if name.endswith(".toml")}
    return tuple(sorted(found - {ANY}))


def varieties_of(language: str) -> tuple[str, ...]:
    """The varieties of a language that have rules of their own: pt → pt-BR, pt-PT."""
    return tuple(known for known in known_languages() if known.startswith(f"{language}-"))


def language_of_file(name: str) -> str:
    """The language that a file of rules is named after."""
    return Path(name).name.removesuffix(".toml")


def read_rules(path: Path) -> LanguageRules:
    """The rules in a user's file, named <language>.toml. Raises RuleFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleFileError(f"{path}: cannot be read: {error}") from error
    return parse_rules(language_of_file(path.name), text, str(path))


def parse_rules(language: str, text: str, where: str) -> LanguageRules:
    """The rules that a TOML text says, over those that it extends. Raises RuleFileError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RuleFileError(f"{where}: is no TOML: {error}") from error
    return _validated(language, _extended(values, where), where)


def rules_identity(rules: Iterable[LanguageRules]) -> dict[str, Any]:
    """What rules say, apart from how they are written."""
    return {each.language: each.model_dump(mode="json") for each in rules}


def _validated(language: str, values: Mapping[str, Any], where: str) -> LanguageRules:
    try:
        return LanguageRules.model_validate({**values, "language": language})
    except ValidationError as error:
        first = error.errors()[0]
        *table, key = (str(part) for part in first["loc"])
        told = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = Threshold if table else LanguageRules
            keys = [name for name in known.model_fields if name != "language"]
            told = f"unknown key; there are {', '.join(keys)}"
        raise RuleFileError(f"{where}: {'.'.join([*table, key])}: {told}") from error


def _shipped(name: str) -> dict[str, Any]:
    source = files("pipeline.corpus") / "rules" / f"{name}.toml"
    return _extended(tomllib.loads(source.read_text(encoding="utf-8")), str(source))


def _extended(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values over those of the file that `extends` names, table by table."""
    own = dict(values)
    parent = own.pop("extends", None)
    if parent is None:
        return own
    if parent not in (*known_languages(), ANY):
        raise RuleFileError(
            f"{where}: extends {parent!r}; it may extend {', '.join((ANY, *known_languages()))}"
        )
    merged = _shipped(parent)
    for name, value in own.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    return merged

from pathlib import Path

import pytest

from pipeline.corpus.clean import CleanConfig
from pipeline.corpus.rule_files import (
    RuleFileError,
    Threshold,
    known_languages,
    parse_rules,
    read_rules,
    rules_of,
    varieties_of,
)


def test_every_language_has_a_range_for_each_kind() -> None:
    assert known_languages() == ("en", "pt", "pt-BR", "pt-PT")
    assert varieties_of("pt") == ("pt-BR", "pt-PT")
    for language in known_languages():
        rules = rules_of(language)
        assert rules.language == language
        assert all((rules.web, rules.documentation, rules.article, rules.book, rules.thread))


def test_a_file_says_only_what_differs_from_the_one_that_it_extends() -> None:
    assert rules_of("pt-BR").web == rules_of("pt").web
    assert rules_of("pt-BR").variety != rules_of("pt-PT").variety
    assert rules_of("en").web["words"] == rules_of("pt").web["words"]
    assert rules_of("en").web["duplicated-characters"] == Threshold(at_most=0.01)


def test_a_rule_can_be_switched_off_and_moved(tmp_path: Path) -> None:
    path = tmp_path / "en.toml"
    path.write_text('extends = "en"\n[web]\ncurly-brackets = {}\nsentences = { at_least = 2 }\n')
    rules = read_rules(path)
    assert rules.web["curly-brackets"] == Threshold()
    assert rules.web["sentences"] == Threshold(at_least=2)
    assert rules.web["words"] == rules_of("en").web["words"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words = ", "my.toml: is no TOML"),
        ('extends = "xx"', "my.toml: extends 'xx'; it may extend any, en"),
        (
            'extends = "en"\n[web]\nwrods = { at_least = 1 }',
            r"my.toml: web: there is no rule 'wrods'; there are words",
        ),
        (
            'extends = "en"\nwrods = 2',
            "my.toml: wrods: unknown key; there are language_score, stop_words, variety, web",
        ),
        (
            'extends = "en"\n[web]\nwords = { atleast = 1 }',
            "my.toml: web.words.atleast: unknown key; there are at_least, at_most",
        ),
        ('extends = "en"\nlanguage_score = 2', "my.toml: language_score: "),
        ('extends = "any"', "my.toml: language_score: Field required"),
    ],
)
def test_a_faulty_file_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(RuleFileError, match=message):
        parse_rules("my", text, "my.toml")


def test_a_missing_file_is_told() -> None:
    with pytest.raises(RuleFileError, match=r"nowhere.toml: cannot be read"):
        read_rules(Path("nowhere.toml"))


def test_a_file_whose_name_is_of_no_language_that_is_kept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'mine', which is not among languages \(en, pt\); call it en"):
        CleanConfig(rule_files=("rules/mine.toml",))
    assert CleanConfig(rule_files=("rules/pt-BR.toml",)).rule_files == ("rules/pt-BR.toml",)

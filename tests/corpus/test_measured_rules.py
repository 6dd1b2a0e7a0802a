import tomllib

from pipeline.corpus.measured_rules import as_toml, rules_from
from pipeline.corpus.rule_files import parse_rules, rules_of
from tests.corpus.samples import GERMAN

LONG = "Wassermühlenbesitzervereinigung und Mühlsteinschärfwerkstatt der Getreideverarbeitung "


def german(count: int) -> list[tuple[float, str]]:
    return [(0.99, "\n\n".join([*GERMAN[number % 5 :], *GERMAN[: number % 5]])) for number in range(count)]


def test_stop_words_are_the_commonest_words() -> None:
    words = rules_from("de", german(10)).stop_words
    assert {"die", "und", "der"} <= set(words)
    assert len(words) >= 8
    assert all(word.isalpha() and word == word.lower() for word in words)


def test_a_range_is_widened_for_a_language_that_would_lose_more_than_a_tenth() -> None:
    usual, long = rules_from("de", german(20)), rules_from("de", [(0.9, LONG * 20)] * 20)
    english = rules_of("en").web["mean-word-length"]
    assert usual.web["mean-word-length"] == english
    assert long.web["mean-word-length"].at_most > english.at_most
    assert long.web["words"] == english.__class__(at_least=50, at_most=100_000)


def test_a_few_odd_documents_widen_nothing() -> None:
    mixed = [*german(40), (0.9, LONG * 20)]
    assert rules_from("de", mixed).web["mean-word-length"] == rules_of("en").web["mean-word-length"]


def test_the_score_follows_the_median_within_bounds() -> None:
    texts = [text for _, text in german(10)]
    assert rules_from("de", [(1.0, text) for text in texts]).language_score == 0.9
    assert rules_from("de", [(0.1, text) for text in texts]).language_score == 0.3
    assert rules_from("de", [(0.6, text) for text in texts]).language_score == 0.6


def test_measured_rules_can_be_read_and_reused() -> None:
    rules = rules_from("de", german(10))
    text = as_toml(rules, 10)
    assert parse_rules("de", text, "de.toml") == rules
    assert tomllib.loads(text)["extends"] == "any"


def test_the_ideographs_of_japanese_are_counted_as_words() -> None:
    text = "水車は川が曲がるところに立っていて、その輪は二百年も回り続けている。\n" * 3
    rules = rules_from("ja", [(0.9, text)] * 12)
    assert rules.web["mean-word-length"].at_least == 1

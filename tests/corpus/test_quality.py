import pytest

from pipeline.corpus.language import identify
from pipeline.corpus.prose import Prose, lines_with_code, of_documentation, of_web
from pipeline.corpus.quality import (
    RULES,
    duplicate_gram_characters,
    first_fault,
    known_languages,
    measures,
    rules_of,
    top_gram_characters,
)
from tests.corpus.samples import ENGLISH, GERMAN, PORTUGUESE

GOOD = {"en": "\n\n".join(ENGLISH), "pt": "\n\n".join(PORTUGUESE)}
COOKIES = (
    "This site uses cookies.",
    "Read our privacy policy before you go on.",
    "By staying you agree to the terms of use.",
    "Please switch on JavaScript.",
)
REFERENCE = "\n\n".join(
    [
        "# grain",
        *(
            f"## def {name}(corn, *, fine=False, **{{options}})\n\n"
            f"Grinds the corn `{name}(corn)` and returns it as flour.\n\n#### Parameters\n\ncorn : list\n"
            f"The grains to be ground by {name}.\nfine : bool\nWhether the stones are set close to each "
            f"other.\n\n```\n>>> {name}([1, 2])\n{{'flour': 3}}\n```"
            for name in ("mill", "grind", "crush", "pound")
        ),
    ]
)


@pytest.mark.parametrize("language", ["en", "pt"])
@pytest.mark.parametrize("kind", ["web", "documentation"])
def test_good_text_passes_every_rule_of_its_language(language: str, kind: str) -> None:
    assert first_fault(GOOD[language], language, kind) is None


@pytest.mark.parametrize(
    ("language", "text"), [("en", GOOD["en"]), ("pt", GOOD["pt"]), ("de", "\n".join(GERMAN))]
)
def test_the_language_is_identified_with_a_probability(language: str, text: str) -> None:
    found, score = identify(text)
    assert found == language
    assert 0.9 < score <= 1


def test_the_language_of_documentation_is_that_of_its_prose() -> None:
    code = "```\n" + "for while return import def class\n" * 200 + "```\n\n"
    assert identify(code + GOOD["pt"])[0] == "pt"


def test_reference_pages_pass_as_documentation_and_not_as_web_pages() -> None:
    assert first_fault(REFERENCE, "en", "documentation") is None
    assert first_fault(REFERENCE, "en", "web") is not None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("few-words", "Too short to be of use."),
        ("short-words", "a to be it of and an is " * 30),
        ("long-words", "the incomprehensibilities of characteristically-misunderstood " * 20),
        ("hashes", GOOD["en"] + " #mill" * 60),
        ("ellipses", GOOD["en"] + " and ..." * 60),
        ("bullet-lines", "\n".join(f"- {line}" for line in ENGLISH)),
        ("ellipsis-lines", "\n".join([*(f"{line[:-1]}..." for line in ENGLISH[:4]), *ENGLISH[4:]])),
        ("few-letters", GOOD["en"] + " 12 34 56 78" * 30),
        ("few-stop-words", "\n".join(GERMAN)),
        ("duplicate-lines", "\n".join(ENGLISH[:4] * 3)),
        ("frequent-2-gram", GOOD["en"] + "\n" + "and buckets " * 60),
        ("few-punctuated-lines", "\n".join(line[:-1] for line in ENGLISH)),
        ("duplicated-characters", GOOD["en"] + "\nOpen today.\nOpen today."),
        ("few-sentences", GOOD["en"].replace(".", "") + "."),
        ("curly-brackets", GOOD["en"] + " {"),
        ("lorem-ipsum", GOOD["en"] + " Lorem ipsum."),
        ("policy-lines", "\n".join([*ENGLISH, *COOKIES])),
    ],
)
def test_each_fault_is_named_with_its_value_and_threshold(reason: str, text: str) -> None:
    fault = first_fault(text, "en", "web")
    assert fault is not None
    assert fault.reason == reason
    assert fault.value != fault.threshold


def test_thresholds_name_only_rules_that_exist() -> None:
    for language in known_languages():
        rules = rules_of(language)
        assert set(rules.web) | set(rules.documentation) <= set(RULES)


def test_measures_are_finite_for_text_without_words() -> None:
    for text in ("", "\n\n", "...", "```\ncode\n```"):
        assert all(abs(value) < 1e9 for value in measures(text, "en", "web").values())


def test_frequent_and_repeated_n_grams_are_counted_in_characters() -> None:
    prose = Prose("a mill a mill a mill by the sea")
    assert top_gram_characters(prose, 2) == 3 * len("a mill") / len(prose.text)
    assert duplicate_gram_characters(prose, 2) == 2 * len("amill") / len(prose.text)
    assert duplicate_gram_characters(Prose("all words here differ"), 2) == 0


def test_fenced_code_is_told_from_headings_and_prose() -> None:
    text = "# Title\n\n````\n# no heading\n```\n````\nprose with `f(x, y)` in it\n| a | b |"
    assert [line for line, code in lines_with_code(text) if code] == ["# no heading", "```"]
    assert of_documentation(text).text == "prose with f in it"
    assert of_web(text).text.startswith("Title\n\n# no heading\n```\nprose")

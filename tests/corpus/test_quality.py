from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.kinds import Kind
from pipeline.corpus.measures.repetition import duplicate_gram_characters, top_gram_characters
from pipeline.corpus.prose import Prose, lines_with_code, of_documentation, of_web
from pipeline.corpus.quality import RULES, Fault, first_fault, measured, prose_of
from pipeline.corpus.rule_files import rules_of
from tests.corpus.naive_measures import NAIVE
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


def fault_of(text: str, language: str, kind: Kind) -> Fault | None:
    return first_fault(prose_of(text, kind), rules_of(language), kind)


@pytest.mark.parametrize("language", ["en", "pt", "pt-BR", "pt-PT"])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_good_text_passes_every_rule_of_its_language(language: str, kind: Kind) -> None:
    found = fault_of(GOOD[language[:2]], language, kind)
    assert found is None or (kind, found.reason) == ("book", "few-words")


def test_reference_pages_pass_as_documentation_and_not_as_web_pages() -> None:
    assert fault_of(REFERENCE, "en", "documentation") is None
    assert fault_of(REFERENCE, "en", "web") is not None


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
    fault = fault_of(text, "en", "web")
    assert fault is not None
    assert fault.reason == reason
    assert fault.value != fault.threshold


def test_measures_are_finite_for_text_without_words() -> None:
    for text in ("", "\n\n", "...", "```\ncode\n```"):
        assert all(abs(value) < 1e9 for value in measured(prose_of(text, "web"), ("the",)).values())


pieces = st.sampled_from(
    [
        "a",
        "mill",
        "mills",
        "it's",
        " ",
        "  ",
        "\n",
        "\n\n",
        ".",
        "...",
        "…",
        "?!",
        '"',
        ")",
        "#",
        "7",
        "ção",
        "x_y",
        "-",
    ]
)
repeated = st.lists(pieces, max_size=60).map("".join)
texts = st.one_of(repeated, st.tuples(repeated, repeated).map(lambda pair: pair[0] + pair[1] + pair[0]))


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_the_fast_measures_say_what_the_papers_say(text: str) -> None:
    prose = Prose(text)
    for name, naive in NAIVE.items():
        assert RULES[name].measure(prose, ()) == pytest.approx(naive(text), abs=1e-12), name


def test_the_fast_measures_say_what_the_papers_say_of_real_text() -> None:
    text = "\n".join([GOOD["en"], GOOD["pt"], REFERENCE, GOOD["en"][:300], *COOKIES, *COOKIES])
    prose = Prose(text)
    for name, naive in NAIVE.items():
        assert RULES[name].measure(prose, ()) == pytest.approx(naive(text), abs=1e-12), name


def test_ideographs_are_words_of_their_own() -> None:
    assert len(Prose("水車は川の曲がり角 mill").tokens) == 10


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


@pytest.mark.parametrize("line", ["-" * 60, "=" * 7, "~" * 30, "+" * 12, "Chapter" + " ." * 40 + " 5"])
def test_a_rule_under_a_heading_or_dots_before_a_page_number_are_one_mark(line: str) -> None:
    """Else manuals in plain text and PDF would be punctuation for the most part."""
    prose = prose_of(f"The mill\n{line}\nThe river drives the mill.", "web")
    marks = prose.tokens.counts[~prose.tokens.are_words].sum()
    assert marks == 2

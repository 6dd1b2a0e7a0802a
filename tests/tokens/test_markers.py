import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tokens.markers import JOINER, MARKERS, SPACE_SIGN, neutralise, restore

PARTS = [*MARKERS, "<", ">", "s>", JOINER, SPACE_SIGN, "\u2582", "a", " ", "|"]
tricky = st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text()


@given(tricky)
def test_neutralised_text_holds_no_marker_and_no_space_sign(text: str):
    harmless = neutralise(text)
    assert not any(marker in harmless for marker in MARKERS)
    assert SPACE_SIGN not in harmless


@given(tricky)
def test_restore_gives_back_what_was_neutralised(text: str):
    assert restore(neutralise(text)) == text


@pytest.mark.parametrize("text", ["", "a < b", "x <span> y", "<S>", "naïve ▂▃", "tab\tand\nline"])
def test_text_without_markers_is_left_as_it_is(text: str):
    assert neutralise(text) == text


def test_a_neutralised_marker_looks_as_it_did():
    assert neutralise("the <s> tag").replace(JOINER, "") == "the <s> tag"


FOREIGN = (*MARKERS, "<|endoftext|>", "[INST]", "[/INST]", "\u300c\u58eb\u300d")
foreign_parts = st.lists(st.sampled_from([*FOREIGN, *PARTS, "[", "INST]", "\u300c"]), max_size=12).map(
    "".join
)


@given(foreign_parts | st.text())
def test_markers_of_another_tokenizer_are_made_harmless_and_come_back(text: str):
    harmless = neutralise(text, FOREIGN)
    assert not any(marker in harmless for marker in FOREIGN)
    assert restore(harmless, FOREIGN) == text

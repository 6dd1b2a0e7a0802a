"""A text and the sorted beginnings of its words: what is found in it is what a plain search finds."""

import random
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.suffixes import SEPARATOR, SearchedText, outermost, sorted_starts, word_starts

FEW_SIGNS = st.text(alphabet="ab é.,漢字 \n", max_size=40)
"""Of so few, much repeats."""
RANDOM_SPANS = 1_000


def searched(folder: Path, text: bytes) -> SearchedText:
    (folder / "x.text").write_bytes(text)
    np.save(folder / "x.npy", sorted_starts(text))
    return SearchedText(folder / "x.text", folder / "x.npy")


def plainly(text: bytes, stretch: bytes) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(stretch, at)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> SearchedText:
    """The standard library's modules, some megabytes."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [path.read_text(encoding="utf-8", errors="replace").encode() for path in modules]
    return searched(tmp_path_factory.mktemp("sources"), SEPARATOR.join(texts))


def test_words_begin_behind_what_is_no_letter_and_at_each_letter_of_unspaced_scripts():
    assert word_starts("É o fim—ok, 漢字x".encode()).tolist() == [0, 3, 5, 11, 15, 18]
    assert word_starts(b"").tolist() == []


@given(text=FEW_SIGNS)
def test_words_begin_at_the_same_places_however_the_text_is_cut_into_blocks(text):
    whole = word_starts(text.encode()).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.corpus.suffixes.BLOCK_BYTES", 3)
        assert word_starts(text.encode()).tolist() == whole


@given(texts=st.lists(FEW_SIGNS, max_size=4), asked=FEW_SIGNS)
def test_of_any_text_the_stretches_are_found_that_a_plain_search_finds(tmp_path_factory, texts, asked):
    text = SEPARATOR.join(each.encode() for each in texts)
    found_in, sought = searched(tmp_path_factory.mktemp("any"), text), asked.encode()
    found = found_in.longest(sought)
    if sought and plainly(text, sought):
        assert found == [(0, len(sought))]
    assert found == outermost(found)
    for start, end in found:
        assert sought[start:end].decode()
        assert found_in.places(sought[start:end]).tolist() == plainly(text, sought[start:end]) != []
    beginnings = set(word_starts(text).tolist())
    starts = word_starts(sought).tolist()
    for start in starts if len(starts) > 1 else ():
        ends = [
            end
            for end in range(start + 1, len(sought) + 1)
            if beginnings & set(plainly(text, sought[start:end]))
        ]
        whole = [end for end in ends if end == len(sought) or sought[end] & 0xC0 != 0x80]
        assert not whole or any(one <= start and max(whole) <= other for one, other in found)


@given(texts=st.lists(FEW_SIGNS, max_size=4), asked=FEW_SIGNS, least=st.integers(1, 4))
def test_short_stretches_are_left_out_and_no_others(tmp_path_factory, texts, asked, least):
    found_in = searched(tmp_path_factory.mktemp("least"), SEPARATOR.join(each.encode() for each in texts))
    sought = asked.encode()
    starts = word_starts(sought).tolist()
    if len(starts) < 2:
        return

    def words(span: tuple[int, int]) -> int:
        return sum(span[0] <= start < span[1] for start in starts)

    wanted = [span for span in found_in.longest(sought) if words(span) >= least]
    assert found_in.longest(sought, least) == wanted


def test_random_spans_of_real_text_are_found_wherever_they_stand(sources):
    rng, text = random.Random(0), bytes(sources.text)
    for _ in range(RANDOM_SPANS):
        at = rng.randrange(len(text) - 200)
        span = text[at : at + rng.randrange(8, 200)].decode(errors="ignore").encode()
        found, expected, next_at = sources.places(span), [], text.find(span)
        while next_at >= 0:
            expected.append(next_at)
            next_at = text.find(span, next_at + 1)
        assert found.tolist() == expected
        if SEPARATOR not in span:
            assert sources.longest(span) == [(0, len(span))]


def test_what_does_not_stand_there_is_told_in_the_stretches_that_do(sources):
    asked = "¤ def __init__(self, ¤ import os ¤".encode()
    found = [asked[start:end].decode() for start, end in sources.longest(asked)]
    assert found == [" def __init__(self, ", " import os "]

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.word_runs import WORD, WORDS_IN_A_ROW, grams_also_in, grams_of_all
from pipeline.evaluation.overlap import passages, unshared_passages

TRAINING = " ".join(f"train{number}" for number in range(60))
NEW = " ".join(f"new{number}" for number in range(40))


def kept(text: str, *training: str) -> list[str]:
    shared = grams_also_in(grams_of_all([text]), training)
    return [passage for passage, stays in unshared_passages(text, shared) if stays]


def run(first: int, count: int) -> str:
    return " ".join(TRAINING.split()[first : first + count])


def test_a_passage_with_13_words_in_a_row_of_training_goes_and_others_stay() -> None:
    text = f"{NEW}\n\nbefore {run(5, 13)} after\n\nlast {NEW}"
    assert kept(text, TRAINING) == [f"{NEW}\n\n", f"last {NEW}"]


def test_12_words_in_a_row_are_not_enough() -> None:
    text = f"before {run(5, 12)} after\n\n{NEW}"
    assert "".join(kept(text, TRAINING)) == text


def test_case_punctuation_and_line_ends_do_not_hide_a_repetition() -> None:
    text = f"{run(5, 13).upper().replace(' ', ', ', 3).replace(' ', chr(10), 5)}.\n\n{NEW}"
    assert kept(text, TRAINING) == [NEW]


def test_a_run_across_paragraphs_takes_every_passage_that_it_touches() -> None:
    text = f"{NEW}\n\nstart {run(0, 6)}\n\n{run(6, 7)} end\n\nlast {NEW}"
    assert kept(text, TRAINING) == [f"{NEW}\n\n", f"last {NEW}"]


def test_words_that_training_has_in_another_order_stay() -> None:
    backwards = " ".join(reversed(TRAINING.split()))
    assert kept(backwards, TRAINING) == [backwards]


def test_a_repetition_in_any_training_file_counts() -> None:
    text = f"{run(30, 20)}\n\n{NEW}"
    found = [grams_also_in(grams_of_all([text]), [training]) for training in ("nothing here", TRAINING)]
    shared = np.unique(np.concatenate(found))
    assert [stays for _, stays in unshared_passages(text, shared)] == [False, True]


def test_no_held_out_text_gives_nothing_to_look_for() -> None:
    assert len(grams_also_in(grams_of_all([]), [TRAINING])) == 0


@given(st.text(alphabet=" \n\tab.é", max_size=80))
def test_passages_joined_are_the_text(text: str) -> None:
    assert "".join(passages(text)) == text


@given(st.lists(st.sampled_from("abc\n"), max_size=60), st.lists(st.sampled_from("abc"), max_size=60))
def test_what_is_shared_is_what_a_plain_search_finds(held_out: list[str], training: list[str]) -> None:
    text = " ".join(held_out).replace("\n", "\n\n")
    known, words = WORD.findall(" ".join(training)), WORD.findall(text)
    runs = {tuple(known[at : at + WORDS_IN_A_ROW]) for at in range(len(known) - WORDS_IN_A_ROW + 1)}
    hit = [False] * len(words)
    for at in range(len(words) - WORDS_IN_A_ROW + 1):
        if tuple(words[at : at + WORDS_IN_A_ROW]) in runs:
            hit[at : at + WORDS_IN_A_ROW] = [True] * WORDS_IN_A_ROW
    shared = grams_also_in(grams_of_all([text]), [" ".join(training)])
    for passage, stays in unshared_passages(text, shared):
        count = len(WORD.findall(passage))
        assert stays == (not any(hit[:count]))
        hit = hit[count:]

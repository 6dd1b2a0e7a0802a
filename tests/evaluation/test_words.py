import pytest

from pipeline.evaluation.words import commonest, count_words, draw_questions, sentences, share_found

PROSE = (
    "The function returns a new list with the values of all keys. It raises an error if the key is not "
    "there and no default was given."
)
TEXT = f"""# A heading that is long enough to look like a sentence with words.

{PROSE}

```python
The code in a fence looks like prose for once and ends with a point.

Another line of the code in the fence that also looks like it.
```

    values = {{key: 1 for key in table if key != other[3:5]}} # ok ok ok ok ok ok.

Too short a sentence."""


def test_sentences_are_whole_prose_and_never_code_or_headings() -> None:
    assert " ".join(sentences(TEXT)) == PROSE


def test_a_question_asks_for_a_word_of_letters_in_the_middle() -> None:
    questions = draw_questions([("d", "en", TEXT)], count=10, seed=0, place="middle")
    assert len(questions) == 2
    for question in questions:
        sentence = next(found for found in sentences(TEXT) if found.startswith(question.before))
        rest = sentence[len(question.before) :]
        assert rest.startswith(f" {question.word}")
        assert not rest[1 + len(question.word)].isalnum()
        assert question.word.isalpha()
        assert len(question.before.split()) >= 4


def test_a_question_for_the_last_word_gives_all_the_rest_of_the_sentence() -> None:
    questions = draw_questions([("d", "en", TEXT)], count=10, seed=0, place="last")
    assert questions
    for question in questions:
        assert any(f"{question.before} {question.word}" == sentence[:-1] for sentence in sentences(TEXT))


def test_the_draw_hangs_on_the_seed_and_not_on_the_order_of_documents() -> None:
    documents = [(f"d{at}", "en", PROSE.replace("list", f"list{'x' * at}")) for at in range(20)]
    drawn = draw_questions(documents, count=5, seed=1, place="middle")
    assert drawn == draw_questions(documents[::-1], count=5, seed=1, place="middle")
    assert drawn != draw_questions(documents, count=5, seed=2, place="middle")
    assert len({question.before for question in drawn}) <= len(drawn) == 5


def test_the_commonest_words_are_counted_over_all_files_by_language() -> None:
    counts = [
        count_words([("en", "a the the of it"), ("pt", "e o o a")]),
        count_words([("en", "x of of of the 12 a_b")]),
    ]
    assert counts[0]["en"] == {"the": 2, "it": 1, "of": 1}
    assert commonest(counts, top=2) == {"en": ["of", "the"], "pt": ["o", "a"]}


def test_the_share_counts_exact_words() -> None:
    questions = draw_questions([("d", "en", PROSE)], count=2, seed=0, place="middle")
    right = [[question.word] for question in questions]
    assert share_found(questions, right) == 1
    assert share_found(questions, [right[0], ["Nothing"]]) == pytest.approx(0.5)

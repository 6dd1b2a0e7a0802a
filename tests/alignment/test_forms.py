"""Preferences as people write them down: every form comes to the same votes, and what is wrong is told."""

import json
import math

import pytest

from pipeline.alignment.forms import PreferenceFormError, VoteError, read_votes
from pipeline.alignment.votes import Vote
from pipeline.training.messages import EmptyTurnError, RoleError, TurnOrderError

ASKED = [{"role": "user", "content": "Why?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def votes_of(*rows: dict[str, object]) -> list[Vote]:
    votes, _ = read_votes(enumerate(rows, 1), "pairs.jsonl")
    return votes


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"question": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": ASKED, "chosen": "So.", "rejected": "No."},
        {"prompt": ASKED, "chosen": said("So."), "rejected": said("No.")},
        {"prompt": "Why?", "chosen": [*ASKED, *said("So.")], "rejected": [*ASKED, *said("No.")]},
        {"chosen": [*ASKED, *said("So.")], "rejected": [*ASKED, *said("No.")]},
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
        {"prompt": "Why?", "answer_a": "So.", "answer_b": "No.", "vote": "a"},
        {"prompt": "Why?", "response_a": "No.", "response_b": "So.", "winner": "model_b"},
        {"conversation_a": [*ASKED, *said("So.")], "conversation_b": [*ASKED, *said("No.")], "winner": "a"},
        {"prompt": "Why?", "answer_a": "So.", "answer_b": "No.", "score_a": 3, "score_b": 2},
        {"prompt": "Why?", "answers": ["No.", "So."], "scores": [1, 2]},
        {
            "instruction": "Why?",
            "completions": [{"response": "So.", "overall_score": 7}, {"text": "No.", "score": 6}],
        },
    ],
)
def test_every_form_comes_to_the_same_vote(row):
    [vote] = votes_of(row)
    better, worse = (vote.first, vote.second) if vote.margin > 0 else (vote.second, vote.first)
    assert (better.text, worse.text, abs(vote.margin)) == ("So.", "No.", 1)
    assert json.loads(vote.prompt) == ASKED
    assert vote.pair == votes_of({"prompt": "Why?", "chosen": "So.", "rejected": "No."})[0].pair


def test_scores_in_rows_of_their_own_come_together_by_prompt_and_voter():
    rows = [
        {"prompt": "Why?", "completion": "So.", "label": True},
        {"prompt": "Why?", "completion": "No.", "label": False},
        {"prompt": "How?", "completion": "So.", "label": True},
        {"prompt": "Why?", "completion": "So.", "score": 2, "voter": "ana"},
        {"prompt": "Why?", "completion": "No.", "score": 5, "voter": "ana"},
        {"prompt": "Why?", "completion": "Oh.", "score": 4, "voter": "ana"},
    ]
    votes = votes_of(*rows)
    assert [(vote.voter, vote.margin) for vote in votes] == [
        (None, 1.0),
        ("ana", -3.0),
        ("ana", -2.0),
        ("ana", 1.0),
    ]


def test_margins_voters_times_and_what_is_known_are_kept():
    known = {"url": "http://a.test/", "language": "pt", "voter": 7, "seconds": "2.5"}
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "score_chosen": 8, "score_rejected": 5.5}
    [vote] = votes_of({**row, **known, "chosen_ended": False})
    assert (vote.margin, vote.voter, vote.seconds, vote.row) == (2.5, "7", 2.5, 1)
    assert (vote.url, vote.language) == ("http://a.test/", "pt")
    assert (vote.first.ended, vote.second.ended) == (False, True)
    [tie] = votes_of({"prompt": "Why?", "answer_a": "So.", "answer_b": "No.", "vote": "tie (bothbad)"})
    assert tie.margin == 0


def test_two_answers_that_are_the_same_are_left_out_with_their_reason():
    rows = [
        {"prompt": "Why?", "chosen": "So.", "rejected": "So."},
        {"prompt": "Why?", "answers": ["So.", "So.", "No."], "scores": [1, 2, 3]},
    ]
    votes, left_out = read_votes(enumerate(rows, 1), "pairs.jsonl")
    assert len(votes) == 2
    assert [(out.vote.row, out.reason) for out in left_out] == [(1, "same-answers"), (2, "same-answers")]


@pytest.mark.parametrize(
    ("row", "error", "found"),
    [
        ({"text": "So."}, PreferenceFormError, "row 2: no preference in 'text'; write rows like"),
        ({}, PreferenceFormError, "no preference in nothing"),
        ({"chosen": "So.", "rejected": "No."}, PreferenceFormError, "row 2: no prompt, and the answer 'So.'"),
        (
            {
                "chosen": [*ASKED, *said("So.")],
                "rejected": [{"role": "user", "content": "How?"}, *said("No.")],
            },
            PreferenceFormError,
            "differ before their last answer",
        ),
        ({"prompt": 3, "chosen": "So.", "rejected": "No."}, PreferenceFormError, "the prompt is 3"),
        ({"prompt": "Why?", "answer_a": "So.", "answer_b": "No."}, PreferenceFormError, "without a vote"),
        ({"prompt": "Why?", "answers": ["So."], "scores": [1]}, PreferenceFormError, "a list of two or more"),
        (
            {"prompt": "Why?", "answers": ["So.", "No."], "scores": [1]},
            PreferenceFormError,
            "2 answers, and as scores",
        ),
        ({"prompt": "Why?", "answer_a": "So.", "answer_b": "No.", "vote": "c"}, VoteError, "the vote is 'c'"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "margin": -1}, VoteError, "the margin -1;"),
        ({"prompt": "Why?", "answers": ["So.", "No."], "scores": [1, math.nan]}, VoteError, "score is nan"),
        ({"prompt": "Why?", "answers": ["So.", "No."], "scores": [1, None]}, VoteError, "score is None"),
        (
            {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "chosen_score": 1, "rejected_score": 2},
            VoteError,
            "the chosen answer has the score 1 and the rejected one 2",
        ),
        (
            {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "seconds": "soon"},
            VoteError,
            "seconds is 'soon'",
        ),
        ({"prompt": "Why?", "chosen": "So.", "rejected": " "}, EmptyTurnError, r"message 2 \(assistant\)"),
        ({"prompt": "", "chosen": "So.", "rejected": "No."}, EmptyTurnError, r"message 1 \(user\)"),
        (
            {"prompt": [{"role": "human", "content": "Why?"}], "chosen": "So.", "rejected": "No."},
            RoleError,
            "unknown role 'human'",
        ),
        ({"prompt": [*ASKED, *ASKED], "chosen": "So.", "rejected": "No."}, TurnOrderError, "message 2"),
        ({"prompt": said("Hm."), "chosen": "So.", "rejected": "No."}, TurnOrderError, "message 1"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_row(row, error, found):
    fine = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    with pytest.raises(error, match=found) as told:
        votes_of(fine, row)
    assert "pairs.jsonl, row 2" in str(told.value)

"""Voters: agreement as published, and votes that are not believed, each with its reason."""

import random

import pytest

from pipeline.alignment.votes import (
    Answer,
    Vote,
    VotesConfig,
    agreement,
    contradicting,
    count_votes,
    judge_votes,
    krippendorff_alpha,
    repeated,
    too_fast,
    wilson,
)

# The example of Krippendorff, "Computing Krippendorff's alpha-reliability", 2011, part C: four observers,
# twelve units, values missing; alpha of the names is 0.743.
A = ["1", "2", "3", "3", "2", "1", "4", "1", "2", ".", ".", "."]
B = ["1", "2", "3", "3", "2", "2", "4", "1", "2", "5", ".", "3"]
C = [".", "3", "3", "3", "2", "3", "4", "2", "2", "5", "1", "."]
D = ["1", "2", "3", "3", "2", "4", "4", "1", "2", "5", "1", "."]


def vote(better: str, worse: str, voter: str | None = None, row: int = 1, **more: object) -> Vote:
    """`better` and `worse` in the order of the alphabet or against it, as the row's number says."""
    prompt = str(more.pop("prompt", "p"))
    margin = float(more.pop("margin", 1.0))  # type: ignore[arg-type]
    if row % 2:
        return Vote(prompt, Answer(better), Answer(worse), margin, row, voter, **more)  # type: ignore[arg-type]
    return Vote(prompt, Answer(worse), Answer(better), -margin, row, voter, **more)  # type: ignore[arg-type]


def test_alpha_is_that_of_the_published_example():
    units = [[value for value in unit if value != "."] for unit in zip(A, B, C, D, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_one_where_all_agree_and_none_where_nothing_can_be_said():
    assert krippendorff_alpha([[1, 1], [2, 2], [3]]) == 1
    assert krippendorff_alpha([[1], [2]]) is None
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None


def test_alpha_of_coins_is_near_zero_whatever_the_order_in_which_answers_are_shown():
    chance = random.Random(0)
    votes = [
        vote(*chance.sample(("a", "b"), 2), voter=str(voter), row=chance.randrange(1, 99), prompt=str(number))
        for number in range(500)
        for voter in range(3)
    ]
    found = agreement(votes)
    assert found is not None
    assert abs(found) < 0.06


def test_votes_that_came_before_both_answers_could_be_read_are_found():
    config = VotesConfig(least_seconds=1, reading_speed=100)
    long = "x" * 300
    votes = [
        vote("a", "b", seconds=0.9),
        vote("a", "b", seconds=1.0),
        vote("a", long, seconds=3.0),
        vote("a", long, seconds=3.1),
        vote("a", long),
    ]
    assert set(too_fast(votes, config)) == {0, 2}
    assert too_fast(votes, config)[2][1] == "3 s for 301 characters, at least 3.0 s are needed"


def test_votes_of_one_voter_that_cannot_all_be_true_are_found_and_those_of_two_voters_are_not():
    there_and_back = [vote("a", "b", "ana", 1), vote("b", "a", "ana", 2), vote("a", "c", "ana", 3)]
    assert set(contradicting(there_and_back)) == {0, 1}
    circle = [vote("a", "b", "ana", 1), vote("b", "c", "ana", 2), vote("c", "a", "ana", 3)]
    assert set(contradicting([*circle, vote("d", "a", "ana", 4)])) == {0, 1, 2}
    assert "rows 1, 2, 3" in contradicting(circle)[0][1]
    tie_too = [vote("a", "b", "ana", 1), vote("a", "b", "ana", 2, margin=0.0), vote("a", "c", "ana", 3)]
    assert set(contradicting(tie_too)) == {0, 1}
    assert contradicting([vote("a", "b", "ana", 1), vote("b", "a", "rui", 2)]) == {}
    assert contradicting([vote("a", "b", "ana", 1), vote("b", "a", "ana", 2, prompt="other")]) == {}
    assert contradicting([vote("a", "b", None, 1), vote("b", "a", None, 2)]) == {}


def test_a_voter_counts_once_for_a_pair():
    votes = [
        vote("a", "b", "ana", 1),
        vote("a", "b", "ana", 2),
        vote("a", "b", "rui", 3),
        vote("a", "b", None, 4),
    ]
    assert repeated(votes) == {1: ("repeated", "said in row 1 already")}


def careful_and_careless() -> list[Vote]:
    """Four voters who err in one of ten, one who tosses a coin, and one who says the opposite."""
    chance = random.Random(1)
    votes = []
    for number in range(400):
        for voter, error in {
            "ana": 0.1,
            "rui": 0.1,
            "eva": 0.1,
            "leo": 0.1,
            "coin": 0.5,
            "troll": 0.9,
        }.items():
            better, worse = ("b", "a") if chance.random() < error else ("a", "b")
            votes.append(vote(better, worse, voter, len(votes) + 1, prompt=f"p{number}"))
    return votes


def test_who_surely_disagrees_with_the_others_is_left_out_and_agreement_rises():
    judged = judge_votes(careful_and_careless(), VotesConfig())
    assert {out.vote.voter for out in judged.left_out} == {"coin", "troll"}
    assert {out.reason for out in judged.left_out} == {"disagrees"}
    assert judged.alpha is not None
    assert judged.alpha_kept is not None
    assert judged.alpha < 0.3 < 0.6 < judged.alpha_kept
    assert judged.voters["troll"].votes == judged.voters["troll"].left_out == 400
    assert judged.voters["ana"].left_out == 0
    pairs, _ = count_votes(judged.kept)
    assert sum(pair.chosen.text == "a" for pair in pairs) > 0.98 * len(pairs)


def test_a_voter_of_few_votes_is_not_judged():
    votes = [
        vote("a", "b", voter, prompt=str(number)) for number in range(9) for voter in ("ana", "rui", "eva")
    ]
    votes += [vote("b", "a", "new", prompt=str(number)) for number in range(9)]
    assert judge_votes(votes, VotesConfig(least_shared=10)).left_out == []
    assert judge_votes(votes, VotesConfig(least_shared=9)).voters["new"].left_out == 9


def test_the_majority_wins_with_what_it_wins_by_and_a_tie_is_left_out():
    votes = [vote("a", "b", "ana", 1), vote("b", "a", "rui", 2), vote("a", "b", "eva", 3)]
    [pair], ties = count_votes(votes)
    assert (pair.chosen.text, pair.rejected.text, pair.voters) == ("a", "b", 3)
    assert pair.strength == pytest.approx(1 / 3)
    assert ties == []
    pairs, ties = count_votes(votes[:2])
    assert pairs == []
    assert [out.reason for out in ties] == ["tie", "tie"]


def test_the_interval_is_wilsons():
    low, high = wilson(8, 10)  # as R's prop.test(8, 10, correct = FALSE) gives it
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))

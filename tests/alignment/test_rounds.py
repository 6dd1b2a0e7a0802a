"""Who wins a round of feedback: by a margin, with confidence, and by choices between the two alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.ballots import Answered, Ballot, BallotBox, Votes, gather_votes
from pipeline.alignment.rounds import FeedbackConfig, Round, hold_round, judge, ratings
from pipeline.models.model import Model
from pipeline.store import Attempt, Made, Store
from tests.evaluation.stand_ins import NoConfig, SmallModel

CONFIG = FeedbackConfig()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def model(store: Store, key: str) -> Model:
    return SmallModel(store.storage, key)


def choice(number: int, left: str, right: str, vote: str) -> Ballot:
    answers = (Answered(text="one", model=f"a@{left}"), Answered(text="two", model=f"b@{right}"))
    prompt = ({"role": "user", "content": "Why?"},)
    return Ballot(id=f"{number:032x}", kind="choice", prompt=prompt, answers=answers, vote=vote, voter="ana")


def choices(left: str, right: str, won: int, lost: int, tied: int = 0) -> list[Ballot]:
    """`left` has won and lost so many; it stands on either side."""
    votes = ["a"] * won + ["b"] * lost + ["tie"] * tied
    other = {"a": "b", "b": "a", "tie": "tie"}
    return [
        choice(number, left, right, vote) if number % 2 else choice(number, right, left, other[vote])
        for number, vote in enumerate(votes)
    ]


@given(won=st.integers(0, 60), lost=st.integers(0, 60), tied=st.integers(0, 20))
def test_only_a_clear_winner_is_promoted(won: int, lost: int, tied: int) -> None:
    store = Store("nowhere")
    old, new = model(store, "old"), model(store, "new")
    found = judge(choices("new", "old", won, lost, tied), old, new, 2, CONFIG)
    turned = judge(choices("new", "old", lost, won, tied), old, new, 2, CONFIG)
    assert (found.won, found.lost, found.tied) == (won, lost, tied)
    assert not (found.promoted and turned.promoted)
    if found.promoted:
        assert won > lost
        assert won + lost + tied >= CONFIG.least_choices
        assert found.rate >= 0.5 + CONFIG.margin
        assert judge(choices("new", "old", won + 1, lost, tied), old, new, 2, CONFIG).promoted
    assert found.champion == (new if found.promoted else old).base


@pytest.mark.parametrize(
    ("won", "lost", "told"),
    [
        (19, 0, "19 choices between it and the champion, and 20 are needed"),
        (54, 46, "it won 54, lost 46 and tied 0, 54% of 100; 55% are needed"),
        (12, 8, "more than half with 74.8% confidence; 95% is needed"),
        (30, 10, "it won 30, lost 10 and tied 0, 75% of 40"),
    ],
)
def test_the_verdict_says_why(store: Store, won: int, lost: int, told: str) -> None:
    found = judge(choices("new", "old", won, lost), model(store, "old"), model(store, "new"), 2, CONFIG)
    assert told in found.why


def test_choices_between_other_models_and_marks_of_one_answer_do_not_count(store: Store) -> None:
    own, others = choices("new", "old", 30, 5), choices("new", "older", 0, 50)
    same = choices("new", "new", 0, 50)
    thumb = Ballot(
        id="f" * 32,
        kind="thumb",
        prompt=({"role": "user", "content": "Why?"},),
        answers=(Answered(text="so", model="b@new"),),
        vote="down",
        voter="ana",
    )
    found = judge([*own, *others, *same, thumb], model(store, "old"), model(store, "new"), 2, CONFIG)
    assert (found.won, found.lost, found.promoted) == (30, 5, True)


def test_ratings_order_models_that_never_met() -> None:
    ballots = [*choices("c", "b", 30, 10), *choices("b", "a", 30, 10)]
    found = ratings(ballots, "a")
    assert found["a"] == 0
    assert found["b"] == pytest.approx(191, abs=15)  # odds of 3
    assert found["c"] == pytest.approx(2 * found["b"], rel=0.02)


def test_one_who_wins_everything_has_a_finite_rating() -> None:
    assert 200 < ratings(choices("b", "a", 40, 0), "a")["b"] < 2000


def test_a_rating_without_any_choice_is_none_at_all() -> None:
    assert ratings([], "a") == {"a": 0.0}


def test_a_round_has_the_rounds_before_it_and_a_picture(store: Store) -> None:
    old, new, newest = (make_model(store, seed) for seed in (1, 2, 3))
    first = hold_round(store, gathered(store, [*choices("x", "y", 1, 0)]), old, None, None, CONFIG)
    assert first.winner(old, None) is old
    second_votes = gathered(store, choices(new.key, old.key, 30, 3))
    second = hold_round(store, second_votes, old, new, first, CONFIG)
    assert second.winner(old, new) is new
    third_votes = gathered(store, choices(newest.key, new.key, 3, 30))
    third = hold_round(store, third_votes, new, newest, second, CONFIG)
    assert third.winner(new, newest) is new
    assert [each.number for each in third.verdicts()] == [1, 2, 3]
    assert [each.promoted for each in third.verdicts()] == [False, True, False]
    assert third.verdicts()[:2] == second.verdicts()
    assert third.path("rounds.png").stat().st_size > 5_000
    journal = "".join(path.read_text() for path in Path(store.storage.root).glob("round/**/rounds-*.jsonl"))
    steps = [json.loads(line)["step"] for line in journal.splitlines()]
    assert sorted(steps) == [1, 1, 1, 2, 2, 3]


def test_how_many_votes_a_round_waits_for_changes_nothing_that_it_makes(store: Store) -> None:
    votes = gathered(store, choices("x", "y", 1, 0))
    old = make_model(store, 1)
    rounds = [hold_round(store, votes, old, None, None, FeedbackConfig(votes=n)) for n in (1, 70)]
    assert rounds[0].key == rounds[1].key
    other = hold_round(store, votes, old, None, None, FeedbackConfig(margin=0.2))
    assert isinstance(other, Round)
    assert other.key != rounds[0].key


def gathered(store: Store, ballots: list[Ballot]) -> Votes:
    """From a box of their own."""
    box = BallotBox(store.storage, f"box-{ballots[0].answers[0].model.replace('@', '-')}")
    for ballot in ballots:
        box.put(ballot)
    return gather_votes(store, box.name)


def make_model(store: Store, seed: int) -> Model:
    """An artifact of the kind, with nothing in it."""

    def build(attempt: Attempt) -> Made:
        attempt.path("seed").write_text(str(seed))
        return Made({"seed": attempt.publish(attempt.path("seed"))})

    return store.make(SmallModel, NoConfig(), {}, build, content={"seed": str(seed)})

"""Votes as they come from a page: none is lost, none counts twice, and all can be learned from."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.alignment.ballots import (
    ROWS,
    Ballot,
    BallotBox,
    BallotError,
    boxes,
    gather_votes,
    known_box,
)
from pipeline.alignment.forms import read_votes
from pipeline.alignment.preferences import PreferencesConfig, collect_preferences
from pipeline.store import Storage, Store
from pipeline.store.discard import leftovers
from pipeline.store.verify import is_store, verify
from tests.alignment.in_process import InProcess

PROCESSES, VOTES = 4, 30
QUESTION = {"role": "user", "content": "What grinds wheat?"}


def ballot(number: int = 0, **other: Any) -> Ballot:
    """A choice, unless told otherwise."""
    told: dict[str, Any] = {
        "id": f"{number:032x}",
        "kind": "choice",
        "prompt": [QUESTION],
        "answers": [{"text": f"A mill, {number}.", "model": "road/chat@1"}, {"text": "Rain.", "model": "b"}],
        "vote": "a",
        "voter": "ana",
    }
    return Ballot.model_validate(told | other)


ONE = [{"text": "A mill.", "model": "road/chat@1"}]
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip)
ANSWERS = st.fixed_dictionaries(
    {"text": TEXTS, "model": st.text("ab/@1", max_size=9), "ended": st.booleans()}
)
TURNS = st.tuples(st.booleans(), st.lists(st.tuples(TEXTS, TEXTS), max_size=2), TEXTS)


@st.composite
def ballots(draw: st.DrawFn) -> dict[str, Any]:
    """Any vote that a page may send, but for its id."""
    with_system, before, question = draw(TURNS)
    prompt = [{"role": "system", "content": "Be brief."}] if with_system else []
    for asked, answered in before:
        prompt += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    kind, votes, answers = draw(
        st.sampled_from([("choice", "a b tie", 2), ("thumb", "up down", 1), ("edit", "edited", 1)])
    )
    return {
        "kind": kind,
        "prompt": [*prompt, {"role": "user", "content": question}],
        "answers": draw(st.lists(ANSWERS, min_size=answers, max_size=answers)),
        "vote": draw(st.sampled_from(votes.split())),
        "better": draw(TEXTS) if kind == "edit" else None,
        "voter": draw(TEXTS),
        "seconds": draw(st.none() | st.floats(0, 1e6)),
        "language": draw(st.sampled_from(["", "en", "pt"])),
    }


@given(votes=st.lists(ballots(), max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_put_into_a_box_is_in_it_and_can_be_learned_from(votes: list[Any], tmp_path: Path) -> None:
    box = BallotBox(Storage(str(tmp_path)), f"box-{len(list(tmp_path.glob('votes/*')))}")
    given_ = [Ballot.model_validate({"id": f"{at:08x}"} | vote) for at, vote in enumerate(votes)]
    assert all(box.put(each) for each in given_)
    assert not any(box.put(each) for each in given_), "each is there once, however often it is sent"
    assert box.ballots() == given_
    rows = [json.loads(line) for line in box.rows()]
    assert len(rows) == len(given_)
    for each, row in zip(given_, rows, strict=True):
        kept, same = read_votes([(1, row)], "box")
        if each.kind == "thumb":
            assert (kept, same) == ([], []), "one answer alone is no pair"
            continue
        (vote,) = [*kept, *(left.vote for left in same)]
        assert vote.voter == each.voter
        assert vote.seconds == each.seconds
        assert json.loads(vote.prompt) == [turn.model_dump() for turn in each.prompt]
        texts = [answer.text for answer in each.answers]
        if each.kind == "choice":
            assert [vote.first.text, vote.second.text] == texts
            assert [vote.first.ended, vote.second.ended] == [answer.ended for answer in each.answers]
            assert vote.margin == {"a": 1, "b": -1, "tie": 0}[each.vote]
        else:
            assert [vote.first.text, vote.second.text] == [each.better, *texts]
            assert [vote.first.ended, vote.second.ended] == [True, each.answers[0].ended]
            assert vote.margin == 1


def test_thumbs_of_one_voter_for_two_answers_to_one_question_are_a_vote(store: Store) -> None:
    box = BallotBox(store.storage, "road")
    bad = [{"text": "Rain.", "model": "b", "ended": False}]
    box.put(ballot(1, kind="thumb", vote="up", answers=ONE))
    box.put(ballot(2, kind="thumb", vote="down", answers=bad))
    box.put(ballot(3, kind="thumb", vote="down", answers=bad, voter="bia"))
    ((vote,), _) = read_votes(enumerate(map(json.loads, box.rows()), 1), "box")
    assert (vote.first.text, vote.second.text, vote.margin) == ("A mill.", "Rain.", 1)
    assert (vote.first.ended, vote.second.ended) == (True, False)


def _fill(root: str, voter: int) -> None:
    """In a process of its own: votes of its own, then one that all others give, too."""
    box = BallotBox(Storage(root), "road")
    for number in range(VOTES):
        assert box.put(ballot(1000 * voter + number, voter=f"voter-{voter}"))
    box.put(ballot(999_999))


def test_several_processes_fill_one_box_at_once_and_nothing_is_lost(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(store.storage.root, each)) for each in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    found = known_box(store.storage, "road").ballots()
    wanted = {f"{1000 * voter + number:032x}" for voter in range(PROCESSES) for number in range(VOTES)}
    assert {each.id for each in found} == wanted | {f"{999_999:032x}"}
    assert len(found) == PROCESSES * VOTES + 1


def test_two_different_votes_with_one_id_are_told(store: Store) -> None:
    box = BallotBox(store.storage, "road")
    assert box.put(ballot(1))
    with pytest.raises(BallotError, match=r"another vote has the id 0+1"):
        box.put(ballot(1, vote="b"))
    assert [each.vote for each in box.ballots()] == ["a"]


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({"vote": "up"}, "a choice is about 2 of the answers"),
        ({"answers": ONE}, "found a about 1"),
        ({"kind": "thumb", "vote": "up"}, "a thumb is about 1"),
        ({"kind": "edit", "vote": "edited", "answers": ONE}, "an edit has a better answer"),
        ({"better": "A mill!"}, "no other vote has one"),
        ({"prompt": []}, "at least 1 item"),
        ({"prompt": [QUESTION, {"role": "assistant", "content": "A mill."}]}, "the role is 'assistant'"),
        ({"prompt": [{"role": "user", "content": " "}]}, "the content is ' '"),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "'system', 'user' or 'assistant'"),
        ({"prompt": [QUESTION | {"name": "x"}]}, "Extra inputs"),
        ({"answers": [{"text": " ", "model": ""}, *ONE]}, "the content is ' '"),
        ({"id": "../../names/road"}, "should match pattern"),
        ({"voter": ""}, "at least 1 character"),
        ({"seconds": float("inf")}, "finite number"),
        ({"seconds": -1}, "greater than or equal to 0"),
        ({"voter": "\ud800"}, "valid"),
    ],
)
def test_a_vote_that_nothing_could_be_learned_from_is_refused(other: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError, match=found):
        ballot(**other)


def test_boxes_that_cannot_be_and_files_that_are_no_votes_are_told(store: Store) -> None:
    for name in ("", "../names", "a/b", ".hidden"):
        with pytest.raises(BallotError, match="is no name for votes"):
            BallotBox(store.storage, name)
    with pytest.raises(BallotError, match=r"nobody has voted in 'road'; there is: none in this store"):
        known_box(store.storage, "road")
    BallotBox(store.storage, "mill").put(ballot(1))
    with pytest.raises(BallotError, match="there is: mill"):
        gather_votes(store, "road")
    store.storage.replace("votes/mill/spoiled.json", b'{"at": "today", "kind": "thumb"}')
    with pytest.raises(BallotError, match=r"votes/mill/spoiled.json in .* is no vote: Field required"):
        known_box(store.storage, "mill").ballots()


def test_votes_are_gathered_as_an_artifact_that_is_known_by_their_content(store: Store) -> None:
    box = BallotBox(store.storage, "road")
    box.put(ballot(1))
    one = gather_votes(store, "road")
    assert one.path(ROWS).read_bytes() == b"".join(box.rows())
    assert one.counts()["votes"] == 1
    BallotBox(store.storage, "copy").put(ballot(1))
    assert gather_votes(store, "copy").key == one.key == gather_votes(store, "road").key
    box.put(ballot(2, vote="b"))
    more = gather_votes(store, "road")
    assert more.key != one.key
    assert more.counts()["votes"] == 2


def test_preferences_from_a_box_are_those_from_its_rows_in_a_file(store: Store, tmp_path: Path) -> None:
    box = BallotBox(store.storage, "road")
    for number in range(40):
        question = {"role": "user", "content": f"What is number {number}?"}
        cut = {"text": f"Rain {number}", "model": "b", "ended": False}
        answers = [{"text": f"A mill, {number}.", "model": "a"}, cut]
        box.put(ballot(number, prompt=[question], answers=answers, vote="ab"[number % 2]))
    path = tmp_path / "votes.jsonl"
    path.write_bytes(b"".join(box.rows()))
    sources = ("votes:road", str(path))
    made = [collect_preferences(store, None, PreferencesConfig(source=each), InProcess()) for each in sources]
    rows = [[*each.rows("train"), *each.rows("held-out")] for each in made]
    assert len(rows[0]) == 40
    assert rows[0] == rows[1]
    for row in rows[0]:
        rain = "chosen" if row["chosen"].startswith("Rain") else "rejected"
        assert row[f"{rain}_ended"] is False
    assert made[0].record.inputs["votes"].key == gather_votes(store, "road").key


def test_a_box_is_no_artifact_and_nothing_that_is_cleared_away(store: Store) -> None:
    BallotBox(store.storage, "road").put(ballot(1))
    assert boxes(store.storage) == ["road"]
    assert is_store(store.storage)
    assert verify(store).faults == []
    left = leftovers(store)
    assert not [*left.artifacts, *left.attempts, *left.unfinished]

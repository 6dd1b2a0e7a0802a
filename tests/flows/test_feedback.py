"""Rounds of feedback, with voters whose preference is known: the model moves toward it, round by round."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import requests

from flows.configuration import load
from flows.feedback import (
    Asked,
    Beginning,
    FeedbackSettingsError,
    NoNewVotesError,
    Rounds,
    State,
    box_of,
    feedback,
)
from flows.web_to_model import WebToModel
from pipeline.alignment.ballots import BallotBox
from pipeline.alignment.rounds import Round
from pipeline.store import Store
from tests.road import MOINHO, Run
from tests.tracking.recorded import free_port, recorded, wait_for
from tests.voters import Voters

CONFIG = Path(__file__).parents[1] / "feedback.toml"
THINGS = ("argparse", "socket", "asyncio", "decimal", "logging", "email")
QUESTIONS = [f"What does {name} do?" for name in THINGS]
BEST_CHARACTERS = 20
ROUNDS, VOTES = 4, 80
"""The first has the first model alone to vote on; three challengers follow."""
LEAST_GAIN = 5.0
"""Characters nearer to the best length."""


def liked(text: str) -> float:
    """The nearer to a certain length, the better."""
    return -abs(len(text) - BEST_CHARACTERS)


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    return Rounds(Store(str(tmp_path / "store")).storage, "road")


def configured(*settings: str) -> WebToModel:
    return load(WebToModel, CONFIG, list(settings))


def test_what_a_round_begins_with_stays_as_it_was_first_written(rounds: Rounds) -> None:
    first = Beginning("gather-votes/a", "finetune/b", None, None)
    assert rounds.latest() is None
    assert rounds.begin(1, first) == first
    assert rounds.begin(1, Beginning("gather-votes/other", "finetune/b", None, None)) == first
    assert (rounds.latest(), rounds.done(1)) == (1, None)
    rounds.end(1, State("finetune/b", "dpo/c", "round/d"))
    assert rounds.done(1) == State("finetune/b", "dpo/c", "round/d")


def test_a_round_that_is_called_off_begins_anew_with_other_votes(rounds: Rounds) -> None:
    rounds.end(0, State("finetune/b"))
    rounds.begin(1, Beginning("gather-votes/a", "finetune/b", None, None))
    rounds.call_off(1)
    assert rounds.latest() == 0
    more = Beginning("gather-votes/more", "finetune/b", None, None)
    assert rounds.begin(1, more) == more


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (['preferences.source="pairs.jsonl"'], 'set preferences.source = "votes:road"'),
        (["grpo.reward=rules.py:good"], "there is dpo and grpo"),
    ],
)
def test_settings_that_no_round_can_be_held_with_are_told(settings: list[str], told: str) -> None:
    with pytest.raises(FeedbackSettingsError, match=told):
        box_of(configured(*settings))


def test_a_round_without_a_new_vote_is_refused(tmp_path: Path) -> None:
    from rich.console import Console

    store = Store(str(tmp_path / "store"))
    Rounds(store.storage, "road").end(0, State("finetune/b"))
    config = configured(f"compute.store={store.storage.root}")
    with pytest.raises(NoNewVotesError, match="there are 0 votes in the box road"):
        feedback(config, CONFIG, "moinho feedback", Console(), Asked(1, None, wait=False))


def test_ctrl_c_ends_the_waiting_for_votes(rounds: Rounds, tmp_path: Path) -> None:
    rounds.end(0, State("finetune/b"))
    command = [str(MOINHO), "feedback", str(CONFIG), "--store", str(tmp_path / "store"), "--no-page"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "waiting for 80 new votes in the box road\n"
        waiting.send_signal(signal.SIGINT)
        told = waiting.stdout.read()
    assert waiting.returncode == 130, told
    assert "to go on: moinho feedback" in " ".join(told.split())
    assert "Traceback" not in told


@pytest.fixture
def store(filled_road: Path, tmp_path: Path) -> Store:
    """The road's, with its chat model, for rounds of its own."""
    shutil.copytree(filled_road / "undisturbed", tmp_path / "store", symlinks=True)
    return Store(str(tmp_path / "store"))


@pytest.mark.everything
@pytest.mark.timeout(1200)
def test_rounds_move_the_model_toward_what_its_voters_like(store: Store, tmp_path: Path) -> None:
    port = free_port()
    voters = Voters(f"http://127.0.0.1:{port}", liked)
    means = []
    run = begin(store, tmp_path, port, rounds=ROUNDS)
    for number in range(1, ROUNDS + 1):
        state = state_of(store, number - 1)
        names = page_with(voters, (state.challenger or state.champion).partition("/")[2], run)
        newest, other = names[0], names[min(number, 2) - 1]
        voted = [each for each in voters.vote((newest, other), QUESTIONS, VOTES) if each.model == newest]
        means.append(sum(liked(each.text) for each in voted) / len(voted))
        if number == 2:
            wait_for(lambda: Rounds(store.storage, "road").latest() == 2, 60)
            run.wait_for_worker("ray::", 120)
            run.kill_family()
            run = begin(store, tmp_path, port, rounds=ROUNDS - 1)
        end_of(number, store, run)
    assert run.wait() == 0, run.text()
    assert means[-1] > means[0] + LEAST_GAIN, means
    check_record(store)


def end_of(number: int, store: Store, run: Run) -> None:
    """Wait until the round is held."""
    wait_for(lambda: is_done(store, number) or run.process.poll() is not None, 300)
    assert is_done(store, number), run.text()


def state_of(store: Store, number: int) -> State:
    """After the round; of the chat model it has to be waited for."""
    wait_for(lambda: is_done(store, number), 120)
    state = Rounds(store.storage, "road").done(number)
    assert state is not None
    return state


def begin(store: Store, folder: Path, port: int, rounds: int) -> Run:
    output = folder / f"output-{rounds}-{port}.txt"
    command = [str(MOINHO), "feedback", str(CONFIG)]
    command += ["--store", store.storage.root, "--rounds", str(rounds), "--port", str(port)]
    with output.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ,
        )
    return Run(process, output)


def page_with(voters: Voters, newest: str, run: Run) -> list[str]:
    """Names of the models on the page, once the first of them is the one with that key."""

    def is_there() -> bool:
        assert run.process.poll() is None, run.text()
        try:
            return voters.identity(voters.models()[0]).endswith(newest)
        except requests.RequestException:
            return False

    wait_for(is_there, 120)
    return voters.models()


def is_done(store: Store, number: int) -> bool:
    return Rounds(store.storage, "road").done(number) is not None


def check_record(store: Store) -> None:
    """One chart has all rounds, and the registry the champion alone."""
    state = state_of(store, ROUNDS)
    assert state.round is not None
    last = Round(store.storage, state.round.partition("/")[2])
    verdicts = last.verdicts()
    assert [each.number for each in verdicts] == list(range(1, ROUNDS + 1))
    assert [each.votes for each in verdicts] == [n * VOTES for n in range(1, ROUNDS + 1)]
    assert BallotBox(store.storage, "road").count() == ROUNDS * VOTES
    assert verdicts[1].promoted, verdicts
    assert verdicts[-1].rating > 50, verdicts
    found = recorded(store)
    runs = [run for run in found.runs if run.data.tags.get("moinho.artifact") == state.round]
    assert found.steps(runs[-1], "rating") == list(range(1, ROUNDS + 1))
    assert found.steps(runs[-1], "win_rate") == list(range(1, ROUNDS + 1))
    champion = found.client.get_model_version_by_alias("road", "champion")
    assert champion.tags["moinho.artifact"] == state.champion
    promoted = sum(each.promoted for each in verdicts)
    assert len(found.client.search_model_versions("name = 'road'")) == promoted

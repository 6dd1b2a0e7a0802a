"""What an answer is worth: by a function of the user's or by a reward model, through one callable."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.alignment.prompts import Prompt
from pipeline.alignment.reward import RewardModel
from pipeline.alignment.reward_source import NoRewardError, identity_of_source, reward_source
from pipeline.alignment.rewards import Answer, LearntReward, NonFiniteRewardError, open_reward
from pipeline.models.generation import Sampled
from pipeline.store import Storage
from pipeline.tokens.markers import TURN_END_ID
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.user_function import FunctionRaisedError, UserFunction

ASKED = [{"role": "user", "content": "What is a lamp?"}]
CPU = torch.device("cpu")


def test_a_function_is_given_all_that_is_known_of_an_answer(tmp_path: Path) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text(
        "def good(prompt, answer, ended, tokens, url=None):\n"
        "    assert prompt[-1]['role'] == 'user' and url == 'http://toys.test/'\n"
        "    return len(answer) + 100 * ended + 1000 * tokens\n"
    )
    source = reward_source(f"{rules}:good", None, "ppo")
    reward = open_reward(source, CPU, timeout_seconds=60)
    row = {"id": "1", "url": "http://toys.test/"}
    assert reward([Answer(ASKED, "abc", True, 2, row), Answer(ASKED, "", False, 0, row)]) == [2103.0, 0.0]
    with pytest.raises(FunctionRaisedError, match=r"good raised AssertionError.*What is a lamp\?.*abc"):
        reward([Answer(ASKED, "abc", True, 2, {})])


def test_the_reward_enters_the_key_by_content(tmp_path: Path) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text("def good(answer): return 1.0")
    source = reward_source(f"{rules}:good", None, "ppo")
    assert isinstance(source, UserFunction)
    assert identity_of_source(source) == ({}, {"reward": source.sha256, "reward function": "good"})
    model = RewardModel(Storage(str(tmp_path)), "k")
    assert reward_source(None, model, "ppo") is model
    assert identity_of_source(model) == ({"reward": model}, {})
    with pytest.raises(NoRewardError, match=r"set ppo\.reward to a function"):
        reward_source(None, None, "ppo")


def test_what_was_drawn_becomes_an_answer_without_its_end(small_vocabulary: Vocabulary) -> None:
    tokenizer = small_vocabulary.tokenizer()
    ids = tokenizer.encode("a lamp", add_special_tokens=False)
    prompt = Prompt(ASKED, [1], {"id": "1"})
    ended = Answer.to(prompt, Sampled([*ids, TURN_END_ID], [], True), tokenizer)
    cut = Answer.to(prompt, Sampled(ids, [], False), tokenizer)
    assert (ended.text, ended.ended, ended.tokens) == ("a lamp", True, len(ids))
    assert (cut.text, cut.ended, cut.tokens) == ("a lamp", False, len(ids))
    assert (cut.prompt, cut.row) == (ASKED, {"id": "1"})


def test_a_reward_model_that_gives_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reward = object.__new__(LearntReward)
    reward.name, given = "reward/k", {"model": None, "tokenizer": None}
    vars(reward).update(given)
    values: list[Any] = [1.0, float("nan")]
    monkeypatch.setattr("pipeline.alignment.reward.rewards", lambda *_: values)
    with pytest.raises(NonFiniteRewardError, match=r"reward/k gave nan for the answer 'b'"):
        reward([Answer(ASKED, "a", True, 1), Answer(ASKED, "b", True, 1)])

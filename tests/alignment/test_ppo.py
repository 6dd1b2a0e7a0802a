"""PPO against a bandit whose optimum is known, and its run: killed, stopped by a guard, shared."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.alignment.guards import GuardsConfig
from pipeline.alignment.ppo import PpoConfig, check_minibatches
from pipeline.alignment.ppo_rollouts import Rollout, scored
from pipeline.alignment.ppo_updates import Updates
from pipeline.alignment.rewards import Answer
from pipeline.alignment.value_model import ActorCritic, ValueModel, frozen
from pipeline.models.generation import sample
from pipeline.models.model import load_model
from pipeline.store import Attempt, JournalReader, sha256_of
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.group import Group
from pipeline.training.tuning import tune
from pipeline.training.tuning_config import AdapterConfig, BatchRowsError
from tests.alignment.ppo_toys import CONFIG, Toys, make_toys
from tests.evaluation.stand_ins import random_model
from tests.training.tuning_processes import tune_and_leave, tune_together, tune_until

ARMS = 12
PAYS = torch.linspace(-1, 1, ARMS)[torch.tensor([3, 7, 0, 11, 5, 9, 1, 4, 10, 2, 8, 6])]
ASKED = [1, 5]


class Bandit:
    """A model that says one token, an arm; each pays what it pays."""

    def __init__(self, **config: Any) -> None:
        self.config = PpoConfig(**{"answer_tokens": 1, "minibatches": 2, "updates": 2, **config})
        self.policy = random_model(ARMS, context=8, width=16)
        self.reference = frozen(self.policy)
        self.model = ActorCritic(self.policy, ValueModel.of_policy(self.policy))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=0.0)

    def probabilities(self) -> torch.Tensor:
        with torch.no_grad():
            return self.policy(input_ids=torch.tensor([ASKED])).logits[0, -1].softmax(-1)

    def pull(self, step: int, count: int) -> list[Rollout]:
        seeds = range(step * count, (step + 1) * count)
        options: dict[str, Any] = {"max_tokens": 1, "stop": (), "temperature": 1.0, "batch": count}
        ids = [text.ids for text in sample(self.policy, [ASKED] * count, seeds=seeds, **options)]
        options = {"temperature": 1.0, "together": count, "autocast": nullcontext}
        judged = scored(self.policy, self.reference, self.model.critic, [ASKED] * count, ids, **options)
        return [
            Rollout(Answer([], "", True, 1), ASKED, each, float(PAYS[each[0]]), **vars(numbers))
            for each, numbers in zip(ids, judged, strict=True)
        ]

    def learn(self, rollouts: list[Rollout], step: int, learning_rate: float) -> dict[str, float]:
        updates = Updates(self.model, self.optimizer, self.config, Group.alone(), len(rollouts), nullcontext)
        return updates.learn(rollouts, [each.reward for each in rollouts], step, learning_rate)

    def play(self, steps: int, count: int = 256) -> torch.Tensor:
        for step in range(steps):
            self.learn(self.pull(step, count), step, 0.01 * (1 - step / steps))
        return self.probabilities()


def test_a_bandit_is_played_as_the_known_optimum_says():
    """Of reward less 0.5 times the KL divergence the optimum is the reference times exp(reward / 0.5)."""
    bandit = Bandit(kl_weight=0.5)
    optimum = bandit.probabilities() * (PAYS / 0.5).exp()
    optimum /= optimum.sum()
    before = float((bandit.probabilities() - optimum).abs().sum() / 2)
    found = bandit.play(60)
    assert before > 0.3
    assert float((found - optimum).abs().sum() / 2) < 0.05


def test_without_a_price_for_leaving_the_reference_the_best_arm_is_left():
    found = Bandit(kl_weight=0.0).play(40)
    assert int(found.argmax()) == int(PAYS.argmax())
    assert float(found.max()) > 0.9


def test_with_learning_rate_0_nothing_moves():
    bandit = Bandit()
    before = {name: weight.clone() for name, weight in bandit.model.state_dict().items()}
    rollouts = bandit.pull(0, 64)
    told = bandit.learn(rollouts, 0, learning_rate=0.0)
    assert all(torch.equal(weight, before[name]) for name, weight in bandit.model.state_dict().items())
    assert [each.kl for each in rollouts] == pytest.approx([0.0] * 64, abs=1e-6)
    assert told["moved"] == pytest.approx(0, abs=1e-6)
    assert told["loss"] == pytest.approx(0, abs=1e-5)  # minus the mean of whitened advantages
    assert told["clipped_share"] == 0
    assert told["gradient_norm"] > 0


def test_the_first_update_goes_along_the_policy_gradient():
    """At ratio 1 the surrogate's gradient is that of the mean of advantage times log-probability."""
    bandit = Bandit(minibatches=1, updates=1, value_weight=0.0, gradient_clip_norm=1e9)
    bandit.optimizer = torch.optim.SGD(bandit.model.parameters(), lr=1.0)
    before = {name: weight.detach().clone() for name, weight in bandit.policy.named_parameters()}
    rollouts = bandit.pull(0, 64)
    rewards = np.array([each.reward for each in rollouts])  # the critic expects 0, the KL divergence is 0
    advantages = torch.tensor((rewards - rewards.mean()) / rewards.std())
    logprobs = bandit.policy(input_ids=torch.tensor([ASKED])).logits[0, -1].log_softmax(-1)
    arms = torch.tensor([each.ids[0] for each in rollouts])
    (advantages * logprobs[arms]).mean().backward()
    expected = {
        name: before[name] + weight.grad
        for name, weight in bandit.policy.named_parameters()
        if weight.grad is not None
    }
    bandit.optimizer.zero_grad()
    bandit.learn(rollouts, 0, learning_rate=1.0)
    for name, weight in bandit.policy.named_parameters():
        torch.testing.assert_close(weight.detach(), expected[name].float(), atol=2e-5, rtol=1e-3)


def test_answers_are_scored_alike_alone_and_beside_others():
    policy = random_model(1024)
    reference = random_model(1024)
    torch.nn.init.normal_(reference.lm_head.weight)
    critic = ValueModel.of_policy(policy)
    torch.nn.init.normal_(critic.head.weight)
    prompts = [[1, *range(10, 10 + length)] for length in (3, 9, 1, 5)]
    answers = [[20, 21, 22], [7], [30, 31, 32, 33, 34, 35], [40, 41]]
    options: dict[str, Any] = {"temperature": 0.7, "together": 3, "autocast": nullcontext}
    together = scored(policy, reference, critic, prompts, answers, **options)
    for prompt, answer, found in zip(prompts, answers, together, strict=True):
        ids = torch.tensor([prompt + answer])
        own, other = ((m(input_ids=ids).logits[0] / 0.7).log_softmax(-1) for m in (policy, reference))
        places = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
        expected = own[places, answer].tolist(), other[places, answer].tolist()
        assert found.logprobs == pytest.approx(expected[0], abs=1e-4)
        assert found.reference_logprobs == pytest.approx(expected[1], abs=1e-4)
        hidden = critic.trunk(input_ids=ids).last_hidden_state[0, places]
        assert found.values == pytest.approx(critic.head(hidden)[:, 0].tolist(), abs=1e-4)
        spread = -(own[places].exp() * own[places]).sum(-1).mean()
        assert found.entropy == pytest.approx(float(spread), abs=1e-4)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, small_vocabulary: Vocabulary) -> Toys:
    return make_toys(tmp_path_factory.mktemp("ppo"), small_vocabulary)


@pytest.fixture(scope="module")
def undisturbed(toys: Toys) -> Attempt:
    job = toys.job("1", key="undisturbed")
    tune(job, Group.alone())
    return job.attempt


def told_by(attempt: Attempt) -> list[dict[str, Any]]:
    return list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())


def weights(attempt: Attempt) -> dict[str, torch.Tensor]:
    return load_file(attempt.path("model/model.safetensors"))


def test_a_run_tells_each_step_and_leaves_a_model_that_opens(undisturbed: Attempt) -> None:
    lines = told_by(undisturbed)
    metrics = [line["values"] for line in lines if line["kind"] == "metrics"]
    names = {"reward", "kl", "entropy", "answer_tokens", "ended_share", "loss", "learning_rate"}
    steps = [values for values in metrics if names <= values.keys()]
    assert steps
    assert steps[0]["kl"] == 0
    assert all(math.isfinite(value) for values in metrics for value in values.values())
    assert len([values for values in metrics if "held_out_reward" in values]) == 3
    shown = [line["text"] for line in lines if line["kind"] == "text"]
    assert len(shown) == 3
    assert shown[0].count("**What is train") == 2
    result = json.loads(undisturbed.storage.read(f"{undisturbed.folder}/result.json"))
    assert result["counts"]["steps"] == 6
    assert result["counts"]["answers"] == 48
    assert result["counts"]["stopped_early"] == 0
    model, _ = load_model(undisturbed.path("model"))
    assert not [name for name in weights(undisturbed) if "critic" in name]
    assert model.config.vocab_size == 1024


@pytest.mark.everything
def test_killed_and_run_again_it_ends_with_the_same_bits(toys: Toys, undisturbed: Attempt) -> None:
    tune_until(toys.job("1", key="killed"), 4)
    job = toys.job("2", key="killed")
    tune(job, Group.alone())
    assert [line["step"] for line in told_by(job.attempt) if line["kind"] == "resumed"] == [3]
    name = "model/model.safetensors"
    assert sha256_of(job.attempt.path(name)) == sha256_of(undisturbed.path(name))


def test_told_to_leave_it_saves_the_step_and_goes_on_to_the_same_bits(
    toys: Toys, undisturbed: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (toys.job(id, key="told", checkpoint_seconds=1e6) for id in ("1", "2"))
    tune_and_leave(first, 2, monkeypatch)
    tune(second, Group.alone())
    assert [line["step"] for line in told_by(first.attempt) if line["kind"] == "preempted"] == [2]
    assert [line["step"] for line in told_by(second.attempt) if line["kind"] == "resumed"] == [2]
    name = "model/model.safetensors"
    assert sha256_of(second.attempt.path(name)) == sha256_of(undisturbed.path(name))


def test_a_guard_ends_the_run_and_the_last_good_weights_are_what_comes_out(
    toys: Toys, tmp_path: Path
) -> None:
    guards = GuardsConfig(kl_ceiling=0.05, patience=1)
    config = CONFIG.model_copy(update={"learning_rate": 3e-2, "steps": 20, "guards": guards})
    job = toys.job("1", key="collapsed", config=config)
    tune(job, Group.alone())
    result = json.loads(job.attempt.storage.read(f"{job.attempt.folder}/result.json"))
    assert result["counts"]["stopped_early"] == 1
    lines = told_by(job.attempt)
    stopped = next(line for line in lines if line["kind"] == "stopped")
    assert "above guards.kl_ceiling (0.05)" in stopped["reason"]
    assert result["counts"]["steps"] == stopped["exported_step"] < stopped["step"]
    good = {line["step"]: line["values"]["kl"] for line in lines if "kl" in line.get("values", {})}
    assert all(kl <= 0.05 for kl in good.values())
    if stopped["exported_step"] == 0:
        before = load_file(toys.chat.model_folder() / "model.safetensors")
        assert all(torch.equal(weight, before[name]) for name, weight in weights(job.attempt).items())


def test_minibatches_that_leave_a_worker_without_an_answer_are_refused() -> None:
    with pytest.raises(BatchRowsError, match="try 2"):
        check_minibatches(CONFIG.model_copy(update={"minibatches": 3}), 4)
    with pytest.raises(ValueError, match="try 1, or more"):
        PpoConfig(batch_rows=8, minibatches=9)
    with pytest.raises(ValueError, match=r"leave out ppo\.adapter"):
        PpoConfig(adapter=AdapterConfig())


@pytest.mark.everything
def test_two_workers_learn_what_one_does(toys: Toys) -> None:
    config = CONFIG.model_copy(update={"steps": 3})
    alone, shared = (toys.job("1", key=key, config=config) for key in ("one", "two"))
    tune(alone, Group.alone())
    tune_together(shared, workers=2)
    before = load_file(toys.chat.model_folder() / "model.safetensors")
    one, two = weights(alone.attempt), weights(shared.attempt)
    moved = max(float((one[name] - before[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved > 1e-3
    assert apart < 0.01 * moved

"""DPO, GRPO and RLOO: they learn, a killed run ends with the same bits, and nothing bad passes unseen."""

import json
from collections import Counter
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from pipeline.alignment.align import DpoConfig, GrpoConfig, OnlineConfig
from pipeline.alignment.online import Fact, Online, Step
from pipeline.alignment.pair_rows import pair_row, pair_rows
from pipeline.alignment.ppo import PpoConfig
from pipeline.alignment.preferences import Preferences
from pipeline.store import Storage, Store, sha256_of
from pipeline.tokens.markers import TURN_END_ID
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.group import Group
from pipeline.training.tuning import Run, tune
from pipeline.training.tuning_config import AdapterConfig, TooFewRowsError, TuningJob
from pipeline.user_function import FunctionRaisedError, FunctionTimeoutError, FunctionValueError
from tests.alignment.align_toys import (
    DPO,
    GRPO,
    RLOO,
    UNGUARDED,
    Toys,
    attempt_at,
    dpo_job,
    lines_of,
    make_toys,
    online_job,
    pairs,
    values_of,
    write_rows,
)
from tests.training.tuning_processes import tune_together, tune_until


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, small_vocabulary: Vocabulary) -> Toys:
    return make_toys(tmp_path_factory.mktemp("align"), small_vocabulary)


def test_a_pair_is_a_prompt_with_two_ends_and_what_cannot_be_learned_from_is_left_out(small_vocabulary):
    tokenizer = small_vocabulary.tokenizer()
    pair = pairs()[0]
    row = pair_row(tokenizer, pair)
    assert tokenizer.decode(row.chosen) == "It is red.<|end|>"
    assert tokenizer.decode(row.rejected) == "I do not know that.<|end|>"
    cut = pair_row(tokenizer, {**pair, "rejected_ended": False})
    assert (cut.prompt, cut.chosen, cut.rejected) == (row.prompt, row.chosen, row.rejected[:-1])
    assert row.rejected[-1] == TURN_END_ID
    same, long = {**pair, "rejected": pair["chosen"]}, {**pair, "chosen": "red " * 100}
    found = pair_rows(tokenizer, [pair, same, long], 60)
    assert (found.rows, found.equal, found.too_long) == ([row], 1, 1)


def test_dpo_prefers_what_was_preferred_and_begins_where_the_reference_stands(toys, tmp_path):
    attempt = attempt_at(Storage(str(tmp_path)), "dpo")
    tune(dpo_job(toys, attempt), Group.alone())
    assert values_of(attempt, "held_out_loss")[0] == pytest.approx(0.6931, abs=1e-4)
    assert values_of(attempt, "loss")[0] == pytest.approx(0.6931, abs=1e-4)
    assert values_of(attempt, "kl")[0] == pytest.approx(0, abs=1e-3)
    assert values_of(attempt, "held_out_accuracy")[-1] == 1
    assert values_of(attempt, "held_out_loss")[-1] < 0.5
    assert len([line for line in lines_of(attempt) if line["kind"] == "text"]) == 3
    story = json.loads(attempt.path("alignment.json").read_text())
    assert story["stopped"] is None
    assert story["before"]["kl"] < story["after"]["kl"]


def test_a_rewarded_model_changes_as_it_is_rewarded(toys, tmp_path):
    for config in (GRPO, RLOO):
        attempt = attempt_at(Storage(str(tmp_path)), config.section)
        tune(online_job(toys, attempt, config.model_copy(update={"steps": 60})), Group.alone())
        rewards = values_of(attempt, "reward")
        part = len(rewards) // 3
        assert fmean(rewards[-part:]) > fmean(rewards[:part]) + 1
        for name in ("reward", "kl", "entropy", "answer_tokens", "ended_share"):
            assert values_of(attempt, name)


@pytest.mark.everything
@pytest.mark.parametrize("config", [DPO, GRPO, RLOO], ids=lambda config: config.section)
def test_killed_and_run_again_it_ends_with_the_same_bits(toys, tmp_path, config):
    def job(key: str, id: str) -> TuningJob:
        attempt = attempt_at(Storage(str(tmp_path)), key, id)
        if isinstance(config, OnlineConfig):
            return online_job(toys, attempt, config)
        return dpo_job(toys, attempt, config.model_copy(update={"steps": 6}))

    tune_until(job("whole", "1"), kill_at=None)
    tune_until(job("killed", "1"), kill_at=4)
    newest, _ = Checkpoints(job("killed", "1").attempt, "x").newest()
    assert newest is not None
    assert newest.manifest.step == 3
    tune_until(job("killed", "2"), kill_at=None)
    whole, killed = job("whole", "1").attempt, job("killed", "2").attempt
    assert [line["step"] for line in lines_of(killed) if line["kind"] == "resumed"] == [3]
    weights = [sha256_of(attempt.path("model/model.safetensors")) for attempt in (whole, killed)]
    assert weights[0] == weights[1]
    assert weights[0] != sha256_of(toys.chat.model_folder() / "model.safetensors")


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ("raises", FunctionRaisedError, "no such colour"),
        ("not_a_number", FunctionValueError, "nan"),
        ("hangs", FunctionTimeoutError, "did not return within 1 s"),
    ],
)
def test_a_reward_that_cannot_be_used_ends_the_training_and_names_itself(
    toys, tmp_path, rule, error, message
):
    config = GRPO.model_copy(update={"reward_seconds": 1.0})
    job = online_job(toys, attempt_at(Storage(str(tmp_path)), "bad"), config, rule)
    with pytest.raises(error, match=message) as raised:
        tune(job, Group.alone())
    assert rule in str(raised.value)
    assert "What is the" in str(raised.value)


def test_a_collapse_ends_the_training_with_a_reason_and_the_last_good_weights(toys, tmp_path):
    guards = UNGUARDED.model_copy(update={"kl_ceiling": 0.5, "patience": 1})
    config = GRPO.model_copy(update={"steps": 40, "learning_rate": 3e-2, "guards": guards})
    attempt = attempt_at(Storage(str(tmp_path)), "collapse")
    tune(online_job(toys, attempt, config), Group.alone())
    story = json.loads(attempt.path("alignment.json").read_text())
    assert "kl_ceiling" in story["stopped"]
    assert story["steps"] < story["planned_steps"]
    assert [line["reason"] for line in lines_of(attempt) if line["kind"] == "stopped"] == [story["stopped"]]
    result = json.loads(attempt.path("result.json").read_text())
    assert result["counts"]["stopped_early"] == 1
    killed = attempt_at(Storage(str(tmp_path)), "collapse-killed")
    tune_until(online_job(toys, killed, config), story["steps"] - 1)
    tune(online_job(toys, killed, config), Group.alone())
    again = json.loads(killed.path("result.json").read_text())
    weights = "model/model.safetensors"
    assert again["files"][weights]["sha256"] == result["files"][weights]["sha256"]


def test_settings_that_would_change_nothing_are_refused():
    with pytest.raises(ValidationError, match=r"the loss \"sigmoid\" knows none: set loss = \"robust\""):
        DpoConfig(label_smoothing=0.1)
    assert DpoConfig(label_smoothing=0.1, loss="robust").label_smoothing == 0.1
    with pytest.raises(ValidationError, match=r"leave adapter\.dropout out"):
        DpoConfig(adapter=AdapterConfig(dropout=0.1))


def test_a_functions_time_is_no_part_of_what_is_made():
    assert GrpoConfig(reward_seconds=1).identity() == GrpoConfig(reward_seconds=2).identity()
    assert PpoConfig(reward_seconds=1).identity() == PpoConfig(reward_seconds=2).identity()


@pytest.mark.parametrize(("rows", "steps"), [(40, 5), (100, 13), (100, 12), (2000, 40)])
def test_every_row_is_learned_from_once_in_an_epoch(rows, steps):
    objective = SimpleNamespace(lengths=[row % 17 for row in range(rows)])
    run = SimpleNamespace(config=DpoConfig(batch_rows=8), objective=objective, steps=steps)
    taken = [row for step in range(steps) for row in Run.rows_of_step(run, step)]
    assert len(taken) == 8 * steps
    times = Counter(taken)
    assert max(times.values()) - min(times[row] for row in range(rows)) <= 1


def test_prompts_whose_answers_are_rewarded_alike_are_counted():
    facts = [Fact(reward, 3, True, 0.0) for reward in (1.0, 1.0, 0.0, 1.0)]
    assert Step(facts=facts).equal_share(2) == 0.5


def test_prompts_without_room_for_an_answer_are_left_out_and_said(toys, tmp_path):
    attempt = attempt_at(Storage(str(tmp_path)), "long")
    with pytest.raises(TooFewRowsError, match="60 more leave no room for an answer of 60 tokens"):
        Online(online_job(toys, attempt, GRPO.model_copy(update={"answer_tokens": 60})), Group.alone())


def test_pairs_of_equal_answers_alone_are_refused(toys, tmp_path):
    rows = [{**pair, "rejected": pair["chosen"]} for pair in pairs()]
    same = write_rows(Preferences, Store(str(tmp_path / "store")), rows[:50], rows[50:])
    job = replace(dpo_job(toys, attempt_at(Storage(str(tmp_path)), "same")), preferences=same)
    with pytest.raises(TooFewRowsError, match="50 have the same answer twice"):
        tune(job, Group.alone())


@pytest.mark.everything
@pytest.mark.parametrize("config", [DPO, GRPO, RLOO], ids=lambda config: config.section)
def test_two_workers_draw_and_learn_the_same_as_one(toys, tmp_path, config):
    found = []
    for workers in (1, 2):
        attempt = attempt_at(Storage(str(tmp_path)), f"by-{workers}")
        few = config.model_copy(update={"steps": 3, "learning_rate": 1e-4})
        job = online_job(toys, attempt, few) if isinstance(few, OnlineConfig) else dpo_job(toys, attempt, few)
        tune_together(job, workers) if workers > 1 else tune(job, Group.alone())
        found.append(attempt)
    judged = ["held_out_loss", "entropy", "answer_tokens"]
    if config is not DPO:
        judged = ["held_out_reward", "held_out_kl", "held_out_entropy"]
        assert values_of(found[0], "reward")[-1] == pytest.approx(values_of(found[1], "reward")[-1])
    for name in judged:
        alone, together = (values_of(attempt, name) for attempt in found)
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-3), name
    losses = [values_of(attempt, "loss")[-1] for attempt in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-4)
    assert (found[1].path("model/model.safetensors")).exists()


@pytest.mark.everything
def test_a_reward_that_fails_on_one_worker_ends_all(toys, tmp_path):
    job = online_job(toys, attempt_at(Storage(str(tmp_path)), "bad"), GRPO, "dislikes_ships")
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="no ships"):
        tune_together(job, 2)


@pytest.mark.parametrize("config", [DPO, GRPO], ids=lambda config: config.section)
def test_an_adapter_is_trained_against_the_model_without_it(toys, tmp_path, config):
    attempt = attempt_at(Storage(str(tmp_path)), "adapter")
    few = config.model_copy(update={"steps": 4, "adapter": AdapterConfig(rank=4), "learning_rate": 2e-2})
    job = online_job(toys, attempt, few) if isinstance(few, OnlineConfig) else dpo_job(toys, attempt, few)
    tune(job, Group.alone())
    before, after = (
        json.loads(attempt.path("alignment.json").read_text())[when] for when in ("before", "after")
    )
    assert before["kl"] == pytest.approx(0, abs=1e-3)
    assert abs(after["kl"]) > 0.01
    assert AutoModelForCausalLM.from_pretrained(attempt.path("model/.").resolve(), local_files_only=True)

"""A reward model learns what is preferred, opens anywhere, and a killed training ends with the same bits."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline.alignment.preferences import Preferences, PreferencesConfig, collect_preferences
from pipeline.alignment.reward import (
    RewardConfig,
    RewardJob,
    RewardModel,
    rewards,
    train_reward_model,
)
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.models.model import Model
from pipeline.store import Attempt, JournalReader, Made, Store, sha256_of
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.group import Group
from pipeline.training.tuning import tune
from pipeline.training.tuning_config import TooFewRowsError, made_by
from tests.alignment.in_process import InProcess
from tests.evaluation.stand_ins import publish_model, random_model
from tests.training.tuning_processes import tune_until

CONFIG = RewardConfig(steps=30, batch_rows=8, learning_rate=3e-3, precision="fp32", evaluations=2)
RESOLVED = ComputeConfig(threads=1, checkpoint_seconds=0)
COLOURS = ("red", "green", "blue", "white", "black", "brown")
THINGS = ("apple", "stone", "house", "river", "book", "cat", "tree", "star", "lamp", "road", "ship", "hat")


@dataclasses.dataclass(frozen=True)
class Inputs:
    store: Store
    chat: Model
    preferences: Preferences


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, small_vocabulary: Vocabulary) -> Inputs:
    """Answers that end are preferred to those that were cut off, whatever else they say."""
    folder = tmp_path_factory.mktemp("reward")
    store = Store(str(folder / "store"))
    rows = [
        {
            "prompt": f"What is the {colour} {thing}?",
            "chosen": f"It is a {thing}.",
            "rejected": f"It is a {colour} {thing} that is",
            "rejected_ended": False,
        }
        for colour in COLOURS
        for thing in THINGS
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PreferencesConfig(source=str(path), held_out_share=0.25)
    pairs = collect_preferences(store, None, config, InProcess())
    return Inputs(store, publish_model(store, random_model(1024), small_vocabulary), pairs)


@pytest.fixture(scope="module")
def made(given: Inputs) -> RewardModel:
    """The stage's artifact, made in this process."""

    def build(attempt: Attempt) -> Made:
        tune(RewardJob(attempt, given.chat, CONFIG, RESOLVED, given.preferences), Group.alone())
        return made_by(attempt)

    inputs = {"chat": given.chat, "preferences": given.preferences}
    return given.store.make(RewardModel, CONFIG, inputs, build)


def test_it_learns_what_is_preferred_and_reports_on_pairs_that_it_never_saw(given, made):
    counts = made.record.counts
    assert (counts["steps"], counts["pairs"], counts["held_out_pairs"]) == (30, 54, 18)
    found = made.report()
    assert found["accuracy"]["value"] == made.record.figures["accuracy"] >= 0.9
    assert found["pairs"] == 18
    assert {"reward.json", "plots/rewards.png", "plots/calibration.png", "plots/length.png"} <= set(
        made.record.files
    )
    lines = list(JournalReader(made.storage, f"{made.base}/attempts/{made.record.attempt}/journal").read())
    told = [line["values"] for line in lines if line["kind"] == "metrics"]
    judged = [values["held_out_accuracy"] for values in told if "held_out_accuracy" in values]
    assert len(judged) == 3
    assert judged[-1] == pytest.approx(found["accuracy"]["value"])
    assert any("accuracy" in values for values in told)


def test_rewards_are_those_of_transformers_alone_and_an_end_is_read(given, made):
    model, tokenizer = made.load()
    asked = [{"role": "user", "content": "What is the red cat?"}]
    said = [[*asked, {"role": "assistant", "content": text}] for text in ("It is a cat.", "It is", "So")]
    found = rewards(model, tokenizer, said)
    assert found == pytest.approx([rewards(model, tokenizer, [each])[0] for each in said], abs=1e-5)
    theirs = AutoModelForSequenceClassification.from_pretrained(made.folder("model"), local_files_only=True)
    their_tokenizer = AutoTokenizer.from_pretrained(made.folder("model"), local_files_only=True)
    ids = torch.tensor([their_tokenizer.apply_chat_template(said[0], return_dict=False)])
    with torch.no_grad():
        assert theirs(ids).logits[0, 0].item() == pytest.approx(found[0], abs=1e-5)
    cut = rewards(model, tokenizer, said, [False] * 3)
    assert all(whole != half for whole, half in zip(found, cut, strict=True))
    assert {Path(name).suffix for name in made.names("model/")} <= {
        ".safetensors",
        ".json",
        ".jinja",
        ".model",
    }


@pytest.mark.everything
def test_killed_and_run_again_it_ends_with_the_same_bits(given, made):
    for id, kill_at in (("1", 13), ("2", None)):
        attempt = Attempt(given.store.storage, "reward", "killed", id)
        job = RewardJob(attempt, given.chat, CONFIG, RESOLVED, given.preferences)
        tune_until(job, kill_at)
    lines = list(JournalReader(given.store.storage, f"{attempt.folder}/journal").read())
    assert [line["step"] for line in lines if line["kind"] == "resumed"] == [12]
    weights = sha256_of(attempt.path("model/model.safetensors"))
    assert weights == made.record.files["model/model.safetensors"].sha256
    assert sha256_of(attempt.path("report/reward.json")) == made.record.files["reward.json"].sha256


def test_what_cannot_be_trained_is_refused(given, tmp_path):
    with pytest.raises(ValidationError, match=r"leave out reward\.adapter"):
        RewardConfig(adapter={})
    config = CONFIG.model_copy(update={"max_tokens": 16})
    attempt = Attempt(given.store.storage, "reward", "short", "1")
    with pytest.raises(TooFewRowsError, match=r"raise reward\.max_tokens"):
        tune(RewardJob(attempt, given.chat, config, RESOLVED, given.preferences), Group.alone())


@pytest.mark.everything
def test_the_stage_through_ray_train_makes_the_same_model(given, made, compute: Compute, tmp_path):
    repeatable = dataclasses.replace(compute, config=RESOLVED)
    elsewhere = Store(str(tmp_path / "store"))
    again = train_reward_model(elsewhere, given.chat, given.preferences, CONFIG, repeatable)
    assert again.record.digest == made.record.digest

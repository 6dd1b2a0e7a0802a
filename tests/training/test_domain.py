"""A small model that knows sums learns sentences: what it gains, what it forgets, what is told of that."""

import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.compute_config import ComputeConfig
from pipeline.models.foreign_model import read_model
from pipeline.store import Attempt, JournalReader, sha256_of
from pipeline.tokens.mixture import with_general
from pipeline.tokens.rows import Rows
from pipeline.training.continuing import continuing
from pipeline.training.forgetting import CURVES, Forgetting, Point
from pipeline.training.general import GeneralConfig, GeneralTextForgottenError, require_general_kept
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.pretrain import RESULT
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.steps import STEPS, Steps
from pipeline.training.worker import Data, GeneralText, train
from tests.training.toys import rows_of, toy_attempt, toy_config, toy_data, toy_texts

COMPUTE = ComputeConfig(compile=False, threads=1, checkpoint_seconds=0)
ROW_TOKENS = 32
NOUNS, VERBS = ("cat", "dog", "fish", "bird", "fox"), ("sees", "hears", "likes", "meets")


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [
        " ".join(
            f"the {random.choice(NOUNS)} {random.choice(VERBS)} the {random.choice(NOUNS)}."
            for _ in range(int(random.integers(2, 8)))
        )
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Texts:
    """The general text's rows and a model that learned them, and the domain's rows."""

    start: Path
    domain: Rows
    domain_held_out: Rows
    general: Rows
    general_held_out: Rows
    tokenizer: Path

    def data(self, share: float) -> Data:
        return Data(
            train=with_general(self.domain, self.general, share),
            held_out=self.domain_held_out,
            held_out_tokens_per_byte=1.02,
            tokenizer_folder=self.tokenizer,
            start=self.start,
            general=GeneralText(self.general_held_out, 1.02),
        )


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    folder = tmp_path_factory.mktemp("domain")
    general, attempt = toy_data(folder, ROW_TOKENS), toy_attempt(folder / "general")
    train(
        toy_config(steps=60, prompts=()),
        COMPUTE.model_copy(update={"checkpoint_seconds": 999}),
        attempt,
        general,
        Group.alone(),
    )
    assert isinstance(general.train, Rows)
    return Texts(
        start=attempt.path("model/.").resolve(),
        domain=rows_of(folder / "own", "train", sentences(40, seed=1), ROW_TOKENS),
        domain_held_out=rows_of(folder / "own", "held-out", sentences(6, seed=2), ROW_TOKENS),
        general=general.train,
        general_held_out=rows_of(folder / "other", "held-out", toy_texts(12, seed=3), ROW_TOKENS),
        tokenizer=general.tokenizer_folder,
    )


def settings(texts: Texts, share: float, **values: Any) -> PretrainConfig:
    given: dict[str, Any] = {
        "batch_tokens": 256,
        "steps": 40,
        "learning_rate": 0.003,
        "precision": "fp32",
        "prompts": (),
        "evaluate_every": 10,
        "general": GeneralConfig(tokens="toy/tokens", share=share),
    }
    config = continuing(PretrainConfig(**(given | values)))
    return config.knowing(read_model(texts.start), len(texts.domain) * ROW_TOKENS, ROW_TOKENS)


def learn(texts: Texts, folder: Path, share: float, id: str = "first", **values: Any) -> Attempt:
    attempt = toy_attempt(folder, id)
    train(settings(texts, share, **values), COMPUTE, attempt, texts.data(share), Group.alone())
    return attempt


def result_of(attempt: Attempt) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    return found


def lines_of(attempt: Attempt) -> list[dict[str, Any]]:
    return list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, texts: Texts) -> Attempt:
    return learn(texts, tmp_path_factory.mktemp("mixed"), share=0.5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, texts: Texts) -> Attempt:
    return learn(texts, tmp_path_factory.mktemp("alone"), share=0.0)


def test_with_the_mixture_the_domain_is_learned_and_the_general_text_is_kept(mixed, alone):
    with_it, without = result_of(mixed)["figures"], result_of(alone)["figures"]
    for figures in (with_it, without):
        assert figures["held_out_bits_per_byte"] < 0.7 * figures["held_out_bits_per_byte_before"]
    assert with_it["general_rise"] < 0.05 < without["general_rise"]
    before, after = with_it["general_bits_per_byte_before"], with_it["general_bits_per_byte"]
    assert with_it["general_rise"] == pytest.approx(after / before - 1)
    assert before == without["general_bits_per_byte_before"]


def test_both_curves_are_told_on_the_way_and_drawn(mixed):
    told = {
        line["step"]: line["values"] for line in lines_of(mixed) if "general_rise" in line.get("values", {})
    }
    assert sorted(told) == [0, 10, 20, 30, 40]
    assert told[0]["general_rise"] == 0
    assert told[40]["general_bits_per_byte"] == result_of(mixed)["figures"]["general_bits_per_byte"]
    assert mixed.path(f"plots/{CURVES}").read_bytes().startswith(b"\x89PNG")
    assert f"plots/{CURVES}" in result_of(mixed)["files"]


def test_a_limit_that_is_broken_is_told_on_the_way_and_at_the_end(mixed, alone):
    def warnings(attempt: Attempt) -> list[str]:
        return [line["message"] for line in lines_of(attempt) if line["kind"] == "warning"]

    assert not any("after the last step" in message for message in warnings(mixed))
    assert "at step 10; what counts is the end" in warnings(alone)[0]
    assert "after the last step" in warnings(alone)[-1]
    assert "+5.0%" in warnings(alone)[-1]


def test_the_record_tells_which_rows_were_general(mixed, texts):
    steps = Steps.model_validate_json(mixed.path(STEPS).read_bytes())
    found = [steps.text_of(row) for step in range(steps.steps) for row in steps.rows(step)]
    assert found.count("general") == len(found) // 2
    rows = with_general(texts.domain, texts.general, 0.5)
    for row in steps.origins(7, rows):
        tokens = rows.batch(np.array([row])).tokens_BT[0]
        assert any(ord("a") <= token <= ord("z") for token in tokens) == (steps.text_of(row) == "domain")


def killed_after(step: int, texts: Texts, folder: Path) -> None:
    original = Loop.train_step

    def train_step(self: Loop) -> Any:
        if self.step == step:
            self.checkpoints.finish()
            os.kill(os.getpid(), 9)
        return original(self)

    Loop.train_step = train_step
    learn(texts, folder, share=0.5)


@pytest.mark.everything
def test_killed_and_run_again_it_ends_with_the_same_bits_and_the_same_curves(tmp_path, texts, mixed):
    process = multiprocessing.get_context("spawn").Process(target=killed_after, args=(23, texts, tmp_path))
    process.start()
    process.join(500)
    assert process.exitcode == -9
    again = learn(texts, tmp_path, share=0.5, id="second")
    assert [line["step"] for line in lines_of(again) if line["kind"] == "resumed"] == [23]
    for name in ("model/model.safetensors", STEPS, f"plots/{CURVES}"):
        assert sha256_of(again.path(name)) == sha256_of(mixed.path(name))
    figures = [result_of(attempt)["figures"] | {"goodput": 0} for attempt in (again, mixed)]
    assert figures[0] == figures[1]


class Record:
    def __init__(self, figures: dict[str, float]) -> None:
        self.figures = figures


class Made:
    """An artifact as far as the check looks at it."""

    base = "pretrain/0123"

    def __init__(self, figures: dict[str, float]) -> None:
        self.record = Record(figures)

    def config(self) -> dict[str, Any]:
        return {"learning_rate": 0.003, "steps": 40}


def test_the_check_names_both_texts_and_what_to_do_and_another_limit_lets_it_pass(mixed, alone):
    config = GeneralConfig(tokens="quickstart/tokens", share=0.0)
    kept: Any = Made(result_of(mixed)["figures"])
    require_general_kept(kept, config)
    require_general_kept(kept, None)
    forgot: Any = Made(result_of(alone)["figures"])
    with pytest.raises(GeneralTextForgottenError, match=r"quickstart/tokens.*the limit is \+5\.00%") as found:
        require_general_kept(forgot, config)
    assert not found.value.passes
    limit = float(str(found.value).split("pretrain.general.limit to ")[1].split()[0])
    require_general_kept(forgot, config.model_copy(update={"limit": limit}))


def test_what_is_measured_again_after_a_restart_counts_once():
    forgetting = Forgetting(None, limit=0.05)
    for step in (0, 10, 20, 20):
        forgetting.add(Point(step, 2.0, 1.0 + step / 1000))
    assert [point.step for point in forgetting.points] == [0, 10, 20]
    again = Forgetting(None, limit=0.01)
    again.restore(json.loads(json.dumps(forgetting.state())))
    assert again.points == forgetting.points
    assert (forgetting.told(last=True), again.is_broken()) == (None, True)


def test_the_share_is_in_the_key_and_the_limit_is_not(texts):
    def identity(**values: Any) -> dict[str, Any]:
        given = GeneralConfig(tokens="a/tokens", **values)
        return continuing(PretrainConfig(general=given)).identity()

    assert identity() == identity(limit=0.5) == {"general": {}}
    assert identity(share=0.1) == {"general": {"share": 0.1}}
    assert continuing(PretrainConfig()).identity() == {}


def test_the_domains_text_is_read_once_whatever_is_mixed_in(texts):
    from pipeline.training.continuing import continued

    class Tokens:
        row_tokens = 32

        @staticmethod
        def counts() -> dict[str, float]:
            return {"train.rows": 8000}

    tokens: Any = Tokens()
    foreign = read_model(texts.start)
    for share in (0.0, 0.5):
        config = PretrainConfig(batch_tokens=256, general=GeneralConfig(tokens="a/tokens", share=share))
        assert continued(config, foreign, tokens).recipe().steps == round(1000 / (1 - share))

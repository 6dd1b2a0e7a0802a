"""The stage through the store and a real Ray Train, on a vocabulary and tokens of the real stages."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.compute import Compute
from pipeline.store import Attempt, JournalReader, Store
from pipeline.tokens.encode import Tokens, TokensConfig, tokenize
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from pipeline.training.pretrain import RESULT, Job, TooFewTokensError, estimated_work, pretrain
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.update import NonFiniteLossError
from pipeline.training_faults import run_training_worker, told_fault
from tests.tokens.conftest import small_corpus
from tests.tokens.texts import documentation
from tests.training.toys import toy_attempt

CONFIG = PretrainConfig(depth=1, width=64, batch_tokens=512, steps=12, prompts=("The ",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, compute: Compute) -> tuple[Store, Tokens, Vocabulary]:
    store = Store(str(tmp_path_factory.mktemp("pretrain") / "store"))
    corpus = small_corpus(store, documentation())
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=1024))
    return store, tokenize(store, corpus, vocabulary, TokensConfig(row_tokens=64), compute), vocabulary


def test_a_base_model_is_made_by_ray_train_and_opens_anywhere_with_equal_logits(made, compute):
    store, tokens, vocabulary = made
    base = pretrain(store, tokens, vocabulary, CONFIG, compute)
    assert base.record.counts["steps"] == 12
    assert 0 < base.record.figures["held_out_bits_per_byte"] < 8
    assert base.record.compute["workers"] == 1

    ours, tokenizer = base.load()
    folder = base.model_folder()
    theirs = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    ids = torch.tensor([vocabulary.tokenizer().encode("def example(argument):")])
    assert ids.tolist() == [AutoTokenizer.from_pretrained(folder).encode("def example(argument):")]
    assert ids.tolist() == [tokenizer.encode("def example(argument):")]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
    journal = f"{base.base}/attempts/{base.record.attempt}/journal"
    kinds = {line["kind"] for line in JournalReader(store.storage, journal).read()}
    assert {"progress", "metrics", "text"} <= kinds
    assert pretrain(store, tokens, vocabulary, CONFIG, compute).record == base.record


def test_a_corpus_smaller_than_a_batch_is_refused_before_any_worker_starts(made, compute):
    store, tokens, vocabulary = made
    config = CONFIG.model_copy(update={"batch_tokens": 1 << 24})
    with pytest.raises(TooFewTokensError, match=r"set pretrain\.batch_tokens to at most"):
        pretrain(store, tokens, vocabulary, config, compute)


def diverge(settings: dict[str, int]) -> None:
    raise NonFiniteLossError(f"step {settings['step']}: the loss is nan")


def test_a_fault_that_a_restart_would_only_meet_again_is_told_once_and_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    attempt = toy_attempt(tmp_path)
    monkeypatch.setattr("ray.get", lambda work: work)
    given = {"work": (diverge, {"step": 7}), "attempt": attempt}
    with pytest.raises(NonFiniteLossError):
        run_training_worker(given)
    run_training_worker(given)  # restarted by Ray Train: leaves at once
    fault = told_fault(attempt)
    assert isinstance(fault, NonFiniteLossError)
    assert str(fault) == "step 7: the loss is nan"
    assert told_fault(toy_attempt(tmp_path, "second")) is None


def test_defining_the_stage_imports_nothing_heavy():
    code = (
        "import pipeline.training.pretrain, sys; print(*{'torch', 'transformers', 'ray'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_what_watches_a_training_imports_no_model():
    code = (
        "import pipeline.training_faults, pipeline.training_group, sys; print('transformers' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_estimate_counts_what_the_training_will_do(made, compute):
    _, tokens, vocabulary = made
    work = estimated_work(CONFIG, tokens, vocabulary, compute)
    assert work["tokens"] == 12 * 512
    assert work["flops"] == pytest.approx(
        12 * 512 * 6 * (64 * 64 * 4 + 3 * 64 * 192 + 128 + 1024 * 64 + 64 * 64), rel=1e-6
    )
    assert json.dumps(work)


@pytest.mark.everything
def test_a_worker_killed_in_the_middle_is_started_again_and_ends_with_the_same_bits(made, compute, tmp_path):
    store, tokens, vocabulary = made
    undisturbed = pretrain(store, tokens, vocabulary, CONFIG, compute)
    attempt = Attempt(store.storage, "pretrain", "killed", "first")
    every_step = compute.config.model_copy(update={"checkpoint_seconds": 0.0})
    job = Job(attempt, tokens, vocabulary, CONFIG, every_step)
    marker = tmp_path / "killed"

    def killed_once(settings: dict[str, Any]) -> None:
        from pipeline.training.loop import Loop
        from pipeline.training.worker import train_worker

        original = Loop.train_step

        def train_step(self: Loop) -> Any:
            if self.step == 6 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self)

        Loop.train_step = train_step
        train_worker(settings)

    compute.train(killed_once, {"job": job}, attempt)
    assert marker.exists()
    result = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    weights = "model/model.safetensors"
    assert result["files"][weights]["sha256"] == undisturbed.record.files[weights].sha256
    lines = list(JournalReader(store.storage, f"{attempt.folder}/journal").read())
    resumed = [line["step"] for line in lines if line["kind"] == "resumed"]
    assert resumed in ([5], [6])  # the last one may not have been written yet
    warnings = [line["message"] for line in lines if line["kind"] == "warning"]
    (told,) = [warning for warning in warnings if warning.startswith("training worker 0 died (")]
    assert told.endswith("; restart 1 of 3")

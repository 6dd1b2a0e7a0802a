"""What a plan says of a training that was never measured, against the training: its memory and its time."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from flows.calibration import Calibration, calibration, machine
from flows.rates import memory_of, seconds_of
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Store, Work
from pipeline.tokens.encode import TokensConfig, tokenize
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from pipeline.training.pretrain import estimated_work, pretrain
from pipeline.training.pretrain_config import PretrainConfig
from tests.tokens.conftest import small_corpus
from tests.tokens.texts import documentation

pytestmark = [pytest.mark.everything, pytest.mark.timeout(3600)]

MEMORY_OFF, TIME_OFF = 0.15, 0.30


@dataclass(frozen=True)
class Configuration:
    """None of these shapes is among those that a calibration tries, and none of these layouts."""

    pretrain: dict[str, Any]
    compute: dict[str, Any]
    pieces: int


CONFIGURATIONS = {
    "deep, adamw, fp32, layers computed again": Configuration(
        {"depth": 8, "width": 256, "optimizer": "adamw", "precision": "fp32", "steps": 40},
        {"training_workers": 1, "micro_batch_rows": 4, "activation_checkpointing": "all"},
        pieces=1024,
    ),
    "wide, two workers with copies": Configuration(
        {"depth": 3, "width": 512, "steps": 40},
        {"training_workers": 2, "micro_batch_rows": 8, "shards": 1},
        pieces=2048,
    ),
    "many pieces, two workers with shards": Configuration(
        {"depth": 5, "width": 384, "steps": 40},
        {"training_workers": 2, "micro_batch_rows": 4, "shards": "all"},
        pieces=4096,
    ),
}


@dataclass(frozen=True)
class Took:
    """A training, before and after."""

    work: Work
    memory_bytes: float
    seconds: float


@pytest.fixture(scope="session")
def rates() -> Calibration:
    """Measured before the tests' Ray is started, which would be other work."""
    found = calibration(machine(), print, again=True)
    if found is None:
        pytest.skip("this machine has too much other work to be measured")
    return found


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, compute: Compute) -> dict[str, Took]:
    """Each configuration planned, then made by a real Ray Train."""
    store = Store(str(tmp_path_factory.mktemp("foretold") / "store"))
    corpus = small_corpus(store, documentation())
    found = {}
    for name, given in CONFIGURATIONS.items():
        vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=given.pieces))
        tokens = tokenize(store, corpus, vocabulary, TokensConfig(row_tokens=256), compute)
        config = PretrainConfig(
            batch_tokens=16 * 256, **({"evaluate_every": 20, "prompts": ()} | given.pretrain)
        )
        beside = Compute(ComputeConfig(compile=False, **given.compute), temp_dir=compute.temp_dir)
        beside._started = True  # on the Ray that the tests share
        work = estimated_work(config, tokens, vocabulary, beside)
        start = time.monotonic()
        made = pretrain(store, tokens, vocabulary, config, beside)
        found[name] = Took(work, made.record.compute["peak_memory_bytes"], time.monotonic() - start)
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_memory_is_foretold_within_15_percent(rates, trainings, name):
    took = trainings[name]
    foretold = memory_of("pretrain", took.work, rates)
    print(f"{name}: {foretold / 1e6:.0f} MB foretold, {took.memory_bytes / 1e6:.0f} taken")
    assert foretold == pytest.approx(took.memory_bytes, rel=MEMORY_OFF)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_time_is_foretold_within_30_percent(rates, trainings, name):
    if rates.busy:
        pytest.skip(f"this machine has other work ({rates.found()}), which no plan knows of")
    took = trainings[name]
    foretold = seconds_of("pretrain", took.work, rates, CONFIGURATIONS[name].compute["training_workers"])
    print(f"{name}: {foretold:.0f} s foretold, {took.seconds:.0f} taken")
    assert foretold == pytest.approx(took.seconds, rel=TIME_OFF)

"""A sweep through the store: by a real Ray, stopped and gone on with, and as MLflow sees it."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt, JournalReader, Store
from pipeline.tokens.encode import TokensConfig, tokenize
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from pipeline.tracking import Flow, Tracker
from pipeline.training.guard import SKIPS_IN_A_ROW, Spike, SpikeGuard
from pipeline.training.pretrain import BatchError
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.sweep import STEP, SweepConfig, SweepPlan, sweep
from pipeline.training.sweep_plots import LAW, RATES
from pipeline.training.sweep_progress import SweepProgress
from tests.corpus.conftest import InThisProcess
from tests.tokens.conftest import small_corpus
from tests.tokens.texts import documentation
from tests.tracking.recorded import Recorded
from tests.training.toys import toy_attempt

PRETRAIN = PretrainConfig(
    depth=1, width=32, heads=1, batch_tokens=256, steps=6, evaluation_rows=4, evaluate_every=6
)
AXES = {"depth": (1, 2), "learning_rate": (0.005, 0.02)}
PLAN = SweepPlan(pretrain=PRETRAIN, sweep=SweepConfig(axes=AXES))
UNTIL_SECONDS = 240


def data(folder: Path):
    """Store, tokens and vocabulary; made the first time, found again after that."""
    store = Store(str(folder / "store"))
    corpus = small_corpus(store, documentation()[:40])
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=512))
    here = InThisProcess(ComputeConfig())
    return store, tokenize(store, corpus, vocabulary, TokensConfig(row_tokens=32), here), vocabulary


def results(made):
    """Every trial, without what the clock told."""
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in made.table()["trials"]
    ]


def test_a_sweep_by_ray_compares_every_trial_in_mlflow(tmp_path, compute):
    store, tokens, vocabulary = data(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with Tracker(store.storage, Flow("toy", {"name": "toy"}), uri) as tracker:
        store.listeners = [tracker]
        made = sweep(store, tokens, vocabulary, PLAN, compute)
    assert made.record.counts["trials"] == 4
    assert {LAW, RATES, "sweep.json"} == set(made.names())
    assert made.table()["findings"]["law"]["floor"] == 0
    assert all(0 < row["bits_per_byte"] < 9 for row in results(made))
    again = sweep(store, tokens, vocabulary, PLAN, compute)
    assert again.record == made.record

    recorded = Recorded(uri)
    (stage,) = [run for run in recorded.runs if run.data.tags.get("moinho.stage") == "sweep"]
    trials = [run for run in recorded.runs if "moinho.trial" in run.data.tags]
    assert len(trials) == 4
    for run in trials:
        assert run.data.tags["mlflow.parentRunId"] == stage.info.run_id
        assert run.info.status == "FINISHED"
        (row,) = [row for row in results(made) if row["name"] == run.data.tags["moinho.trial"]]
        assert run.data.metrics["final.bits_per_byte"] == row["bits_per_byte"]
        assert run.data.params["depth"] == str(row["depth"])
        assert recorded.steps(run, "held_out_bits_per_byte") == [0, 6]
    assert {LAW, RATES, "sweep.json"} <= recorded.files(stage)
    scratch = store.storage.list(f"{made.base}/scratch")
    kept = {name for trial in scratch for name in _left(store, f"{made.base}/scratch/{trial}")}
    assert kept == {"journal"}


def _left(store, base):
    for attempt in store.storage.list(f"{base}/attempts"):
        yield from store.storage.list(f"{base}/attempts/{attempt}")


class Here(InThisProcess):
    """A machine of one CPU, without Ray."""

    def _resources(self):
        return {"CPU": 1.0}

    def map_shards(self, attempt, step, shards, function, **given):
        return super().map_shards(attempt, step, shards, function)


class StopsAfter(Here):
    """Ctrl-C after so many trials."""

    trials = 2

    def map_shards(self, attempt, step, shards, function, **given):
        some = dict(list(shards.items())[: self.trials])
        super().map_shards(attempt, step, some, function)
        raise KeyboardInterrupt


def test_a_sweep_that_was_stopped_trains_only_what_is_missing(tmp_path):
    store, tokens, vocabulary = data(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(store, tokens, vocabulary, PLAN, StopsAfter(ComputeConfig(compile=False)))
    (key,) = store.storage.list("sweep")
    shards = {name: store.storage.read(f"sweep/{key}/shards/{STEP}/{name}") for name in _done(store, key)}
    assert len(shards) == 2
    made = sweep(store, tokens, vocabulary, PLAN, Here(ComputeConfig(compile=False)))
    assert len(_done(store, key)) == 4
    for name, before in shards.items():
        assert store.storage.read(f"sweep/{key}/shards/{STEP}/{name}") == before
    journal = f"{made.base}/attempts/{made.record.attempt}/journal"
    begun = [line for line in JournalReader(store.storage, journal).read() if line["kind"] == "trial"]
    assert len(begun) == 2


def _done(store, key):
    return store.storage.list(f"sweep/{key}/shards/{STEP}")


def _sweep_alone(folder: Path) -> None:
    torch.set_num_threads(1)
    store, tokens, vocabulary = data(folder)
    long = SweepPlan(pretrain=PRETRAIN.model_copy(update={"steps": 60}), sweep=SweepConfig(axes=AXES))
    sweep(store, tokens, vocabulary, long, Here(ComputeConfig(compile=False, checkpoint_seconds=0)))


def _table(folder: Path):
    store = Store(str(folder / "store"))
    (key,) = store.storage.list("sweep")
    record = json.loads(store.storage.read(f"sweep/{key}/artifact.json"))
    table = json.loads(store.storage.read(f"sweep/{key}/{record['files']['sweep.json']['path']}"))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in table["trials"]]


@pytest.mark.everything
def test_a_sweep_that_was_killed_within_a_trial_ends_as_one_that_was_not(tmp_path):
    context = multiprocessing.get_context("spawn")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    first = context.Process(target=_sweep_alone, args=(killed,))
    first.start()
    end = time.monotonic() + UNTIL_SECONDS
    while not list(killed.glob(f"store/sweep/*/shards/{STEP}/*")):
        assert time.monotonic() < end
        time.sleep(0.02)
    while len(list(killed.glob("store/sweep/*/scratch/*/attempts/*/checkpoints/*/manifest.json"))) < 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    for folder in (killed, whole):
        rest = context.Process(target=_sweep_alone, args=(folder,))
        rest.start()
        rest.join(UNTIL_SECONDS)
        assert rest.exitcode == 0
    assert _table(killed) == _table(whole)


def test_how_far_a_sweep_is_counts_by_compute_and_names_what_runs(tmp_path):
    attempt = toy_attempt(tmp_path)
    trial = Attempt(attempt.storage, attempt.stage, f"{attempt.key}/scratch/b", "first")
    watch = SweepProgress(attempt, {"a": 1e12, "b": 2e12, "c": 3e12}, finished={"a": 1.5})
    journals = [f"{trial.folder}/journal"]
    lines = attempt.journal("trial-b")
    lines.write("trial", identity="b", name="depth=2", settings={}, journals=journals)
    trial.journal("pretrain-0").progress(3, 4, "steps", loss=2.25)
    watch.tell()
    lines.write("trial-ended", identity="b", found={"bits_per_byte": 1.25})
    watch.tell()
    told = [line for line in JournalReader(attempt.storage, f"{attempt.folder}/journal").read()]
    first, last = [line for line in told if line["kind"] == "progress"]
    assert (first["done"], first["total"], first["unit"]) == (2.5, 6, "TFLOP")
    assert first["figures"] == {"trials": "1 of 3", "best": 1.5}
    assert (last["done"], last["figures"]) == (3, {"trials": "2 of 3", "best": 1.25})
    tables = [line["rows"] for line in told if line["kind"] == "table"]
    assert tables == [[["depth=2", "3/4 steps, loss 2.25"]], []]


def test_batches_that_hold_no_whole_rows_are_refused_before_anything_starts(tmp_path):
    store, tokens, vocabulary = data(tmp_path)
    plan = SweepPlan(pretrain=PRETRAIN, sweep=SweepConfig(axes={"batch_tokens": (256, 300)}))
    with pytest.raises(BatchError, match=r"batch_tokens=300 has batches of 300 tokens.*; try 288"):
        sweep(store, tokens, vocabulary, plan, Here(ComputeConfig()))


def test_a_loss_that_becomes_infinite_is_a_result_and_ends_no_sweep(tmp_path):
    store, tokens, vocabulary = data(tmp_path)
    plan = SweepPlan(
        pretrain=PRETRAIN.model_copy(update={"optimizer": "adamw", "gradient_clip_norm": 1e9}),
        sweep=SweepConfig(axes={"learning_rate": (0.01, 1e30)}),
    )
    made = sweep(store, tokens, vocabulary, plan, Here(ComputeConfig(compile=False)))
    assert made.record.counts["diverged"] == 1
    good, bad = made.table()["trials"]
    assert good["bits_per_byte"] is not None
    assert bad["bits_per_byte"] is None
    assert "learning_rate" in bad["fault"]
    assert made.table()["findings"]["best"]["learning_rate"] == 0.01


def test_a_loss_that_jumps_again_and_again_is_a_result_and_ends_no_sweep(tmp_path, monkeypatch):
    store, tokens, vocabulary = data(tmp_path)
    spike = SpikeGuard.spike

    def always(self: SpikeGuard, step: int, loss: float, norm: float) -> Spike | None:
        spike(self, step, loss, norm)
        self.in_a_row = SKIPS_IN_A_ROW
        return Spike("loss", loss, loss / 2, loss / 2)

    monkeypatch.setattr(SpikeGuard, "spike", always)
    plan = SweepPlan(pretrain=PRETRAIN, sweep=SweepConfig(axes={"learning_rate": (0.01, 0.02)}))
    made = sweep(store, tokens, vocabulary, plan, Here(ComputeConfig(compile=False)))
    assert made.record.counts["diverged"] == 2
    assert "updates in a row were skipped" in made.table()["trials"][0]["fault"]

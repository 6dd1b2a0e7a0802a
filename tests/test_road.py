"""The real road, small: a website rendered and served on loopback, crawled, and so on to a chat model."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calibration import keep_calibration
from tests.road import CONFIG, MOINHO, Run, moinho

pytestmark = pytest.mark.slow


@pytest.fixture
def road(filled_road: Path) -> Path:
    """A store that one run from nothing has filled."""
    return filled_road / "store"


@contextlib.contextmanager
def served_ui(store: Path) -> Iterator[str]:
    """`moinho ui` on a free port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(MOINHO), "ui", "--store", str(store), "--port", str(port)], start_new_session=True
    )
    try:
        end = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < end, "moinho ui does not answer"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
    assert socket.socket().connect_ex(("127.0.0.1", port)) != 0, "the server outlived `moinho ui`"


def record(store: Path, name: str) -> dict[str, Any]:
    shown = moinho("show", f"road/{name}", "--json", store=store)
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_pages_in_are_documents_kept_and_drops_by_reason(road: Path) -> None:
    pages, documents = record(road, "pages")["counts"], record(road, "documents")["counts"]
    dropped = sum(count for name, count in documents.items() if name.startswith("dropped."))
    assert pages["pages"] == documents["pages"] == documents["kept"] + dropped > 0


def cpu_seconds_of_children() -> float:
    """Of those that have ended: unlike time, other work on the machine does not lengthen it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_second_run_reuses_every_stage(road: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in road.glob("*/*/artifact.json")}
    used = cpu_seconds_of_children()
    run = Run.start(road)
    assert run.wait(60) == 0, run.text()
    assert cpu_seconds_of_children() - used < 12  # 6 on an idle machine
    assert run.text().count("in the store") == len(before)
    assert {path: path.stat().st_mtime_ns for path in road.glob("*/*/artifact.json")} == before


@pytest.mark.everything
def test_where_the_time_of_a_reused_run_goes_is_measured(road: Path) -> None:
    given = ["reuse", "--pairs", "1", "--store", str(road), "--config", str(CONFIG)]
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *given], capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr
    figures = json.loads(told.stdout.splitlines()[-1])
    assert min(figures["parts"].values()) >= 0
    assert sum(figures["parts"].values()) == pytest.approx(figures["seconds"][0], rel=0.5)  # two runs


def test_a_changed_setting_remakes_its_stage_and_what_hangs_on_it(
    road: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path))
    keep_calibration()
    planned = moinho("plan", str(CONFIG), "--set", "pretrain.steps=61", "--json", store=road)
    stages = json.loads(planned.stdout)["stages"]
    assert [stage["stage"] for stage in stages if not stage["in_store"]] == [
        "pretrain",
        "finetune",
        "evaluate",
    ]


@pytest.mark.everything
def test_a_plan_foretells_the_time_of_the_road_and_the_memory_of_its_trainings(
    road: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is anything, by a calibration of this machine: all stages together take the time that
    was foretold within 50 % (most of it are starts of processes), the workers' peaks are within 20 %."""
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path))
    told = moinho("plan", str(CONFIG), "--json", store=tmp_path / "store")
    assert told.returncode == 0, told.stderr
    assert "measuring" in told.stderr
    planned = json.loads(told.stdout)
    records = [json.loads(path.read_bytes()) for path in road.glob("*/*/artifact.json")]
    foretold = {(stage["stage"], stage["key"]): stage for stage in planned["stages"]}
    if planned["rates"] is None:
        pytest.skip(f"this machine has other work, and was not measured in time: {told.stderr[-200:]}")
    made = {(record["stage"], record["key"]): record for record in records}
    peaks = {}
    for which, stage in foretold.items():
        if "peak_memory_bytes" in made[which]["compute"]:
            peaks[which[0]] = stage["memory_bytes"] / made[which]["compute"]["peak_memory_bytes"]
    assert peaks == pytest.approx({"pretrain": 1.0, "finetune": 1.0}, rel=0.2)
    seconds = sum(made[which]["seconds"] for which in foretold)
    assert planned["total"]["seconds"] == pytest.approx(seconds, rel=0.5)


def test_models_open_in_transformers_and_from_the_registry_with_the_same_logits(road: Path) -> None:
    import mlflow
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from flows.references import find_model_folder
    from pipeline.models.model import load_model
    from pipeline.store import Store

    mlflow.set_tracking_uri(f"sqlite:///{road}/mlflow.db")
    for role in ("base", "chat"):
        folder = find_model_folder(Store(str(road)), f"road/{role}")
        ours, our_tokenizer = load_model(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        their_tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        registered = mlflow.transformers.load_model(f"models:/road-{role}/1", return_type="components")
        text = "Returns the number of bytes.\n\nRaises an error if the socket is closed."
        ids = torch.tensor([our_tokenizer(text)["input_ids"]])
        assert their_tokenizer(text)["input_ids"] == ids[0].tolist()
        assert registered["tokenizer"](text)["input_ids"] == ids[0].tolist()
        with torch.no_grad():
            expected = ours(ids).logits
            assert torch.equal(theirs(ids).logits, expected)
            assert torch.equal(registered["model"](ids).logits, expected)


def test_mlflow_has_a_run_for_the_flow_and_one_for_each_stage(road: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{road}/mlflow.db")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    stages = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(parents) >= 1
    assert len(stages) == len(list(road.glob("*/*/artifact.json")))
    by_stage = {run.data.tags["moinho.stage"]: run for run in stages}
    documents = record(road, "documents")["counts"]
    metrics = by_stage["clean"].data.metrics
    assert {name: metrics[name] for name in documents} == documents
    losses = client.get_metric_history(by_stage["pretrain"].info.run_id, "loss")
    assert losses[-1].value < losses[0].value
    assert len({point.step for point in losses}) == len(losses)


def test_a_model_completes_tokenizes_and_chats(road: Path) -> None:
    completed = moinho("complete", "road/base", "The function returns a", "--top", "5", store=road)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("%") >= 5
    pieces = moinho("tokenize", "road/vocabulary", "A moagem do trigo", store=road)
    assert pieces.returncode == 0, pieces.stderr
    answered = moinho("chat", "road/chat", store=road, stdin="What is asyncio?\n")
    assert answered.returncode == 0, answered.stderr


def test_what_is_in_the_store_is_listed_by_name_and_shown_with_its_lineage(road: Path) -> None:
    listed = json.loads(moinho("ls", "--json", store=road).stdout)
    assert {"road/pages", "road/base", "road/chat"} <= {name for row in listed for name in row["names"]}
    tree = moinho("show", "road/chat", store=road).stdout
    assert all(stage in tree for stage in ("pretrain", "tokens", "vocabulary", "clean", "crawl", "site"))
    key = record(road, "base")["key"]
    assert json.loads(moinho("show", key[:8], "--json", store=road).stdout)["key"] == key


@pytest.mark.everything
def test_two_runs_at_once_share_what_both_need_and_each_makes_the_rest(tmp_path: Path) -> None:
    store = tmp_path / "store"
    one, other = Run.start(store), Run.start(store, "name=other", "pretrain.steps=30")
    assert (one.wait(600), other.wait(600)) == (0, 0), one.text() + other.text()
    made = Counter(path.parent.parent.name for path in store.glob("*/*/artifact.json"))
    twice = {stage for stage, times in made.items() if times == 2}
    assert twice == {"pretrain", "finetune", "evaluate"}
    assert set(made.values()) == {1, 2}
    attempts = Counter(path.parent.parent.parent.name for path in store.glob("*/*/attempts/*"))
    assert attempts == made, "what both need was begun twice"
    verified = moinho("verify", store=store)
    assert verified.returncode == 0, verified.stdout


def test_ctrl_c_stops_within_ten_seconds_leaves_nobody_behind_and_says_how_to_go_on(
    road: Path, tmp_path: Path
) -> None:
    run = Run.start(road, "pretrain.seed=7", "pretrain.steps=100000", "compute.compile=false")
    run.wait_until("/100,000 steps")
    start = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait(30) == 130
    assert time.monotonic() - start < 10
    run.wait_for_family(2)
    assert "to go on: moinho run" in run.text().replace("\n", " ")


@pytest.mark.everything
def test_the_mlflow_page_shows_runs_curves_drops_and_models(road: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from tests.browser import browser, search_charts, wait_for_text

    client = MlflowClient(f"sqlite:///{road}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "moinho"]
    runs = client.search_runs([experiment.experiment_id])
    stages = {run.data.tags.get("moinho.stage"): run.info.run_id for run in runs}
    with served_ui(road) as address, browser() as page:
        home = f"{address}/#/experiments/{experiment.experiment_id}"
        page.get(f"{home}/runs")
        wait_for_text(page, "road")
        page.get(f"{home}/runs/{stages['pretrain']}/model-metrics")
        # charts come in the order of their names, and only those in sight are drawn
        search_charts(page, "^loss|^held_out_bits|^learning_rate")
        wait_for_text(page, "loss", "held_out_bits_per_byte", "learning_rate")
        page.get(f"{home}/runs/{stages['clean']}/artifacts/dropped.png")
        wait_for_text(page, "dropped.png")
        page.get(f"{address}/#/models")
        wait_for_text(page, "road-base", "road-chat")
        assert page.save_screenshot(str(tmp_path / "models.png"))


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        (["crawl.max_pagez=3"], 2, "did you mean crawl.max_pages?"),
        (["pretrain.depth=-1"], 2, "pretrain.depth"),
        (["pretrain.batch_tokens=100"], 2, "not a multiple"),
        (["crawl.seeds=['ftp://example.org/']"], 2, "crawl.seeds"),
        (["vocabulary.pieces=30000", "name=other"], 2, "vocabulary"),
        pytest.param(
            ["pretrain.batch_tokens=10240000", "name=other"],
            1,
            "pretrain.batch_tokens",
            marks=pytest.mark.everything,
        ),
        pytest.param(
            ["clean.languages=['pt']", "name=other"], 1, "no document", marks=pytest.mark.everything
        ),
        (["crawl.seeds=['http://127.0.0.1:9/']"], 2, "set crawl.private_hosts to"),
        (
            ["crawl.seeds=['http://127.0.0.1:9/']", "crawl.private_hosts=['127.0.0.1']", "name=other"],
            1,
            "refused",
        ),
    ],
)
def test_bad_input_is_told_in_one_message(road: Path, settings: list[str], code: int, told: str) -> None:
    run = Run.start(road, *settings)
    assert run.wait(120) == code, run.text()
    assert told in run.text()
    assert "Traceback" not in run.text()


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = moinho("run", str(CONFIG), "--store", str(tmp_path / "file"))
    assert told.returncode == 2
    assert "cannot be written" in told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr

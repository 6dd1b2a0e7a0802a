"""Flows as they arrive in a real MLflow: a database in the store, and a server that comes late."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tracking import Flow, PortInUseError, Tracker, serve_ui
from tests.tracking import driver
from tests.tracking.recorded import has_metrics, recorded, wait_for

DRIVER = [sys.executable, driver.__file__]


def test_a_flow_has_its_stages_below_it_and_one_that_reuses_them_points_there(store: Store) -> None:
    assert driver.run(store.storage.root, None) is None

    found = recorded(store)
    (flow,) = found.flows()
    stages = found.stages(flow)
    assert set(stages) == {"clean", "pretrain"}
    assert {run.info.status for run in found.runs} == {"FINISHED"}
    assert found.steps(stages["pretrain"], "loss") == list(range(driver.STEPS))
    assert stages["pretrain"].data.metrics["final.loss"] == 0.1
    assert stages["pretrain"].data.params == {"rate": "0.5", "compute.threads": "2"}
    assert found.files(stages["pretrain"]) == {"artifact.json", "samples.md"}
    counts = stages["clean"].data.metrics
    dropped = sum(count for name, count in counts.items() if name.startswith("dropped."))
    assert counts["pages"] == counts["kept"] + dropped
    assert "dropped.png" in found.files(stages["clean"])
    assert flow.data.metrics["pretrain.bits_per_byte"] == 2.5
    assert len(flow.data.params["clean.rules"]) == 500

    assert driver.run(store.storage.root, None) is None

    again = recorded(store).flows()[1]
    assert recorded(store).stages(again) == {}
    assert f"runs/{stages['pretrain'].info.run_id}" in again.data.tags["mlflow.note.content"]
    assert again.data.metrics["clean.dropped.duplicate-near"] == 9


def test_figures_of_a_stage_that_several_models_have_stand_beside_each_other(store: Store) -> None:
    with Tracker(store.storage, Flow("toy", {})) as tracker:
        store.listeners = [tracker]
        for model, bits in (("chat", 1.5), ("ppo", 1.6)):

            def build(attempt: Attempt, bits: float = bits) -> Made:
                return Made({}, {}, {"bits": bits})

            kind = type("Page", (Artifact,), {"stage": "assess", "role": f"assessment-{model}"})
            store.make(kind, Config(), {}, build, content={"model": model})
        tracker.ended()
    assert tracker.close(60) is None
    (flow,) = recorded(store).flows()
    assert tracker.page == f"/#/experiments/{recorded(store).experiment}/runs/{flow.info.run_id}"
    figures = {name: value for name, value in flow.data.metrics.items() if name.startswith("assess")}
    assert figures == {"assess.chat.bits": 1.5, "assess.ppo.bits": 1.6}
    assert "**assess.ppo**: finished" in flow.data.tags["mlflow.note.content"]


def test_the_run_of_a_killed_driver_is_closed_and_its_curve_goes_on_in_the_next(store: Store) -> None:
    root = store.storage.root
    killed = subprocess.Popen([*DRIVER, root, "-", "1100"], start_new_session=True)
    try:
        wait_for(lambda: bool(list(Path(root).glob("pretrain/*/attempts/*/waiting"))))
        wait_for(lambda: has_metrics(store))
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    assert driver.run(root, None) is None

    found = recorded(store)
    dead, alive = found.flows()
    assert dead.info.status == "KILLED"
    assert "without a word" in dead.data.tags["moinho.error"]
    assert found.stages(dead)["clean"].info.status == "FINISHED"
    assert found.stages(dead)["pretrain"].info.status == "KILLED"
    assert found.steps(found.stages(dead)["pretrain"], "loss") == list(range(1100))
    assert alive.info.status == "FINISHED"
    assert set(found.stages(alive)) == {"pretrain"}
    assert found.steps(found.stages(alive)["pretrain"], "loss") == list(range(driver.STEPS))
    before = len(found.runs)
    assert driver.run(root, None) is None
    assert len(recorded(store).runs) == before + 1


def test_after_a_cancel_the_flow_and_its_stage_agree(store: Store) -> None:
    class Long(Artifact):
        stage, role = "pretrain", "long"

    def cancelled(attempt: Attempt) -> Made:
        raise KeyboardInterrupt

    tracker = Tracker(store.storage, Flow("little", {}))
    store.listeners.append(tracker)
    with pytest.raises(KeyboardInterrupt), tracker:
        store.make(Long, Config(), {}, cancelled)

    found = recorded(store)
    assert [run.info.status for run in found.runs] == ["KILLED", "KILLED"]


def test_a_model_is_registered_and_loads_again_with_the_same_logits(store: Store) -> None:
    import torch

    class Base(Artifact):
        stage, role = "pretrain", "base"

    tracker = Tracker(store.storage, Flow("little", {}))
    store.listeners.append(tracker)
    base = store.make(Base, Config(), {}, _tiny_model)
    assert tracker.close(120) is None

    import mlflow

    mlflow.set_tracking_uri(tracker.destination.uri)
    mlflow.set_registry_uri(tracker.destination.uri)
    import mlflow.transformers
    from transformers import AutoModelForCausalLM

    loaded = mlflow.transformers.load_model("models:/little-base/1", return_type="components")
    own = AutoModelForCausalLM.from_pretrained(base.folder("model"))
    ids = torch.tensor([[2, 3, 2]])
    with torch.no_grad():
        assert torch.equal(loaded["model"](ids).logits, own(ids).logits)
    assert loaded["tokenizer"]("a b")["input_ids"] == [2, 3]
    assert tracker.destination.artifacts is not None
    endings = {path.suffix for path in tracker.destination.artifacts.rglob("models/**/*") if path.is_file()}
    assert not endings & {".bin", ".pt", ".pkl", ".pt2"}
    info = mlflow.models.get_model_info("models:/little-base/1")
    assert info.signature is not None
    assert info.metadata is not None
    assert info.metadata["artifact"] == base.base
    assert json.loads(info.metadata["lineage"]) == {}


def _tiny_model(attempt: Attempt) -> Made:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<unk>": 0, "</s>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    folder = attempt.path("model/.")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return Made(attempt.publish_folder("model"))


def test_a_port_in_use_is_told_before_anything_starts(store: Store) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)):
            serve_ui(store.storage, port=port)


def test_a_store_that_cannot_be_written_does_not_stop_the_flow_from_telling_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tracker = Tracker(Store(str(tmp_path / "file")).storage, Flow("little", {}))
    assert tracker.close(5) is not None

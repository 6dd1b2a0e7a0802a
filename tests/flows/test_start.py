"""A foreign model in a configuration: what goes with it, how it is shown, and what a plan knows of it."""

import tomllib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from flows.configuration import ConfigurationError, load
from flows.inspection import as_toml
from flows.planning import PlannedStage, plan
from flows.web_to_model import SweptStartError, WebToModel, web_to_sweep
from pipeline.compute import Compute
from pipeline.models.foreign_model import ForeignModelError
from pipeline.models.start import StartConfig, take_model
from pipeline.store import Store
from pipeline.training.continuing import SHAPE, RowsTooLongError
from tests.calibration import keep_calibration
from tests.road import CONFIG, moinho
from tests.tokens.test_take_over import byte_level
from tests.training.foreign import foreign_folder

COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("foreign")
    return foreign_folder(home / "gpt2-tiny", "gpt2", byte_level(home / "tokenizer"))


@pytest.fixture
def config(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    keep_calibration()
    path = tmp_path / "started.toml"
    text = CONFIG.read_text().replace("depth = 2\n", "").replace("row_tokens = 128", "row_tokens = 64")
    path.write_text(f'{text}\n[start]\nmodel = "{folder}"\n')
    return path


def planned(config: Path, store: Path, *settings: str) -> tuple[dict[str, PlannedStage], list[str]]:
    loaded = load(WebToModel, config, [f'compute.store="{store}"', *settings])
    found = plan(loaded, tell=pytest.fail)
    return {stage.stage: stage for stage in found.stages}, found.assumptions


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["pretrain.depth=3", "pretrain.width=64"], r"pretrain\.depth, pretrain\.width is set, .*its shape"),
        (["vocabulary.tokenizer='.'"], r"vocabulary\.tokenizer is set, .*brings its own"),
        (["pretrain.batch_tokens=100"], r"batch_tokens is 100, not a multiple of tokens\.row_tokens"),
        (["start.revision=main"], "on the hub alone"),
        (["start.modle=x"], r"did you mean .*model"),
    ],
)
def test_what_does_not_go_with_a_foreign_model_is_refused(config: Path, settings: list[str], told: str):
    with pytest.raises(ConfigurationError, match=told):
        load(WebToModel, config, settings)


def test_there_must_be_something_to_extend():
    with pytest.raises(ConfigurationError, match="there is no tokenizer to extend"):
        load(WebToModel, CONFIG, ["vocabulary.extend=5"])


def test_the_configuration_is_shown_with_its_shape_and_loads_again(config: Path, tmp_path: Path):
    loaded = load(WebToModel, config)
    text = as_toml(loaded.with_start())
    assert "# depth is 2, and cannot be set" in text
    assert 'optimizer = "adamw"' in text
    assert "learning_rate" in tomllib.loads(text)["pretrain"]
    again = tmp_path / "again.toml"
    again.write_text(text)
    shown = load(WebToModel, again)
    assert shown.start == loaded.start
    assert as_toml(shown.with_start()) == text


def test_a_plan_counts_the_foreign_models_weights_and_reads_the_text_once(config: Path, tmp_path: Path):
    stages, _ = planned(config, tmp_path / "store", "pretrain.batch_tokens=2048")
    pretrain = stages["pretrain"].work
    assert next(iter(stages)) == "start"
    assert pretrain["steps"] == 60
    assert pretrain["parameters"] == stages["start"].work["parameters"] + 32 * 8
    assert 0 < pretrain["flops"] < 6 * 2 * pretrain["parameters"] * pretrain["tokens"]
    assert all(stage.seconds and stage.memory_bytes for stage in stages.values())
    text = config.read_text().replace("steps = 60\n", "").replace("batch_tokens = 2048\n", "")
    config.write_text(text)
    stages, _ = planned(config, tmp_path / "store")
    rows = stages["tokens"].work["train.rows"]
    batch = stages["pretrain"].work["tokens"] / stages["pretrain"].work["steps"]
    assert rows * 64 - batch < stages["pretrain"].work["tokens"] <= rows * 64


def test_rows_beyond_its_context_are_refused_before_anything_is_made(config: Path, tmp_path: Path):
    with pytest.raises(RowsTooLongError, match="at most 64"):
        planned(config, tmp_path / "store", "tokens.row_tokens=128")


def test_the_shape_of_an_extended_file_gives_way_to_a_foreign_model(folder: Path, tmp_path: Path):
    path = tmp_path / "started.toml"
    path.write_text(f'extends = "{CONFIG}"\n[start]\nmodel = "{folder}"\n')
    loaded = load(WebToModel, path)
    assert load(WebToModel, CONFIG, [f"start.model={folder}"]) == loaded
    assert loaded.pretrain.model_fields_set.isdisjoint(SHAPE)
    with pytest.raises(ConfigurationError, match="its shape already"):
        load(WebToModel, path, ["pretrain.depth=3"])


def test_a_sweep_of_a_foreign_model_is_refused(config: Path, tmp_path: Path):
    loaded = load(WebToModel, config)
    with pytest.raises(SweptStartError, match="begin from nothing"):
        web_to_sweep(loaded, Store(str(tmp_path / "store")), Compute(loaded.compute))


def test_a_model_on_the_hub_has_one_key_before_and_after_it_is_fetched(
    config: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def fetched(name: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    hub = ("start.model=someone/model", f"start.revision={COMMIT}")
    before, told = planned(config, tmp_path / "store", *hub)
    assert before["pretrain"].flops is None
    assert any("is not on this machine yet" in line for line in told)
    assert asked == []
    take_model(Store(str(tmp_path / "store")), StartConfig(model="someone/model", revision=COMMIT))
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("someone/model", COMMIT)
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in patterns)
    after, _ = planned(config, tmp_path / "store", *hub)
    assert after["start"].in_store
    assert after["pretrain"].key == before["pretrain"].key
    assert after["pretrain"].flops


def test_what_the_hub_does_not_give_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*args: Any, **given: Any) -> str:
        raise OSError("no such repository")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    with pytest.raises(ForeignModelError, match=r"someone/model at the commit .* could not be fetched"):
        take_model(Store(str(tmp_path)), StartConfig(model="someone/model", revision=COMMIT))


def test_the_commands_tell_a_misspelt_folder_and_show_the_stage(config: Path, folder: Path, tmp_path: Path):
    wrong = moinho("plan", str(config), "--set", f"start.model={folder}s", store=tmp_path / "store")
    assert wrong.returncode == 2
    assert f"did you mean {folder}?" in " ".join(wrong.stderr.split())
    take_model(Store(str(tmp_path / "store")), StartConfig(model=str(folder)))
    key = next((tmp_path / "store" / "start").iterdir()).name
    shown = moinho("show", f"start/{key}", store=tmp_path / "store")
    assert f"model={folder}" in " ".join(shown.stdout.split())
    assert "context tokens 64" in shown.stdout

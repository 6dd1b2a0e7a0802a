"""`moinho history` from a website to the page, with every family, on Ray; and what it refuses."""

import json
from pathlib import Path

import pytest

from flows.configuration import load
from flows.history import HistorySettingsError, pretraining_of
from flows.web_to_model import WebToModel
from pipeline.evaluation.history.stage import HistoryConfig
from pipeline.models.families import FAMILIES, training_flops_per_token
from tests.road import CONFIG, moinho

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def config():
    return load(WebToModel, ROOT / "configs/history.toml")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_trained_with_the_same_compute(config, family):
    history = HistoryConfig(flops=1e13)
    trained = pretraining_of(config, history, family, 2048)
    recipe = trained.recipe()
    per_step = recipe.batch_tokens * training_flops_per_token(trained.shape(), 2048, config.tokens.row_tokens)
    assert recipe.steps * per_step == pytest.approx(1e13, rel=per_step / 1e13)
    assert trained.family == family


def test_a_setting_that_a_family_has_not_is_named(config):
    history = HistoryConfig(settings={"bert": {"truncation": 8}})
    with pytest.raises(HistorySettingsError, match=r"history\.settings\.bert: truncation is set"):
        pretraining_of(config, history, "bert", 2048)


@pytest.mark.slow
@pytest.mark.everything
def test_every_family_learns_from_a_website_and_is_told_of(filled_road: Path, tmp_path):
    """The corpus, vocabulary and tokens of the road's store are reused."""
    own = tmp_path / "history.toml"
    own.write_text(
        f'extends = "{CONFIG}"\nname = "history"\n'
        "[pretrain]\noptimizer = 'adamw'\nlearning_rate = 3e-3\n"
        "[history]\nflops = 1e11\ntargets = 32\n"
    )
    store = filled_road / "store"
    ended = moinho("history", str(own), store=store)
    assert ended.returncode == 0, ended.stderr
    shown = moinho("show", "history/history", "--json", store=store)
    record = json.loads(shown.stdout)
    folder = store / "history" / record["key"]
    members = json.loads((folder / record["files"]["history.json"]["path"]).read_text())["members"]
    assert [each["name"] for each in members] == ["ngram", *HistoryConfig().families]
    for each in members[1:]:
        assert each["curve"][-1][1] < each["curve"][0][1], each["name"]
    page = (folder / record["files"]["history.html"]["path"]).read_text()
    assert page.count("<img") == 12
    for name in HistoryConfig().families:
        assert moinho("show", f"history/{name}", store=store).returncode == 0

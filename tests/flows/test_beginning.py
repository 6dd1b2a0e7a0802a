"""A model of the store to go on from, and a general text beside: found by name, or refused."""

from pathlib import Path
from typing import Any

import pytest

from flows.beginning import (
    UnknownGeneralTextError,
    UnknownStartError,
    begin,
    general_text,
    require_kept,
    vocabulary_for,
)
from flows.configuration import ConfigurationError, load
from flows.inspection import as_toml, lineage
from flows.planning import plan
from flows.web_to_model import WebToModel
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.models.start import StartConfig
from pipeline.store import Artifact, Attempt, Made, PlanningStore, Store
from pipeline.tokens.encode import GeneralTokens, Tokens, TokensConfig
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig
from pipeline.training.general import GeneralConfig, GeneralTextForgottenError
from pipeline.training.pretrain import BaseModel
from tests.calibration import keep_calibration
from tests.road import CONFIG
from tests.training.foreign import foreign_folder
from tests.training.toys import byte_tokenizer

CONFIGS = Path(__file__).parents[2] / "configs"
DOMAINS = ("medical", "legal", "financial", "shakespeare", "git")
COMPUTE = Compute(ComputeConfig())
KNOWN = {
    "train.rows": 90,
    "held-out.rows": 9,
    "train.tokens": 5000,
    "train.bytes": 16_000,
    "held-out.bytes": 1600,
}


class Settings(Config):
    row_tokens: int = 64


def put(
    store: Store, kind: type[Artifact], inputs: dict[str, Any], files: Path, to: str, **figures: float
) -> Any:
    """An artifact of this kind with the files of a folder; the first is called x/<role>."""

    def build(attempt: Attempt) -> Made:
        for path in files.iterdir():
            attempt.path(f"{to}/{path.name}").write_bytes(path.read_bytes())
        return Made(attempt.publish_folder(to), KNOWN | {"pieces": 259, "parameters": 9}, figures)

    made = store.make(kind, Settings(), inputs, build)
    if f"x/{kind.role}" not in store.named():
        store.name(f"x/{kind.role}", made)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One that has what a run called x made: corpus, vocabulary, tokens, base."""
    folder = tmp_path_factory.mktemp("beginning")
    tokenizer = byte_tokenizer(folder / "tokenizer")
    model = foreign_folder(folder / "model", "llama", tokenizer)
    store = Store(str(folder / "store"))
    corpus = put(store, Corpus, {}, tokenizer, "train")
    vocabulary = put(store, Vocabulary, {"corpus": corpus}, tokenizer, "tokenizer", bytes_per_token=1.0)
    tokens = put(store, Tokens, {"corpus": corpus, "vocabulary": vocabulary}, tokenizer, "train")
    put(store, BaseModel, {"tokens": tokens, "vocabulary": vocabulary}, model, "model")
    return store


def target(store: Store, name: str) -> tuple[str, str]:
    return store.named()[f"x/{name}"]


def test_a_model_of_the_store_is_gone_on_from_by_name_or_key_with_its_own_vocabulary(store):
    key = target(store, "base")[1]
    for reference in ("x/base", f"pretrain/{key}", key[:8]):
        start = begin(store, StartConfig(model=reference))
        assert start is not None
        assert (start.artifact.stage, start.artifact.key) == ("pretrain", key)
        assert start.foreign is not None
        assert start.foreign.kind == "llama"
        own = vocabulary_for(store, Corpus(store.storage, "-"), VocabularyConfig(), None, start)
        assert own.key == target(store, "vocabulary")[1]
    assert begin(store, None) is None


def test_its_lineage_goes_into_what_is_made_from_it(store, tmp_path):
    start = begin(store, StartConfig(model="x/base"))
    again = put(store, GeneralTokens, {"start": start.artifact}, tmp_path, "train")
    above = lineage(store.storage, again.stage, again.key).inputs
    assert [(each.stage, each.role) for each in above] == [("pretrain", "start")]
    assert {each.stage for each in above[0].inputs} == {"tokens", "vocabulary"}


def test_a_model_whose_vocabulary_is_another_brings_its_tokenizer(store, tmp_path):
    other = foreign_folder(tmp_path / "other", "llama", byte_tokenizer(tmp_path / "tokenizer"))
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    inputs = {"vocabulary": Vocabulary(store.storage, target(store, "vocabulary")[1])}
    model = put(store, BaseModel, inputs, other, "model")
    assert begin(store, StartConfig(model=f"pretrain/{model.key}")).vocabulary() is None


def test_what_is_no_model_and_no_text_is_refused_with_what_there_is(store):
    with pytest.raises(UnknownStartError, match=r"x/bse.*there is x/base.*start\.revision"):
        begin(store, StartConfig(model="x/bse"))
    with pytest.raises(UnknownStartError, match="x/tokens is what the stage tokens made, not a model"):
        begin(store, StartConfig(model="x/tokens"))
    vocabulary = Vocabulary(store.storage, target(store, "vocabulary")[1])
    for name, told in (("x/tokns", "there is x/tokens"), ("x/base", "made, not a text")):
        with pytest.raises(UnknownGeneralTextError, match=told):
            general_text(store, GeneralConfig(tokens=name), vocabulary, TokensConfig(), COMPUTE)


def test_general_tokens_are_those_of_the_corpus_by_this_vocabulary_in_rows_of_this_length(store):
    plans = PlanningStore(store.storage.root)
    vocabulary = Vocabulary(store.storage, target(store, "vocabulary")[1])
    keys = set()
    for name in ("x/tokens", "x/corpus"):
        found = general_text(
            plans, GeneralConfig(tokens=name), vocabulary, TokensConfig(row_tokens=32), COMPUTE
        )
        assert found is not None
        assert found.row_tokens == 32
        keys.add(found.key)
    assert len(keys) == 1
    assert general_text(plans, None, vocabulary, TokensConfig(), COMPUTE) is None


def test_a_plan_tells_the_mixture_and_where_training_goes_on_from(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    keep_calibration()
    path = tmp_path / "domain.toml"
    path.write_text(
        f'extends = "{CONFIG}"\n[start]\nmodel = "x/base"\n[tokens]\nrow_tokens = 64\n'
        '[pretrain.general]\ntokens = "x/tokens"\nshare = 0.4\n'
    )
    config = load(WebToModel, path, [f'compute.store="{store.storage.root}"'])
    found = plan(config, tell=pytest.fail)
    names = [stage.stage for stage in found.stages]
    assert names.count("tokens") == 2
    assert "start" not in names
    assert found.stages[names.index("vocabulary")].in_store
    told = "\n".join(found.assumptions)
    assert "40% of the rows are of x/tokens" in told
    assert "rise by more than 5.0%" in told
    assert "start: x/base is in the store" in told
    pretrain = next(stage for stage in found.stages if stage.stage == "pretrain")
    assert pretrain.work["parameters"]
    assert "learning_rate" in as_toml(config.with_start())
    assert "share = 0.4" in as_toml(config.with_start())


def test_a_general_text_goes_with_a_model_that_knew_it(tmp_path):
    with pytest.raises(ConfigurationError, match="training begins from nothing, which knows no text"):
        load(WebToModel, CONFIG, ["pretrain.general.tokens=x/tokens"])
    with pytest.raises(ConfigurationError, match="share"):
        load(
            WebToModel,
            CONFIG,
            ["start.model=x/base", "pretrain.general.tokens=x/tokens", "pretrain.general.share=1"],
        )


def test_a_mixture_is_of_texts_that_are_named_and_is_shown_as_it_was_written(tmp_path):
    path = tmp_path / "mixed.toml"
    path.write_text(
        f'extends = "{CONFIG}"\n[[tokens.texts]]\nname = "pt"\nlanguages = ["pt"]\n'
        "[pretrain.mixture]\nweights = { pt = 7, rest = 3 }\n"
        "stages = [{ begin = 0.9, weights = { pt = 1 } }]\n"
    )
    config = load(WebToModel, path)
    shown = tmp_path / "shown.toml"
    shown.write_text(as_toml(config))
    again = load(WebToModel, shown)
    assert (again.tokens, again.pretrain.mixture) == (config.tokens, config.pretrain.mixture)
    with pytest.raises(ConfigurationError, match="there is pt, rest"):
        load(WebToModel, path, ["pretrain.mixture.weights={fr=1}"])
    with pytest.raises(ConfigurationError, match="all documents are one text"):
        load(WebToModel, CONFIG, ["pretrain.mixture.weights={fr=1}"])
    with pytest.raises(ConfigurationError, match="one or the other"):
        load(WebToModel, path, ["start.model=x/base", "pretrain.general.tokens=x/tokens"])


def test_a_run_ends_where_the_limit_is_broken_and_a_plan_goes_on(store, tmp_path):
    figures = {
        "general_rise": 0.08,
        "general_bits_per_byte": 1.08,
        "general_bits_per_byte_before": 1.0,
        "held_out_bits_per_byte": 1.5,
        "held_out_bits_per_byte_before": 2.0,
    }

    class Told(BaseModel):
        def config(self) -> dict[str, Any]:
            return {"learning_rate": 0.001, "steps": 7}

    own = Store(str(tmp_path / "store"))
    (tmp_path / "model").mkdir()
    base = put(own, Told, {}, tmp_path / "model", "model", **figures)
    config = GeneralConfig(tokens="x/tokens")
    with pytest.raises(GeneralTextForgottenError, match=r"pretrain\.general\.limit to 0\.09 to go on"):
        require_kept(own, base, config)
    require_kept(own, base, config.model_copy(update={"limit": 0.09}))
    require_kept(PlanningStore(str(tmp_path / "store")), base, config)


@pytest.mark.parametrize("name", DOMAINS)
def test_the_domains_configurations_keep_a_share_of_what_was_known(name: str):
    config = load(WebToModel, CONFIGS / f"{name}.toml")
    assert config.name == name
    assert config.start is not None
    assert config.start.in_store()
    general = config.pretrain.general
    assert general is not None
    assert general.tokens == f"{config.start.model.split('/')[0]}/tokens"
    assert (general.share, general.limit) == (0.25, 0.05)
    assert config.crawl.delay_seconds >= 1
    assert config.clean.languages == (("pt",) if name == "legal" else ("en",))

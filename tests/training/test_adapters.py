"""Adapters: merged they are the same model, they fit their own base alone, and a kill costs no bit."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, set_seed

from pipeline.compute import Compute
from pipeline.models.adapters import AdapterBaseError, AdapterVocabularyError, load_adapters
from pipeline.store import Store
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from pipeline.training.adapter import refuse_4_bits_where_they_lack
from pipeline.training.finetune import ChatModel, FinetuneConfig
from pipeline.training.tuning_config import AdapterConfig, QuantizationError, check_adapter
from tests.evaluation.stand_ins import SmallCorpus, publish_model, random_model
from tests.training.tuned import CONFIG, Inputs, inputs_in, run_until, tuned

APART = CONFIG.model_copy(
    update={"steps": 8, "learning_rate": 2e-2, "adapter": AdapterConfig(keep="apart"), "shown_questions": 0}
)
IDS = torch.arange(4, 60)[None]


def usual_model() -> PreTrainedModel:
    """Weights as small as a training begins with, so that rounding does not grow from layer to layer; one
    matrix for embeddings and head, as models are pretrained here."""
    set_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, small_vocabulary: Vocabulary, compute: Compute) -> Inputs:
    return inputs_in(tmp_path_factory.mktemp("adapters"), small_vocabulary, compute, usual_model())


@pytest.fixture(scope="module")
def apart(given: Inputs) -> ChatModel:
    return tuned(given, APART)


def scores(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits  # type: ignore[no-any-return]


def test_an_adapter_merged_at_the_end_merged_on_opening_and_not_merged_gives_the_same_scores(given, apart):
    merged = tuned(given, APART.model_copy(update={"adapter": AdapterConfig()}))
    beside, _ = load_adapters(given.base, {"colours": apart})
    at_the_end, opened = scores(merged.load()[0]), scores(apart.load()[0])
    base = scores(given.base.load()[0])
    assert (opened - base).abs().max() > 0.1
    assert torch.allclose(at_the_end, scores(beside), atol=1e-5)
    assert torch.allclose(opened, scores(beside), atol=1e-5)


def test_an_adapter_kept_apart_is_a_small_part_of_its_base_and_names_it(given, apart):
    files = apart.record.files
    assert set(files) == {
        f"adapter/{name}" for name in ("adapter_config.json", "adapter_model.safetensors", "base.json")
    }
    assert str(given.store.storage.root) not in apart.path("adapter/adapter_config.json").read_text()
    assert json.loads(apart.path("adapter/base.json").read_bytes())["artifact"] == given.base.base


def test_what_reads_folders_finds_an_adapter_as_a_plain_model(apart, monkeypatch, tmp_path):
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path))
    folder = apart.model_folder()
    assert (folder / "tokenizer_config.json").is_file()
    theirs = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert torch.equal(scores(theirs), scores(apart.load()[0]))
    assert apart.model_folder() == folder


def test_several_adapters_share_one_base(given, apart):
    other = tuned(given, APART.model_copy(update={"seed": 1}))
    both, _ = load_adapters(given.base, {"one": apart, "other": other})
    alone = {"one": scores(apart.load()[0]), "other": scores(other.load()[0])}
    for name in ("other", "one", "other"):
        both.set_adapter(name)
        assert torch.allclose(scores(both), alone[name], atol=1e-5)
    assert not torch.allclose(alone["one"], alone["other"], atol=1e-2)


def test_an_adapter_of_another_base_is_refused_even_if_it_has_the_same_shape(
    apart, small_vocabulary, tmp_path
):
    model = random_model(1024)
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    other = publish_model(Store(str(tmp_path / "store")), model, small_vocabulary)
    with pytest.raises(AdapterBaseError, match=f"learned on {apart.adapter_base().base}, and the weights"):
        load_adapters(other, {"colours": apart})


def test_an_adapter_of_another_vocabulary_is_refused(
    apart: ChatModel, small_corpus: SmallCorpus, tmp_path: Path
):
    store = Store(str(tmp_path / "store"))
    vocabulary = train_vocabulary(store, small_corpus, VocabularyConfig(pieces=900))
    other = publish_model(store, random_model(900), vocabulary)
    with pytest.raises(AdapterVocabularyError, match="a vocabulary of 1024 pieces"):
        load_adapters(other, {"colours": apart})


def test_an_adapter_from_elsewhere_has_to_fit_in_its_sizes(apart, small_vocabulary, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (elsewhere / name).write_bytes(apart.path(f"adapter/{name}").read_bytes())
    other = publish_model(Store(str(tmp_path / "store")), random_model(1024, width=48), small_vocabulary)
    with pytest.raises(AdapterBaseError, match=r"with a side of \d+"):
        load_adapters(other, {"colours": elsewhere})


@pytest.mark.parametrize(
    "adapter",
    [pytest.param(None, id="all"), pytest.param(AdapterConfig(keep="apart", dropout=0.1), id="adapter")],
)
@pytest.mark.everything
def test_killed_and_run_again_it_ends_with_the_same_bits(given, adapter):
    """Dropout draws at every step: the generators have to stand where they stood."""
    config = APART.model_copy(update={"adapter": adapter, "steps": 12})
    key = "all" if adapter is None else "adapter"
    undisturbed = tuned(given, config)
    run_until(given, key, "1", 7, config)
    attempt = run_until(given, key, "2", None, config)
    for name, file in undisturbed.record.files.items():
        assert attempt.path(name).read_bytes() == undisturbed.path(name).read_bytes(), f"{name} {file.sha256}"


def test_4_bits_are_refused_on_a_cpu_before_anything_starts():
    config = FinetuneConfig(adapter=AdapterConfig(quantized=True))
    with pytest.raises(QuantizationError, match=r"leave finetune\.adapter\.quantized out"):
        check_adapter(config, on_gpus=False)
    check_adapter(config, on_gpus=True)
    with pytest.raises(QuantizationError, match="trains on cpu"):
        refuse_4_bits_where_they_lack("finetune", torch.device("cpu"))


def test_no_adapter_is_in_no_key_and_one_is_there_by_what_differs_from_its_defaults():
    assert "adapter" not in FinetuneConfig().identity()
    assert FinetuneConfig(adapter=AdapterConfig()).identity()["adapter"] == {}
    assert FinetuneConfig(adapter=AdapterConfig(rank=4)).identity()["adapter"] == {"rank": 4}

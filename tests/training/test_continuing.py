"""Going on from a foreign model: what it is before the first step, and what is refused."""

import copy
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.compute_config import ComputeConfig
from pipeline.models.families import parameters, shape_of
from pipeline.models.foreign_model import ForeignModel, ForeignModelError, as_settings, read_model
from pipeline.models.start import StartConfig, take_model
from pipeline.store import Store, sha256_of
from pipeline.tokens.rows import NO_LABEL
from pipeline.tokens.take_over import opened, take_over
from pipeline.training.beginning import NotTrainableError, extend_vocabulary, first_model, require_borders
from pipeline.training.continuing import ContinuedConfig, RowsTooLongError, continuing, require_context
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.worker import Data, train
from tests.tokens.test_take_over import byte_level
from tests.tokens.texts import documentation
from tests.training.foreign import FAMILIES, REFUSED, foreign_folder, random_model
from tests.training.toys import VOCABULARY_SIZE, byte_tokenizer, toy_attempt, toy_data

COMPUTE = ComputeConfig(compile=False, threads=1)
ROW_TOKENS = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"), ROW_TOKENS)


def settings(foreign: ForeignModel, data: Data, **values: Any) -> ContinuedConfig:
    given: dict[str, Any] = {"batch_tokens": 256, "steps": 6, "precision": "fp32", "prompts": ()}
    config = continuing(PretrainConfig(**(given | values)))
    return config.knowing(foreign, len(data.train) * ROW_TOKENS, ROW_TOKENS)


def own_loss(folder: Path, data: Data) -> float:
    """Of the foreign model itself on the held-out rows, a document at a time: no mask, no packing."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    batch, total, labels = data.held_out.batch(np.arange(len(data.held_out))), 0.0, 0
    for tokens, documents, wanted in zip(batch.tokens_BT, batch.documents_BT, batch.labels_BT, strict=True):
        for document in np.unique(documents[documents >= 0]):
            here = documents == document
            with torch.no_grad():
                scores = model(torch.as_tensor(tokens[here].astype(np.int64))[None]).logits[0].log_softmax(-1)
            for place, label in enumerate(wanted[here]):
                if label != NO_LABEL:
                    total, labels = total - float(scores[place, int(label)]), labels + 1
    return total / labels


def losses(folder: Path) -> dict[int, float]:
    """Held-out loss by step, as the journal has it."""
    found = {}
    for path in folder.rglob("*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            if "held_out_loss" in line.get("values", {}):
                found[line["step"]] = line["values"]["held_out_loss"]
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_training_goes_on_from_where_the_foreign_model_stands(tmp_path, data, kind):
    folder = foreign_folder(tmp_path / "foreign", kind, data.tokenizer_folder)
    foreign = read_model(folder)
    given = Data(
        data.train, data.held_out, data.held_out_tokens_per_byte, data.tokenizer_folder, start=folder
    )
    attempt = toy_attempt(tmp_path)
    config = settings(foreign, data)
    train(config, COMPUTE, attempt, given, Group.alone())
    told = losses(tmp_path / "store")
    assert told[0] == pytest.approx(own_loss(folder, data), abs=1e-4)
    assert told[6] < told[0] - 0.1
    made = attempt.path("model/.").resolve()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert model.config.model_type == kind
    assert model.num_parameters() == foreign.parameters == foreign.parameters_with(VOCABULARY_SIZE)
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(folder).get_vocab()


@pytest.mark.parametrize("kind", FAMILIES)
def test_documents_of_a_row_do_not_see_each_other_in_the_families_that_are_taken(kind):
    require_borders(random_model(kind, 300))


@pytest.mark.parametrize("kind", REFUSED)
def test_a_family_without_such_borders_is_refused(kind):
    with pytest.raises(NotTrainableError, match="take a model of another family"):
        require_borders(random_model(kind, 300))


def test_a_model_that_sees_across_borders_is_found_out(monkeypatch):
    model = random_model("llama", 300)
    forward = model.forward

    def seeing_all(attention_mask: torch.Tensor | None = None, **given: Any) -> Any:
        mask = None if attention_mask is None else torch.ones_like(attention_mask).tril()
        return forward(attention_mask=mask, **given)

    monkeypatch.setattr(model, "forward", seeing_all)
    with pytest.raises(NotTrainableError, match="sees the first"):
        require_borders(model)
    model = random_model("gpt2", 300)  # rotary positions are relative: where a document begins is the same
    unplaced = model.forward
    monkeypatch.setattr(model, "forward", lambda position_ids=None, **given: unplaced(**given))
    with pytest.raises(NotTrainableError, match="does not follow the positions"):
        require_borders(model)


@pytest.mark.parametrize("kind", FAMILIES)
def test_shape_and_size_are_read_without_loading_the_weights(tmp_path, data, kind):
    folder = foreign_folder(tmp_path / "foreign", kind, data.tokenizer_folder, pieces=320)
    found, model = read_model(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert found.parameters == model.num_parameters()
    assert (found.pieces, found.context_tokens) == (320, 64)
    assert parameters(found.shape, 320) == pytest.approx(found.parameters, rel=0.02)
    assert shape_of(as_settings(found.shape)) == found.shape
    model.resize_token_embeddings(400, mean_resizing=False)
    assert found.parameters_with(400) == model.num_parameters()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A foreign tokenizer, and the same with 64 pieces more and our markers."""
    old = byte_level(tmp_path_factory.mktemp("old"))
    new = tmp_path_factory.mktemp("new")
    take_over(old, new, documentation()[20:40], 64)
    return old, new


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_new_pieces_begin_as_the_mean_of_what_they_were_written_with(tokenizers, kind):
    old, new = opened(tokenizers[0]), AutoTokenizer.from_pretrained(tokenizers[1])
    model = random_model(kind, len(old))
    before = copy.deepcopy(model)
    extend_vocabulary(model, old, new, seed=1)
    again = copy.deepcopy(before)
    extend_vocabulary(again, old, new, seed=1)
    pairs = [
        (each.get_input_embeddings().weight, each.get_output_embeddings().weight)
        for each in (before, model, again)
    ]
    for theirs, ours, same in zip(*pairs, strict=True):
        assert len(ours) == len(new) > len(old) + 64
        assert torch.equal(ours[: len(old)], theirs)
        assert torch.equal(ours, same)
        for index in range(len(old), len(old) + 64):
            text = new.decode([index])
            parts = old.encode(text, add_special_tokens=False)
            if "\ufffd" in text:  # ends within a character, and is no text by itself
                continue
            assert len(parts) > 1
            torch.testing.assert_close(ours[index], theirs[parts].mean(0))
        for index in range(len(old) + 64, len(new)):
            assert (ours[index] - theirs.mean(0)).abs().max() < 0.05 * theirs.std()


def test_markers_take_hardly_any_probability_from_what_was_there(tokenizers):
    """By Jensen's inequality: at most that of as many average pieces."""
    old, new = opened(tokenizers[0]), AutoTokenizer.from_pretrained(tokenizers[1])
    markers = len(new) - len(old) - 64
    model = random_model("llama", len(old) + 64)
    with torch.no_grad():
        before = model(torch.arange(40)[None]).logits.log_softmax(-1)
        padded = copy.deepcopy(old)
        padded.add_tokens([f"piece {n}" for n in range(64)])
        extend_vocabulary(model, padded, new, seed=1)
        after = model(torch.arange(40)[None]).logits.log_softmax(-1)[..., : len(old) + 64]
    lost = before - after
    assert lost.min() >= 0
    assert lost.max() <= math.log(1 + markers / len(padded)) * 1.05


def test_rows_that_no_token_has_stay_as_they_are(tokenizers):
    old, new = opened(tokenizers[0]), AutoTokenizer.from_pretrained(tokenizers[1])
    model = random_model("llama", 1024)
    before = model.get_input_embeddings().weight.detach().clone()
    extend_vocabulary(model, old, new, seed=1)
    after = model.get_input_embeddings().weight
    assert len(after) == 1024
    assert torch.equal(after[len(new) :], before[len(new) :])
    assert not torch.equal(after[len(old) : len(new)], before[len(old) : len(new)])


def test_the_same_model_elsewhere_is_the_same_and_another_is_another(tmp_path, data):
    one = foreign_folder(tmp_path / "one", "llama", data.tokenizer_folder)
    other = shutil.copytree(one, tmp_path / "other")
    third = foreign_folder(tmp_path / "third", "llama", data.tokenizer_folder, initializer_range=0.1)
    store = Store(str(tmp_path / "store"))
    made = [take_model(store, StartConfig(model=str(folder))) for folder in (one, other, third)]
    keys = [each.artifact.key for each in made]
    assert keys[0] == keys[1] != keys[2]
    shutil.rmtree(one)
    model, tokenizer = made[0].artifact.load()
    assert (
        model.num_parameters() == made[0].foreign.parameters == made[0].artifact.record.counts["parameters"]
    )
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(other).get_vocab()


def test_what_can_be_no_model_is_refused_with_what_to_do(tmp_path, data):
    whole = foreign_folder(tmp_path / "whole", "llama", data.tokenizer_folder)
    store = Store(str(tmp_path / "store"))

    def fault(change: Any) -> str:
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        change(folder)
        with pytest.raises(ForeignModelError) as found:
            take_model(store, StartConfig(model=str(folder)))
        return str(found.value)

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    def cut(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])

    def configured(**values: Any) -> Any:
        def change(folder: Path) -> None:
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | values))

        return change

    def indexed(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))

    def outside(folder: Path) -> None:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.bin"}}))

    assert "pickle" in fault(pickled)
    assert "safetensors" in fault(pickled)
    assert "no whole safetensors file" in fault(cut)
    assert "has no config.json" in fault(lambda folder: (folder / "config.json").unlink())
    assert "has no weights" in fault(lambda folder: (folder / "model.safetensors").unlink())
    assert "lacks model-00001-of-00002.safetensors" in fault(indexed)
    assert "'../x.bin'" in fault(outside)
    assert "next token" in fault(configured(architectures=["LlamaForSequenceClassification"]))
    assert "family" in fault(configured(model_type="own", auto_map={"AutoConfig": "own.Config"}))
    assert "its own code is not run" in fault(configured(model_type="own", auto_map={"AutoConfig": "x.C"}))
    assert "quantized" in fault(configured(quantization_config={"quant_method": "gptq"}))
    small = foreign_folder(tmp_path / "small", "llama", data.tokenizer_folder, pieces=200)
    with pytest.raises(ForeignModelError, match=r"259 ids.*200 alone"):
        take_model(store, StartConfig(model=str(small)))


def test_weights_that_are_not_all_there_are_refused_before_the_first_step(tmp_path, data):
    from safetensors.torch import load_file, save_file

    folder = foreign_folder(tmp_path / "foreign", "llama", data.tokenizer_folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ForeignModelError, match=r"layers\.1\.mlp\.up_proj"):
        first_model(PretrainConfig(), tokenizer, ROW_TOKENS, folder)


def test_a_misspelt_folder_is_told_with_the_nearest(tmp_path):
    (tmp_path / "gpt2-portuguese").mkdir()
    with pytest.raises(ValueError, match=r"did you mean .*gpt2-portuguese"):
        StartConfig(model=str(tmp_path / "gpt2-portugese"))
    with pytest.raises(ValueError, match="its commit of 40"):
        StartConfig(model="someone/model", revision="main")
    with pytest.raises(ValueError, match="on the hub alone"):
        StartConfig(model=str(tmp_path), revision="0123456789" * 4)
    assert StartConfig(model="someone/model", revision="0123456789" * 4).on_hub()


def test_rows_longer_than_the_context_are_refused(tmp_path, data):
    whole = read_model(foreign_folder(tmp_path / "llama", "llama", data.tokenizer_folder))
    near = foreign_folder(tmp_path / "mistral", "mistral", data.tokenizer_folder, sliding_window=16)
    require_context(whole, 64)
    with pytest.raises(RowsTooLongError, match="at most 64"):
        require_context(whole, 65)
    with pytest.raises(RowsTooLongError, match=r"looks 16 tokens back .*at most 16"):
        require_context(read_model(near), 32)


def test_the_text_is_read_once_at_a_low_rate_and_the_key_knows_nothing_of_that(tmp_path, data):
    foreign = read_model(foreign_folder(tmp_path / "foreign", "llama", data.tokenizer_folder))
    config = continuing(PretrainConfig(seed=3))
    known = config.knowing(foreign, 1_000_000, 64)
    recipe = known.recipe()
    assert recipe.batch_tokens == 4096
    assert recipe.steps == 244
    assert recipe.learning_rate < PretrainConfig(width=32, heads=1, optimizer="adamw").recipe().learning_rate
    assert (recipe.width, known.resolved()["depth"]) == (32, 2)
    assert known.shape() == foreign.shape
    assert known.identity() == config.identity() == {"seed": 3}
    assert known.knowing(foreign, 20_000, 64).recipe().batch_tokens == 384
    assert config.resolved()["steps"] is None
    assert "depth" not in config.resolved()
    assert continuing(PretrainConfig(optimizer="muon")).identity() == {"optimizer": "muon"}


def test_dropout_of_the_foreign_model_is_left_out(tmp_path, data):
    folder = foreign_folder(tmp_path / "foreign", "gpt2", data.tokenizer_folder)
    assert AutoConfig.from_pretrained(folder).attn_pdrop > 0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = first_model(PretrainConfig(), tokenizer, ROW_TOKENS, folder)
    assert model.training
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


def _rows(tokenizer: Any, texts: list[str], tokens: int = 64) -> torch.Tensor:
    ids = [id for text in texts for id in tokenizer.encode(text, add_special_tokens=False)]
    whole = len(ids) // tokens
    return torch.tensor(ids[: whole * tokens]).view(whole, tokens)


def _loss(model: Any, rows_BT: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    logits_BTV = model(rows_BT).logits[:, :-1]
    return cross_entropy(logits_BTV.flatten(0, 1), rows_BT[:, 1:].flatten(), reduction=reduction)


def _train(model: Any, rows_BT: torch.Tensor, steps: int, learning_rate: float) -> None:
    random = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        _loss(model, rows_BT[torch.randint(len(rows_BT), (8,), generator=random)]).backward()
        optimizer.step()
        optimizer.zero_grad()


def _bits_per_byte(model: Any, tokenizer: Any, rows_BT: torch.Tensor) -> float:
    with torch.no_grad():
        nats = float(_loss(model, rows_BT, "sum"))
    return nats / math.log(2) / sum(len(tokenizer.decode(row).encode()) for row in rows_BT)


@pytest.mark.everything
def test_pieces_that_begin_as_their_parts_are_learned_sooner_than_random_ones(tmp_path):
    """After 40 steps 2.128 bits per byte in place of 2.175; before the first step there is no gain."""
    torch.set_num_threads(1)  # for matrices this small
    texts = documentation()
    old, new = opened(byte_level(tmp_path / "old")), tmp_path / "new"
    take_over(tmp_path / "old", new, texts[10:], 200)
    extended = AutoTokenizer.from_pretrained(new)
    base = random_model("llama", len(old), initializer_range=0.02, hidden_size=64, intermediate_size=192)
    _train(base, _rows(old, texts[10:]), 200, 3e-3)
    by_parts, at_random = copy.deepcopy(base), copy.deepcopy(base)
    extend_vocabulary(by_parts, old, extended, seed=1)
    torch.manual_seed(0)
    at_random.resize_token_embeddings(len(extended), mean_resizing=False)
    held_out, train_rows = _rows(extended, texts[:10])[:60], _rows(extended, texts[10:])
    bits = []
    for model in (by_parts, at_random):
        _train(model, train_rows, 40, 1e-3)
        bits.append(_bits_per_byte(model, extended, held_out))
    assert bits[0] < bits[1] - 0.01


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path, data, kind):
    """With pieces that the foreign model lacks, which begin at random in part."""
    small = byte_tokenizer_with(tmp_path / "small", [])
    folder = foreign_folder(tmp_path / "foreign", kind, small)
    larger = replace(
        data, tokenizer_folder=byte_tokenizer_with(tmp_path / "large", ["<|user|>"]), start=folder
    )
    config = settings(read_model(folder), data)
    every_step = COMPUTE.model_copy(update={"checkpoint_seconds": 0.0})
    whole = toy_attempt(tmp_path / "whole")
    train(config, every_step, whole, larger, Group.alone())
    original = Loop.train_step

    def stopped(self: Loop) -> Any:
        if self.step == 3:
            raise InterruptedError
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "train_step", stopped)
        with pytest.raises(InterruptedError):
            train(config, every_step, toy_attempt(tmp_path / "stopped"), larger, Group.alone())
    second = toy_attempt(tmp_path / "stopped", "second")
    train(config, every_step, second, larger, Group.alone())
    hashes = [sha256_of(each.path("model/model.safetensors")) for each in (whole, second)]
    assert hashes[0] == hashes[1]
    assert (
        AutoConfig.from_pretrained(second.path("model/config.json").parent).vocab_size == VOCABULARY_SIZE + 1
    )


def byte_tokenizer_with(folder: Path, markers: list[str]) -> Path:
    """The toys' tokenizer of bytes, with more markers behind it."""
    tokenizer = AutoTokenizer.from_pretrained(byte_tokenizer(folder))
    tokenizer.add_special_tokens({"extra_special_tokens": markers})
    tokenizer.save_pretrained(folder)
    return folder

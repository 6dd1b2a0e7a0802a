"""The whole road from a foreign model: taken over, given more pieces, trained on, judged, made to answer."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.road import Run, moinho
from tests.tokens.test_take_over import byte_level
from tests.training.foreign import foreign_folder

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1800)]
LARGER: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_positions": 256, "initializer_range": 0.02},
    "llama": {"hidden_size": 64, "max_position_embeddings": 256, "initializer_range": 0.02},
}
EXTEND = {"gpt2": 200, "llama": 0}


@pytest.mark.parametrize("kind", LARGER)
def test_a_foreign_model_goes_the_whole_road(kind: str, tmp_path: Path) -> None:
    folder = foreign_folder(tmp_path / "foreign", kind, byte_level(tmp_path / "tokenizer"), **LARGER[kind])
    config, store = tmp_path / "road.toml", tmp_path / "store"
    text = (Path(__file__).parent / "road.toml").read_text()
    text = text.replace("depth = 2\n", "").replace("pieces = 1024", f"extend = {EXTEND[kind]}")
    config.write_text(f'{text}\n[start]\nmodel = "{folder}"\n')

    run = Run.start(store, config=config)
    assert run.wait(1500) == 0, run.text()
    run.wait_for_family()

    def record(name: str) -> dict[str, Any]:
        shown = moinho("show", f"road/{name}", "--json", store=store)
        assert shown.returncode == 0, shown.stderr
        found: dict[str, Any] = json.loads(shown.stdout)
        return found

    foreign = AutoModelForCausalLM.from_pretrained(folder)
    start, base, vocabulary = record("start"), record("base"), record("vocabulary")
    assert start["counts"]["parameters"] == foreign.num_parameters()
    assert base["inputs"]["start"]["key"] == start["key"]
    assert vocabulary["counts"]["pieces"] > start["counts"]["pieces"] + EXTEND[kind] // 2
    assert base["figures"]["held_out_loss"] < math.log(vocabulary["counts"]["pieces"])

    (made,) = store.glob(f"pretrain/{base['key']}/attempts/*/model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert model.config.model_type == kind
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    theirs = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert theirs.items() <= tokenizer.get_vocab().items()
    with torch.no_grad():
        assert model(torch.tensor([tokenizer.encode("def example():")])).logits.isfinite().all()

    answered = moinho("chat", "road/chat", "What is argparse for?", store=store)
    assert answered.returncode == 0, answered.stderr
    assert record("scores")["figures"]["base_bits_per_byte"] > 0
    again = moinho("plan", str(config), store=store)
    assert "nothing to be made" in again.stdout

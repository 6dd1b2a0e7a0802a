"""What stands in a gap, of tiny models of each kind with chance weights."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)

from pipeline.evaluation.insight.fill import NoGapError, fill
from tests.evaluation.stand_ins import SmallModel

WORDS = ["the", "old", "mill", "grinds", "wheat", "and", "corn", "river", "water", "wheel", "stone", "flour"]
SPECIAL = ["<pad>", "</s>", "<s>", "<unk>", "<mask>", "<extra_id_0>", "<extra_id_1>"]
SIZES = {"vocab_size": len(SPECIAL) + len(WORDS), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def saved(model: PreTrainedModel, folder: Path, sentinels: bool = False) -> Path:
    known = SPECIAL if sentinels else [*SPECIAL[:5], "<unused0>", "<unused1>"]
    vocabulary = {word: number for number, word in enumerate([*known, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    given = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    extra = {"additional_special_tokens": SPECIAL[5:]} if sentinels else {"mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **given, **extra).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def test_a_masked_model_chooses_one_token(tmp_path: Path) -> None:
    set_seed(0)
    config = BertConfig(
        **SIZES, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = BertForMaskedLM(config).eval()
    found = fill(saved(model, tmp_path), "the old ___ grinds wheat", top=4)
    ids = [[7, 8, 4, 10, 11]]
    with torch.inference_mode():
        shares_V = model(input_ids=torch.tensor(ids)).logits[0, 2].softmax(-1)
    best = shares_V.topk(4)
    names = [*SPECIAL[:5], "<unused0>", "<unused1>", *WORDS]
    assert list(found) == [names[token] for token in best.indices]
    assert list(found.values()) == pytest.approx(best.values.tolist(), abs=1e-5)


def test_a_denoising_model_writes_what_is_missing(tmp_path: Path) -> None:
    set_seed(0)
    t5 = T5Config(**SIZES, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    found = fill(saved(T5ForConditionalGeneration(t5).eval(), tmp_path / "t5", True), "the ___ wheel", top=3)
    assert 1 <= len(found) <= 3
    assert all(0 < share <= 1 for share in found.values())
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert len(fill(tmp_path / "t5", "the ___ wheel", top=1)) == 1
    bart = BartConfig(
        **SIZES,
        **{
            f"{part}_{name}": size
            for part in ("encoder", "decoder")
            for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
        },
        d_model=16,
        max_position_embeddings=64,
        decoder_start_token_id=1,
        forced_eos_token_id=1,
    )
    found = fill(saved(BartForConditionalGeneration(bart).eval(), tmp_path / "bart"), "the ___ wheel", top=3)
    assert 1 <= len(found) <= 3
    assert not any("<" in filling for filling in found)


def test_no_gap_two_gaps_and_a_model_that_fills_none_are_told(
    tmp_path: Path, small_model: SmallModel
) -> None:
    for text in ("the old mill", "the ___ mill ___"):
        with pytest.raises(NoGapError, match="write ___ once"):
            fill(tmp_path, text)
    with pytest.raises(NoGapError, match=r"LlamaForCausalLM fills no gaps: .*moinho complete"):
        fill(small_model.model_folder(), "the ___ mill")

"""Parameter counts against published models and against transformers itself."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from pipeline.models.architectures import llama_config, new_model
from pipeline.models.families import (
    FAMILIES,
    Shape,
    TokenIds,
    as_shape,
    mlp_width_for,
    mlp_width_of,
    parameters,
    training_flops_per_token,
)
from pipeline.models.sizes import size_of
from tests.evaluation.stand_ins import SmallModel

LLAMA_7B = Shape(32, 4096, 32, 32, 11008, tied_embeddings=False)
LLAMA_65B = Shape(80, 8192, 64, 64, 22016, tied_embeddings=False)
GPT_3 = Shape(
    96, 12288, 96, 96, 4 * 12288, tied_embeddings=True, gated=False, biases=True, learned_positions=2048
)
LLAMA_3_8B = Shape(32, 4096, 32, 8, 14336, tied_embeddings=False)
TINY_LLAMA = Shape(22, 2048, 32, 4, 5632, tied_embeddings=False)
SMOL_135M = Shape(30, 576, 9, 3, 1536, tied_embeddings=True)


def test_a_model_in_the_store_tells_its_size_by_its_files(small_model):
    size = size_of(small_model)
    assert size is not None
    shape, pieces = size
    count = sum(weight.numel() for weight in small_model.load()[0].parameters())
    assert parameters(shape, pieces) == count
    assert size_of(SmallModel(small_model.storage, "not made yet")) is None


@pytest.mark.parametrize(
    ("shape", "vocabulary_size", "published"),
    [
        (LLAMA_7B, 32_000, 6_738_415_616),
        (LLAMA_3_8B, 128_256, 8_030_261_248),
        (TINY_LLAMA, 32_000, 1_100_048_384),
        (SMOL_135M, 49_152, 134_515_008),
    ],
)
def test_parameters_are_those_of_published_models(shape, vocabulary_size, published):
    assert parameters(shape, vocabulary_size) == published


@pytest.mark.parametrize(
    ("shape", "vocabulary_size", "published"),
    [(GPT_3, 50_257, 175.0e9), (LLAMA_7B, 32_000, 6.7e9), (LLAMA_65B, 32_000, 65.2e9)],
)
def test_parameters_are_those_of_the_papers_within_one_percent(shape, vocabulary_size, published):
    """GPT-3: Brown et al., 2020, table 2.1, with GPT-2's vocabulary. LLaMA: Touvron et al., 2023, table 2;
    the widths of its feed-forward layers are those of the published weights."""
    assert parameters(shape, vocabulary_size) == pytest.approx(published, rel=0.01)


def test_parameters_of_a_gpt_2_are_those_that_transformers_makes():
    small = Shape(
        12, 768, 12, 12, 3072, tied_embeddings=True, gated=False, biases=True, learned_positions=1024
    )
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config())
    assert parameters(small, 50_257) == sum(weight.numel() for weight in model.parameters()) == 124_439_808


@pytest.mark.parametrize("shape", [TINY_LLAMA, SMOL_135M, Shape(3, 96, 4, 2, 256, tied_embeddings=True)])
def test_parameters_are_those_that_transformers_makes(shape):
    with torch.device("meta"):
        model = LlamaForCausalLM(llama_config(shape, TokenIds(500, 1, 2, 3), 64))
    assert parameters(shape, 500) == sum(weight.numel() for weight in model.parameters())


def test_training_flops_are_six_per_weight_and_token_with_attention_on_top():
    without = training_flops_per_token(LLAMA_7B, 32_000, 0)
    assert without == pytest.approx(6 * 6.74e9, rel=0.03)
    assert training_flops_per_token(LLAMA_7B, 32_000, 2048) - without == 6 * 32 * 4096 * 2048


def test_the_gated_layer_is_as_large_as_an_ungated_one_of_four_times_the_width():
    for width in range(64, 4096, 64):
        assert 8 * width * width <= 3 * width * mlp_width_for(width) < 8 * width * width + 3 * 64 * width


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_all_families_have_about_the_weights_that_are_counted(family):
    """Places and the small heads of BERT and its kin are not counted."""
    kind = FAMILIES[family]
    shape = Shape(3, 192, 3, 3, mlp_width_of(kind, 192), tied_embeddings=True, **as_shape(kind))
    model = new_model(family, shape, TokenIds(4096, 1, 2, 3), 256)
    assert model.num_parameters() == pytest.approx(parameters(shape, 4096), rel=0.07)

"""Work and memory counted from a shape, against what torch and the optimizer do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from pipeline.models import cost
from pipeline.models.architectures import llama_config
from pipeline.models.families import (
    Shape,
    TokenIds,
    parameters,
    shape_of,
    training_flops_per_token,
    vocabulary_size_of,
)
from pipeline.training.optimizer import orthogonal
from pipeline.training.pretrain_config import PretrainConfig

SHAPE = Shape(3, 96, 4, 2, 256, tied_embeddings=True)


def test_matrix_products_are_those_that_torch_counts_and_half_of_its_whole_attention():
    tokens = torch.randint(500, (4, 64))
    config = llama_config(SHAPE, TokenIds(500, 1, 2, 3), 64)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    counted = cost.passes("eager.fp32", SHAPE, 500, 64, tokens.numel(), 1)["eager.fp32.flops"]
    behind = tokens.numel() * (
        training_flops_per_token(SHAPE, 500, 64) - training_flops_per_token(SHAPE, 500, 0)
    )
    assert counted + behind == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_muons_products_are_those_that_torch_counts():
    with FlopCounterMode(display=False) as counter:
        orthogonal(torch.randn(1, 96, 256))
    one = Shape(1, 96, 1, 1, 256, tied_embeddings=True)
    counted = cost.updates("muon", one, 500, 1)["muon.flops"]
    square = 5 * 6 * 96**3
    assert counted - 4 * square == pytest.approx(3 * counter.get_total_flops(), rel=0.05)


def test_every_weight_is_updated_once_by_one_of_the_optimizers():
    assert cost.updates("adamw", SHAPE, 500, 7)["adamw.weights"] == 7 * parameters(SHAPE, 500)
    left = cost.updates("muon", SHAPE, 500, 1)["adamw.weights"]
    assert left + cost.matrix_parameters(SHAPE) == parameters(SHAPE, 500)


def test_work_grows_with_tokens_and_a_forward_pass_is_a_third():
    once, twice = (cost.passes("eager.bf16", SHAPE, 500, 64, tokens, tokens / 64) for tokens in (640, 1280))
    assert twice == {quantity: 2 * amount for quantity, amount in once.items()}
    assert cost.added(*[cost.forward("eager.bf16", SHAPE, 500, 64, 640, 10)] * 3) == pytest.approx(once)
    assert once["eager.bf16.flops"] == 640 * training_flops_per_token(SHAPE, 500, 64)


@given(st.integers(1, 12), st.integers(1, 100_000), st.booleans())
def test_the_vocabulary_of_a_model_follows_from_its_weights(depth: int, pieces: int, tied: bool):
    shape = Shape(depth, 64 * depth, depth, depth, 192 * depth, tied_embeddings=tied)
    assert vocabulary_size_of(shape, parameters(shape, pieces)) == pieces


def test_a_shape_is_found_in_the_configuration_of_a_record():
    config = PretrainConfig(depth=3, key_value_heads=1)
    assert shape_of(config.resolved()) == config.shape()
    assert shape_of({"epochs": 2.0}) is None


def test_memory_holds_weights_gradients_and_optimizer_at_least():
    big = Shape(24, 2048, 16, 16, 5504, tied_embeddings=True)
    weights = parameters(big, 32_000)
    taken = cost.memory(cost.EAGER, big, 32_000, 1, "fp32", "adamw")
    copied = 12 * weights  # for a checkpoint
    assert 16 * weights <= taken - copied <= 18 * weights
    assert cost.memory(cost.EAGER, big, 32_000, 1, "fp32", "muon") < taken + 18 * cost.largest_stack(big)


@pytest.mark.parametrize("footprint", [cost.EAGER, cost.COMPILED, cost.TUNED])
def test_memory_grows_with_tokens_depth_and_vocabulary(footprint):
    def taken(depth: int, pieces: int, tokens: int) -> float:
        shape = Shape(depth, 64 * depth, depth, depth, 192 * depth, tied_embeddings=True)
        return cost.memory(footprint, shape, pieces, tokens, "bf16", "muon")

    assert taken(2, 1000, 1000) < taken(4, 1000, 1000)
    assert taken(2, 1000, 1000) < taken(2, 2000, 1000)
    assert taken(2, 1000, 1000) < taken(2, 1000, 2000)

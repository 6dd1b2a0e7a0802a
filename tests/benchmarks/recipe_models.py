"""Models that differ from ours in one ingredient, and a plain one: GPT-2's, as transformers has it.

B rows, T tokens, D width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pipeline.models.architectures import ROPE_THETA, llama_config
from pipeline.models.families import (
    HEAD_WIDTH,
    Shape,
    TokenIds,
    mlp_width_for,
)
from pipeline.training.beginning import begin_as_identity

Mlp = Literal["gated silu", "gelu", "squared relu"]


@dataclass(frozen=True)
class Build:
    """How a model is built. What has its default is ours."""

    plain: bool = False
    """GPT-2's in all: learned positions, GELU, LayerNorm, biases."""
    mlp: Mlp = "gated silu"
    rotary: bool = True
    """Else a learned vector for each position."""
    layer_norm: bool = False
    """With means and biases, in place of RMSNorm."""
    norms_of_queries: bool = False
    """Queries and keys are normed before they meet (QK norm)."""
    identity: bool = True
    """Layers begin by passing the residual stream on."""
    initial_range: float | None = None
    """Standard deviation of first weights. Default: 0.02."""
    tied: bool = True


def shape_of(build: Build, depth: int, width: int, row_tokens: int) -> Shape:
    """Feed-forward layers have 8 * width ** 2 weights, whatever their kind; rounded up if gated."""
    gated = build.mlp == "gated silu" and not build.plain
    heads = max(1, width // HEAD_WIDTH)
    return Shape(
        depth=depth,
        width=width,
        heads=heads,
        key_value_heads=heads,
        mlp_width=mlp_width_for(width) if gated else 4 * width,
        tied_embeddings=build.tied,
        gated=gated,
        biases=build.plain,
        learned_positions=0 if build.rotary and not build.plain else row_tokens,
    )


def built(build: Build, shape: Shape, ids: TokenIds, row_tokens: int) -> PreTrainedModel:
    """The model with its first weights, from torch's random generator."""
    if build.plain:
        return _plain(shape, ids, row_tokens)
    config = llama_config(shape, ids, row_tokens)
    if build.initial_range is not None:
        config.initializer_range = build.initial_range
    model: PreTrainedModel
    if build.norms_of_queries:
        model = Qwen3ForCausalLM(_with_query_norms(config))
    else:
        model = LlamaForCausalLM(config)
    spread = config.initializer_range
    for layer in model.model.layers:
        if build.mlp != "gated silu":
            layer.mlp = Ungated(shape, build.mlp, spread)
    if build.layer_norm:
        _to_layer_norms(model, shape.width)
    if not build.rotary:
        _learn_positions(model, shape, spread)
    if build.identity:
        begin_as_identity(model)
    return model


def _plain(shape: Shape, ids: TokenIds, row_tokens: int) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=ids.vocabulary_size,
            n_positions=row_tokens,
            n_embd=shape.width,
            n_layer=shape.depth,
            n_head=shape.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=ids.bos,
            eos_token_id=ids.eos,
            pad_token_id=ids.pad,
        )
    )


def _with_query_norms(config: Any) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=config.initializer_range,
        tie_word_embeddings=config.tie_word_embeddings,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


class Ungated(nn.Module):
    """A feed-forward layer of two matrices."""

    def __init__(self, shape: Shape, kind: Mlp, spread: float) -> None:
        super().__init__()
        self.up_proj = nn.Linear(shape.width, shape.mlp_width, bias=False)
        self.down_proj = nn.Linear(shape.mlp_width, shape.width, bias=False)
        self.kind = kind
        for matrix in (self.up_proj, self.down_proj):
            nn.init.normal_(matrix.weight, std=spread)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        inner = self.up_proj(hidden_BTD)
        inner = F.gelu(inner) if self.kind == "gelu" else F.relu(inner).square()
        found: torch.Tensor = self.down_proj(inner)
        return found


def _to_layer_norms(model: PreTrainedModel, width: int) -> None:
    model.model.norm = nn.LayerNorm(width)
    for layer in model.model.layers:
        layer.input_layernorm, layer.post_attention_layernorm = nn.LayerNorm(width), nn.LayerNorm(width)


class NoRotation(nn.Module):
    """In place of the rotary embedding: turns by no angle."""

    def forward(
        self, hidden_BTD: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ones = hidden_BTD.new_ones(*position_ids.shape, self.size)
        return ones, torch.zeros_like(ones)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def _learn_positions(model: PreTrainedModel, shape: Shape, spread: float) -> None:
    """Adds a learned vector for each position to the embeddings; rotation does nothing."""
    inner = model.model
    inner.rotary_emb = NoRotation(shape.head_width)
    inner.positions = nn.Embedding(shape.learned_positions, shape.width)
    nn.init.normal_(inner.positions.weight, std=spread)

    def embed(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        tokens, positions = named.pop("input_ids"), named["position_ids"]
        return given, {**named, "inputs_embeds": inner.embed_tokens(tokens) + inner.positions(positions)}

    inner.register_forward_pre_hook(embed, with_kwargs=True)

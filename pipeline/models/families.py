"""What a model family looks like: its shape in numbers, its size, its cost, its transformers configuration.

Nothing here needs torch until `llama_config` is called, so plans can count parameters in no time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaConfig

HEAD_WIDTH = 64
MLP_MULTIPLE = 64
ROPE_THETA = 10_000.0
INITIALIZER_RANGE = 0.02
TRAINING_FLOPS_PER_PARAMETER = 6
"""Per token: a multiplication and an addition forward, twice that backward (Kaplan et al., 2020)."""


@dataclass(frozen=True)
class Shape:
    """A decoder in numbers. What has a default is that of a LLaMA; GPT-2 and GPT-3 have the other."""

    depth: int
    """Layers."""
    width: int
    """Size of the hidden state."""
    heads: int
    """Query heads per layer."""
    key_value_heads: int
    """Heads of keys and values; fewer than `heads` share them between queries (GQA)."""
    mlp_width: int
    """Size of the feed-forward layer."""
    tied_embeddings: bool
    """One matrix reads tokens in and scores them going out."""
    gated: bool = True
    """The feed-forward layer has a gate: three matrices in place of two."""
    biases: bool = False
    """Every matrix of the layers and every norm adds a vector."""
    learned_positions: int = 0
    """Positions with a vector of their own; rotary positions need none."""
    own_head_width: int | None = None
    """Size of a head where it is not width / heads, as in Qwen3."""

    @property
    def head_width(self) -> int:
        return self.own_head_width or self.width // self.heads


@dataclass(frozen=True)
class TokenIds:
    """The ids that a model's configuration has to know of its vocabulary."""

    vocabulary_size: int
    bos: int
    eos: int
    pad: int


def mlp_width_for(width: int) -> int:
    """8/3 of the width, rounded up to a multiple of 64: a gated layer as large as an ungated one of
    four times the width (Shazeer, 2020, arXiv:2002.05202)."""
    return -(-8 * width // (3 * MLP_MULTIPLE)) * MLP_MULTIPLE


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a resolved configuration of pretraining names, or None if it is of something else."""
    if "depth" not in config:
        return None
    return Shape(**{field.name: config[field.name] for field in fields(Shape) if field.name in config})


def layer_matrices(shape: Shape) -> list[tuple[int, int]]:
    """Inputs and outputs of every matrix of one layer: attention, then feed-forward."""
    width, key_value_width = shape.width, shape.key_value_heads * shape.head_width
    query_width = shape.heads * shape.head_width
    attention = [
        (width, query_width),
        (width, key_value_width),
        (width, key_value_width),
        (query_width, width),
    ]
    into, out = (width, shape.mlp_width), (shape.mlp_width, width)
    return [*attention, *([into, into, out] if shape.gated else [into, out])]


def block_parameters(shape: Shape) -> int:
    """Weights of all layers: attention, feed-forward and two norms each."""
    matrices = layer_matrices(shape)
    weights = sum(inputs * outputs for inputs, outputs in matrices)
    biases = sum(outputs for _, outputs in matrices) if shape.biases else 0
    return shape.depth * (weights + biases + 2 * _norm_parameters(shape))


def parameters(shape: Shape, vocabulary_size: int) -> int:
    """Weights of the whole model: layers, embeddings (once if tied), positions and the last norm."""
    embeddings = vocabulary_size * shape.width * (1 if shape.tied_embeddings else 2)
    positions = shape.learned_positions * shape.width
    return embeddings + positions + block_parameters(shape) + _norm_parameters(shape)


def vocabulary_size_of(shape: Shape, count: int) -> int:
    """The vocabulary of a model of this shape that has `count` weights."""
    return round((count - parameters(shape, 0)) / (parameters(shape, 1) - parameters(shape, 0)))


def _norm_parameters(shape: Shape) -> int:
    return shape.width * (2 if shape.biases else 1)


def training_flops_per_token(shape: Shape, vocabulary_size: int, row_tokens: int) -> float:
    """Floating point operations to train on one token, forward and backward, attention counted.

    6 per weight that multiplies (reading an embedding does not), and 6 * depth * width of all heads *
    row_tokens for the causal half of the attention scores and their sum (PaLM, 2022, appendix B, halved).
    """
    multiplied = block_parameters(shape) + vocabulary_size * shape.width
    attention = TRAINING_FLOPS_PER_PARAMETER * shape.depth * shape.heads * shape.head_width * row_tokens
    return float(TRAINING_FLOPS_PER_PARAMETER * multiplied + attention)


def llama_config(shape: Shape, tokens: TokenIds, row_tokens: int) -> "LlamaConfig":
    """The configuration that transformers builds a LLaMA from; `row_tokens` is its context."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=tokens.vocabulary_size,
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=row_tokens,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=INITIALIZER_RANGE,
        tie_word_embeddings=shape.tied_embeddings,
        attention_dropout=0.0,
        bos_token_id=tokens.bos,
        eos_token_id=tokens.eos,
        pad_token_id=tokens.pad,
    )

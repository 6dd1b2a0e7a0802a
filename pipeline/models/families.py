"""What a model family looks like: what it learns from, its shape in numbers, its size, its cost.

Nothing here needs torch, so plans can count parameters in no time; architectures.py builds the models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

HEAD_WIDTH = 64
MLP_MULTIPLE = 64
TRAINING_FLOPS_PER_PARAMETER = 6
"""Per token: a multiplication and an addition forward, twice that backward (Kaplan et al., 2020)."""


FamilyName = Literal[
    "llama", "mistral", "qwen", "falcon", "gpt2", "bert", "roberta", "t5", "bart", "rnn", "lstm", "gru"
]
Positions = Literal["rotary", "learned", "sinusoidal", "none"]
Learning = Literal["next-token", "masked", "span-corruption", "denoising"]


@dataclass(frozen=True)
class Family:
    """What sets a family of models apart from the others."""

    learning: Learning = "next-token"
    """What it is asked for."""
    positions: tuple[Positions, ...] = ()
    """How it may tell places in a text apart, its own way first; none where that follows from what it is."""
    gated: bool = False
    """The feed-forward layer has a gate."""
    biases: bool = True
    gates: int = 0
    """Of a recurrent cell, the matrices of each kind; 0 of a transformer."""
    writes_apart: bool = False
    """An encoder reads, and a decoder as deep writes."""
    noise_share: float | None = None
    """Of the tokens that it has to tell, as its paper has it."""
    noise_span: float | None = None
    """Tokens that are hidden together, on average."""

    @property
    def continues_text(self) -> bool:
        """Whether it can write what comes next, and so be asked and fine-tuned to chat."""
        return self.learning == "next-token"

    @property
    def is_recurrent(self) -> bool:
        return self.gates > 0

    @property
    def is_decoder(self) -> bool:
        """A transformer that continues text: what compilers, kernels and layouts were written for first."""
        return self.continues_text and not self.is_recurrent


LIKE_LLAMA = Family(positions=("rotary",), gated=True, biases=False)
OWN_PLACES: tuple[Positions, ...] = ("learned", "sinusoidal", "none")
FAMILIES: Mapping[FamilyName, Family] = {
    "llama": Family(positions=("rotary", "none"), gated=True, biases=False),
    "mistral": LIKE_LLAMA,
    "qwen": LIKE_LLAMA,
    "falcon": Family(positions=("rotary",), biases=False),
    "gpt2": Family(positions=OWN_PLACES),
    "bert": Family("masked", OWN_PLACES, noise_share=0.15),
    "roberta": Family("masked", OWN_PLACES, noise_share=0.15),
    "t5": Family("span-corruption", biases=False, writes_apart=True, noise_share=0.15, noise_span=3.0),
    "bart": Family("denoising", OWN_PLACES, writes_apart=True, noise_share=0.3, noise_span=3.0),
    "rnn": Family(gates=1),
    "gru": Family(gates=3),
    "lstm": Family(gates=4),
}
"""By name: LLaMA (Touvron et al., 2023, arXiv:2302.13971), Mistral (Jiang et al., 2023, arXiv:2310.06825),
Qwen 3 (Yang et al., 2025, arXiv:2505.09388), Falcon (Almazrouei et al., 2023, arXiv:2311.16867), GPT-2
(Radford et al., 2019), BERT (arXiv:1810.04805), RoBERTa (arXiv:1907.11692), T5 (arXiv:1910.10683), BART
(arXiv:1910.13461), Elman's recurrent network (1990), GRU (Cho et al., 2014, arXiv:1406.1078), LSTM
(Hochreiter and Schmidhuber, 1997)."""


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
    gates: int = 0
    """Of a recurrent cell: matrices that take in what is read, and as many that take in what was before."""
    writes_apart: bool = False
    """Each layer is two: one that reads, and one that writes, which looks at what was read too."""

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
    if (name := config.get("family", "llama")) != "llama":
        config = {**config, **as_shape(FAMILIES[name])}
    return Shape(**{field.name: config[field.name] for field in fields(Shape) if field.name in config})


def as_shape(family: Family) -> dict[str, Any]:
    """What the family decides of a shape."""
    return {name: getattr(family, name) for name in ("gated", "biases", "gates", "writes_apart")}


def mlp_width_of(family: Family, width: int) -> int:
    """Of the feed-forward layer, unless it is set: four times the width, or as much in three matrices."""
    if family.is_recurrent:
        return width
    return mlp_width_for(width) if family.gated else 4 * width


def layer_matrices(shape: Shape) -> list[tuple[int, int]]:
    """Inputs and outputs of every matrix of one layer: attention, then feed-forward; of a recurrent one its
    gates' matrices, which lie in one for what is read and one for what was before."""
    if shape.gates:
        return [(shape.width, shape.gates * shape.width)] * 2
    width, key_value_width = shape.width, shape.key_value_heads * shape.head_width
    query_width = shape.heads * shape.head_width
    attention = [
        (width, query_width),
        (width, key_value_width),
        (width, key_value_width),
        (query_width, width),
    ]
    into, out = (width, shape.mlp_width), (shape.mlp_width, width)
    feed_forward = [into, into, out] if shape.gated else [into, out]
    if shape.writes_apart:
        return [*attention * 3, *feed_forward * 2]
    return [*attention, *feed_forward]


def block_parameters(shape: Shape) -> int:
    """Weights of all layers, with two norms each where one layer is one and attends."""
    matrices = layer_matrices(shape)
    weights = sum(inputs * outputs for inputs, outputs in matrices)
    biases = sum(outputs for _, outputs in matrices) if shape.biases else 0
    norms = 0 if shape.gates else 5 if shape.writes_apart else 2
    return shape.depth * (weights + biases + norms * _norm_parameters(shape))


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
    Where one half reads and the other writes, as if both had all of the tokens: more than it is.
    """
    multiplied = block_parameters(shape) + vocabulary_size * shape.width
    if shape.gates:
        return float(TRAINING_FLOPS_PER_PARAMETER * multiplied)
    attention = TRAINING_FLOPS_PER_PARAMETER * shape.depth * shape.heads * shape.head_width * row_tokens
    return float(TRAINING_FLOPS_PER_PARAMETER * multiplied + attention)

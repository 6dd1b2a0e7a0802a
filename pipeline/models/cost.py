"""What a model asks of a machine, counted from its shape alone: work for a plan, and memory.

Work is told in quantities that take a machine so many seconds each, whatever the shape; a calibration
measures how many. Their names say how is computed: `compiled.bf16.flops`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.models.families import (
    Shape,
    block_parameters,
    layer_matrices,
    parameters,
    training_flops_per_token,
)
from pipeline.store import Work

FORWARD_SHARE = 1 / 3
"""Of the work of a step, what the forward pass alone takes."""
NEWTON_SCHULZ_STEPS = 5
FLOAT_BYTES = 4
STACK_BYTES = 18
"""For each weight of the matrices that Muon brings into one stack: the stack, momenta and iterates."""
STACK_WEIGHTS = 1 << 26
"""Of matrices that Muon works on at once, at most (or one matrix that is larger)."""
OUTSIDE_PRODUCTS = 0.4
"""Of what a layer keeps for the backward pass, the share around norms and sums, which workers that share
products (tensor parallel) hold whole: counted from the operations of a LLaMA's layer."""
GATHERED_LAYERS = 2
"""Of a model that is cut into shards, the layers that are whole at once: one in use, the next under way."""


Checkpointing = Literal["none", "every-second", "all"]
"""Layers that keep their input alone, and compute what the backward pass needs again."""


@dataclass(frozen=True)
class Division:
    """How a training is divided among the workers that take part in it."""

    workers: int = 1
    shards: int = 1
    """Parts that weights, gradients and optimizer are cut into, over workers that see rows of their own."""
    tensor_parallel: int = 1
    """Workers that share each matrix product, and see the same rows."""
    activation_checkpointing: Checkpointing = "none"
    offload_optimizer: bool = False
    """The optimizer's state lies in the machine's memory, not in the GPU's."""

    @property
    def data_size(self) -> int:
        """Workers, or groups of them, that see rows of their own."""
        return self.workers // self.tensor_parallel

    @property
    def replicas(self) -> int:
        """How often each part is there."""
        return self.data_size // self.shards


ALONE = Division()


@dataclass(frozen=True)
class Footprint:
    """Memory of a way to train, measured on a CPU over depths 2 to 8, 1,024 to 32,000 pieces and 2,048 to
    8,192 tokens at a time; workers had at most what these tell, within 10 %."""

    start_bytes: Mapping[str, float]
    """By precision: what comes with the steps, such as kernels for each shape, and the compiler."""
    value_bytes: Mapping[str, float]
    """By precision, for each token, layer and element of a hidden state: what the backward pass needs."""
    score_bytes: float
    """For each token and piece of the vocabulary: scores, their exponentials, their gradient."""
    score_tokens: float = math.inf
    score_pieces: float = math.inf
    """So many tokens and pieces at most are scored at once."""
    judged_bytes: float = 0.0
    """For each token and piece, where held-out rows are scored without a backward pass."""
    held_back: float = 0.5
    """Of freed memory, what the allocator does not give to the next that asks."""
    on_gpu: bool = False
    """The memory is a GPU's, so what lies in the machine's does not count."""

    def step_bytes(
        self, shape: Shape, vocabulary_size: int, tokens: float, precision: str, division: Division = ALONE
    ) -> float:
        """Of a step over so many tokens, without weights and gradients."""
        whole = OUTSIDE_PRODUCTS + (1 - OUTSIDE_PRODUCTS) / division.tensor_parallel
        layer = tokens * self.value_bytes[precision] * shape.width * whole
        values = layer * shape.depth
        if division.activation_checkpointing != "none":
            again = shape.depth if division.activation_checkpointing == "all" else (shape.depth + 1) // 2
            inputs = tokens * FLOAT_BYTES * shape.width * again
            values = min(values, layer * (shape.depth - again + 1) + inputs)
        tile = min(tokens, self.score_tokens) * min(vocabulary_size, self.score_pieces)
        return max(values + self.score_bytes * tile, self.judged_bytes * tokens * vocabulary_size)


EAGER = Footprint({"bf16": 75e6, "fp32": 75e6}, {"bf16": 88, "fp32": 117}, score_bytes=12)
COMPILED = Footprint({"bf16": 165e6, "fp32": 165e6}, {"bf16": 27, "fp32": 36}, score_bytes=10)
TUNED = Footprint(
    {"bf16": 240e6, "fp32": 90e6},
    {"bf16": 88, "fp32": 117},
    score_bytes=36,
    score_tokens=4096,
    score_pieces=32_768,
    judged_bytes=18,
)
"""TRL's trainer: rows of many lengths, scores in tiles."""
GPU_EAGER = Footprint(
    {"bf16": 1.5e9, "fp32": 1.5e9}, {"bf16": 60, "fp32": 90}, score_bytes=16, held_back=0.1, on_gpu=True
)
GPU_COMPILED = Footprint(
    {"bf16": 1.5e9, "fp32": 1.5e9}, {"bf16": 34, "fp32": 60}, score_bytes=12, held_back=0.1, on_gpu=True
)
"""Counted, not measured: CUDA's context and NCCL's buffers; what a layer keeps where attention keeps no
scores (34 bytes: Korthikanti et al., 2022, arXiv:2205.05198, without dropout 31, fp32 sums added); scores
in bf16 and fp32 with their gradients."""


def way(precision: str, compiled: bool = False) -> str:
    """How is computed, as the quantities' names say it."""
    return f"{'compiled' if compiled else 'eager'}.{precision}"


def passes(
    way: str, shape: Shape, vocabulary_size: int, row_tokens: float, tokens: float, count: float
) -> Work:
    """`count` passes, forward and backward, over `tokens` tokens in all; `way` is such as `eager.fp32`.

    flops: of matrix products. layer_values: elements of hidden states, over which norms, rotations and
    so on go (tokens * layers * width). scores: tokens * vocabulary. layers: how often a layer is started.
    """
    per_token = training_flops_per_token(shape, vocabulary_size, 0)
    attention = training_flops_per_token(shape, vocabulary_size, 1) - per_token
    return {
        f"{way}.flops": tokens * (per_token + attention * row_tokens),
        f"{way}.layer_values": tokens * shape.depth * shape.width,
        f"{way}.scores": tokens * vocabulary_size,
        f"{way}.layers": count * shape.depth,
    }


def forward(
    way: str, shape: Shape, vocabulary_size: int, row_tokens: float, tokens: float, count: float
) -> Work:
    """As `passes`, without the backward pass."""
    whole = passes(way, shape, vocabulary_size, row_tokens, tokens, count)
    return {quantity: amount * FORWARD_SHARE for quantity, amount in whole.items()}


def recomputed(
    way: str, shape: Shape, row_tokens: float, tokens: float, count: float, which: Checkpointing
) -> Work:
    """Of layers that compute their inner values again: that share of a forward pass without the scores."""
    share = {"none": 0.0, "every-second": (shape.depth + 1) // 2 / shape.depth, "all": 1.0}[which]
    return forward(way, shape, 0, row_tokens, tokens * share, count * share)


def exchanged(
    shape: Shape, vocabulary_size: int, precision: str, division: Division, steps: float, passes: float
) -> Work:
    """Bytes that a worker of a training sends: gradients of each step where every worker has a copy; where
    the model is cut, weights twice and gradients once in each pass."""
    weights = parameters(shape, vocabulary_size) / division.tensor_parallel
    gradients = FLOAT_BYTES * weights
    if division.shards > 1:
        product = 2 if precision == "bf16" else FLOAT_BYTES
        share = (division.shards - 1) / division.shards
        return {"exchanged_bytes": passes * share * (2 * product * weights + gradients)}
    return {"exchanged_bytes": steps * gradients if division.data_size > 1 else 0.0}


def generation(shape: Shape, tokens: float) -> Work:
    """Tokens written one after another: each starts every layer, and does little there."""
    return {"generated.layers": tokens * shape.depth}


def updates(optimizer: str, shape: Shape, vocabulary_size: int, count: float) -> Work:
    """`count` updates by `muon` or `adamw`, in products of Newton and Schulz' iteration and in weights."""
    weights = parameters(shape, vocabulary_size)
    if optimizer == "adamw":
        return {"adamw.weights": count * weights}
    inside = matrix_parameters(shape)
    flops = shape.depth * sum(_newton_schulz_flops(*matrix) for matrix in layer_matrices(shape))
    return {"muon.flops": count * flops, "adamw.weights": count * (weights - inside)}


def _newton_schulz_flops(inputs: int, outputs: int) -> float:
    rows, columns = min(inputs, outputs), max(inputs, outputs)
    return NEWTON_SCHULZ_STEPS * (4.0 * rows * rows * columns + 2.0 * rows**3)


def matrix_parameters(shape: Shape) -> int:
    """Weights of the layers' matrices, which are Muon's."""
    return shape.depth * sum(inputs * outputs for inputs, outputs in layer_matrices(shape))


def largest_stack(shape: Shape) -> int:
    """Weights of all matrices that have the same two sizes, of those that have most."""
    stacks: Counter[tuple[int, int]] = Counter()
    for inputs, outputs in layer_matrices(shape):
        stacks[min(inputs, outputs), max(inputs, outputs)] += shape.depth * inputs * outputs
    return max(stacks.values())


def added(*parts: Work) -> dict[str, float]:
    """The parts together."""
    total: dict[str, float] = {}
    for part in parts:
        for quantity, amount in part.items():
            total[quantity] = total.get(quantity, 0.0) + amount
    return total


def memory(
    footprint: Footprint,
    shape: Shape,
    vocabulary_size: int,
    tokens: float,
    precision: str,
    optimizer: str,
    division: Division = ALONE,
) -> float:
    """Bytes that training takes at most beyond what a worker has imported, with so many tokens at a time.

    Weights and optimizer stay; what the backward pass needs and what the update needs follow each
    other, but the allocator hands only a part of the one on to the other.
    """
    kept = kept_bytes(footprint, shape, vocabulary_size, optimizer, division)
    step = footprint.step_bytes(shape, vocabulary_size, tokens, precision, division)
    step += gathered_bytes(shape, vocabulary_size, precision, division)
    update = update_bytes(shape, vocabulary_size, optimizer, division)
    late, early = min(step, update), max(step, update)
    copied = 0.0 if footprint.on_gpu else kept  # a checkpoint is written from a copy, in the machine's memory
    return footprint.start_bytes[precision] + kept + copied + early + footprint.held_back * late


def kept_bytes(
    footprint: Footprint, shape: Shape, vocabulary_size: int, optimizer: str, division: Division = ALONE
) -> float:
    """Of weights and of the optimizer's state: two numbers for each weight, or one that is Muon's."""
    weights = parameters(shape, vocabulary_size)
    state = 2 * weights - (matrix_parameters(shape) if optimizer == "muon" else 0)
    away = footprint.on_gpu and division.offload_optimizer
    return FLOAT_BYTES * (weights + (0 if away else state)) / (division.shards * division.tensor_parallel)


def update_bytes(shape: Shape, vocabulary_size: int, optimizer: str, division: Division = ALONE) -> float:
    """Of gradients, and of what comes beside them: their sum over workers, or Muon's stack."""
    gradients = FLOAT_BYTES * parameters(shape, vocabulary_size) / division.tensor_parallel
    largest = max(inputs * outputs for inputs, outputs in layer_matrices(shape))
    together = min(largest_stack(shape) / division.shards, max(STACK_WEIGHTS, largest))
    stack = STACK_BYTES * together if optimizer == "muon" else 0.0
    flat = gradients if division.shards == 1 and division.data_size > 1 else 0.0
    return gradients / division.shards + max(stack, flat)


def gathered_bytes(shape: Shape, vocabulary_size: int, precision: str, division: Division) -> float:
    """Of a model that is cut into shards, what is whole for a moment: layers, embeddings, gradients."""
    if division.shards == 1:
        return 0.0
    layer = block_parameters(shape) / shape.depth / division.tensor_parallel
    rest = parameters(shape, vocabulary_size) / division.tensor_parallel - layer * shape.depth
    product = 2 if precision == "bf16" else FLOAT_BYTES
    gathered = GATHERED_LAYERS * layer * product + rest * FLOAT_BYTES
    gradients = layer * (product + FLOAT_BYTES) + rest * 2 * FLOAT_BYTES
    return gathered + gradients

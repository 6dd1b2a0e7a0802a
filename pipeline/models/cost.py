"""What a model asks of a machine, counted from its shape alone: work for a plan, and memory.

Work is told in quantities that take a machine so many seconds each, whatever the shape; a calibration
measures how many. Their names say how is computed: `compiled.bf16.flops`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.models.families import Shape, layer_matrices, parameters, training_flops_per_token
from pipeline.store import Work

FORWARD_SHARE = 1 / 3
"""Of the work of a step, what the forward pass alone takes."""
NEWTON_SCHULZ_STEPS = 5
FLOAT_BYTES = 4
STACK_BYTES = 18
"""For each weight of the matrices that Muon brings into one stack: the stack, momenta and iterates."""
HELD_BACK = 0.5
"""Of freed memory, what the allocator does not give to the next that asks."""


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

    def step_bytes(self, shape: Shape, vocabulary_size: int, tokens: float, precision: str) -> float:
        """Of a step over so many tokens, without weights and gradients."""
        values = tokens * self.value_bytes[precision] * shape.depth * shape.width
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
    footprint: Footprint, shape: Shape, vocabulary_size: int, tokens: float, precision: str, optimizer: str
) -> float:
    """Bytes that training takes at most beyond what a worker has imported, with so many tokens at a time.

    Weights and optimizer stay; what the backward pass needs and what the update needs follow each
    other, but the allocator hands only a part of the one on to the other.
    """
    weights = parameters(shape, vocabulary_size)
    inside, stack = (matrix_parameters(shape), largest_stack(shape)) if optimizer == "muon" else (0, 0)
    kept = FLOAT_BYTES * (3 * weights - inside)
    step = footprint.step_bytes(shape, vocabulary_size, tokens, precision)
    update = FLOAT_BYTES * weights + STACK_BYTES * stack
    return footprint.start_bytes[precision] + kept + max(step, update) + HELD_BACK * min(step, update)

"""The settings of pretraining: one dial, `depth`, derives what is not set by hand."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.config import Config
from pipeline.models.families import (
    FAMILIES,
    HEAD_WIDTH,
    FamilyName,
    Positions,
    Shape,
    as_shape,
    block_parameters,
    mlp_width_of,
)
from pipeline.models.noise import Noise
from pipeline.training.general import GeneralConfig
from pipeline.training.mixing import MixtureConfig
from pipeline.training.schedule import Schedule

SMALLEST_BATCH_TOKENS = 4096
PEAK_LEARNING_RATE = {"muon": 0.01, "adamw": 0.003}
"""At a width of 256; both fall with the width (up to twice this for narrower models). Muon was nearly
flat from 0.012 to 0.025 at width 128; at 768 this gives the 0.0033 of modded-nanogpt in AdamW's units."""
ENGLISH_PROMPTS = (
    "The quick brown fox",
    "This function returns",
    "Raises an error if",
)


@dataclass(frozen=True)
class Recipe:
    """What `depth` derives, or what was set by hand in its place."""

    width: int
    heads: int
    key_value_heads: int
    mlp_width: int
    batch_tokens: int
    learning_rate: float
    steps: int
    warmup_steps: int
    evaluate_every: int


def batch_tokens_for(depth: int) -> int:
    """Tokens of a batch: as many up to depth 4, then as the cube of the depth, in powers of two."""
    return SMALLEST_BATCH_TOKENS << max(0, round(3 * math.log2(depth / 4)))


class PretrainConfig(Config):
    """One pretraining run. Every field changes the weights or what is told of them."""

    family: FamilyName = "llama"
    """What kind of model, and so what it learns: "llama", "mistral", "qwen", "falcon", "gpt2", "rnn", "gru"
    and "lstm" the next token; "bert" and "roberta" masked tokens; "t5" spans, "bart" the text that noise was
    put on."""
    positions: Positions | None = None
    """How places in a text are told apart: "rotary", "learned", "sinusoidal" or "none". Default: as the
    family has it; t5 goes by distances and recurrent families by their order, and have no choice."""
    noise_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of the tokens that are hidden. Default: 0.15, of bart 0.3; what continues text hides none."""
    noise_span: float | None = Field(default=None, ge=1)
    """Tokens that t5 and bart hide together, on average. Default: 3."""
    truncation: int | None = Field(default=None, ge=1)
    """Tokens after which gradients of recurrent families end (truncated backpropagation through time).
    Default: at a row's end."""

    depth: int = Field(default=4, ge=1)
    """The one dial: layers; t5 and bart have as many that read as that write. What is left at None below is
    derived from it."""
    width: int | None = Field(default=None, ge=2)
    """Size of the hidden state. Default: 64 * depth."""
    heads: int | None = Field(default=None, ge=1)
    """Query heads per layer. Default: one per 64 of width."""
    key_value_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values. Default: as many as heads."""
    mlp_width: int | None = Field(default=None, ge=1)
    """Size of the feed-forward layer. Default: 8/3 of width, rounded up to 64; 4 times width where it has no
    gate."""
    tied_embeddings: bool = True
    """Read and score tokens with one matrix."""

    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps. Default: as many as tokens_per_parameter asks for."""
    tokens_per_parameter: float = Field(default=20.0, gt=0)
    """Training tokens per weight outside the embeddings (20: Hoffmann et al., 2022, arXiv:2203.15556)."""
    batch_tokens: int | None = Field(default=None, ge=2)
    """Tokens per optimizer step, over all workers. Default: 4,096 up to depth 4, then as its cube."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon for the layers' matrices with AdamW for the rest, or AdamW for all."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate. Default: 0.01 (AdamW: 0.003) * 256 / width."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled decay of matrices; norms have none."""
    schedule: Schedule = "wsd"
    """Learning rate after the warm-up: "wsd" (plateau, then linear decay) or "cosine"."""
    decay_fraction: float = Field(default=0.5, gt=0, le=1)
    """Share of the run at its end in which "wsd" lets the learning rate fall."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps in which the learning rate rises. Default: a twentieth of all."""
    gradient_clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    spike_guard: float = Field(default=100.0, gt=0)
    """An update whose loss or gradient norm lies so many standard deviations (told by ranks) above the
    median of the 64 steps before is skipped. A very large number skips none."""
    precision: Literal["bf16", "fp32", "fp8"] = "bf16"
    """Of matrix products; weights, sums and the optimizer are fp32 always. "fp8" is for the layers' matrices
    on GPUs that have it, and the rest is bf16. CPUs that are slow at bf16 compute in fp32."""
    seed: int = Field(default=0, ge=0)
    """Of the first weights and of the order of rows."""

    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations on held-out rows. Default: a tenth of all."""
    evaluation_rows: int = Field(default=128, ge=1)
    """Held-out rows of an evaluation, at most."""
    prompts: tuple[str, ...] = ENGLISH_PROMPTS
    """Completed at every evaluation, to watch the model learn. May be empty."""
    general: GeneralConfig | None = None
    """A text that the model of [start] knew, kept in mind while it learns this run's. Default: none."""
    mixture: MixtureConfig | None = None
    """Shares of the texts of [[tokens.texts]]. Default: each text has as much as it has rows."""

    def derived(self) -> dict[str, Any]:
        """Family → noise; depth → width → heads; width → learning rate; size → batch and steps → warm-up,
        evaluation."""
        width = HEAD_WIDTH * self.depth
        heads = max(1, (self.width or width) // HEAD_WIDTH)
        family = FAMILIES[self.family]
        mlp_width = mlp_width_of(family, self.width or width)
        batch_tokens = batch_tokens_for(self.depth)
        shape = Shape(
            depth=self.depth,
            width=self.width or width,
            heads=self.heads or heads,
            key_value_heads=self.key_value_heads or self.heads or heads,
            mlp_width=self.mlp_width or mlp_width,
            tied_embeddings=self.tied_embeddings,
            **as_shape(family),
        )
        tokens = self.tokens_per_parameter * block_parameters(shape)
        peak = PEAK_LEARNING_RATE[self.optimizer]
        steps = max(1, round(tokens / (self.batch_tokens or batch_tokens)))
        return {
            "noise_share": family.noise_share,
            "noise_span": family.noise_span,
            "width": width,
            "heads": heads,
            "key_value_heads": self.heads or heads,
            "mlp_width": mlp_width,
            "batch_tokens": batch_tokens,
            "learning_rate": round(peak * min(2.0, 256 / shape.width), 6),
            "steps": steps,
            "warmup_steps": (self.steps or steps) // 20,
            "evaluate_every": max(1, (self.steps or steps) // 10),
        }

    def training_rows(self, row_tokens: int) -> int:
        """Rows that all steps draw together."""
        recipe = self.recipe()
        return recipe.steps * (recipe.batch_tokens // row_tokens)

    def recipe(self) -> Recipe:
        values = self.resolved()
        return Recipe(**{name: values[name] for name in Recipe.__dataclass_fields__})

    def shape(self) -> Shape:
        recipe = self.recipe()
        return Shape(
            depth=self.depth,
            width=recipe.width,
            heads=recipe.heads,
            key_value_heads=recipe.key_value_heads,
            mlp_width=recipe.mlp_width,
            tied_embeddings=self.tied_embeddings,
            **as_shape(FAMILIES[self.family]),
        )

    @property
    def own_positions(self) -> Positions | None:
        """How the model tells places apart, where that can be chosen."""
        return self.positions or next(iter(FAMILIES[self.family].positions), None)

    def noise(self) -> Noise | None:
        """What the family hides; None of one that continues text."""
        family = FAMILIES[self.family]
        if family.noise_share is None:
            return None
        return Noise(self.noise_share or family.noise_share, self.noise_span or family.noise_span)

    @model_validator(mode="after")
    def settings_are_of_the_family(self) -> Self:
        family = FAMILIES[self.family]
        if self.positions is not None and self.positions not in family.positions:
            ways = ", ".join(f'"{each}"' for each in family.positions)
            raise ValueError(
                f'positions is "{self.positions}", and {self.family} '
                + (f"has {ways}: take one of them" if ways else "knows places in a way of its own")
                + ", or leave it out"
            )
        has = {
            "noise_share": family.noise_share is not None,
            "noise_span": family.noise_span is not None,
            "truncation": family.is_recurrent,
        }
        vain = [name for name, used in has.items() if getattr(self, name) is not None and not used]
        if vain:
            raise ValueError(f"{', '.join(vain)} is set, and {self.family} has no use for it: leave it out")
        return self

    @model_validator(mode="after")
    def heads_divide_the_width(self) -> Self:
        shape = self.shape()
        if shape.width % (2 * shape.heads):
            fit = 2 * shape.heads * max(1, round(shape.width / (2 * shape.heads)))
            raise ValueError(
                f"width is {shape.width}, not a multiple of 2 * heads ({2 * shape.heads}); try {fit}"
            )
        if shape.heads % shape.key_value_heads:
            fit = max(n for n in range(1, shape.key_value_heads + 1) if shape.heads % n == 0)
            raise ValueError(
                f"key_value_heads is {shape.key_value_heads}, "
                f"heads ({shape.heads}) is no multiple of it; try {fit}"
            )
        return self

    @model_validator(mode="after")
    def warm_up_ends(self) -> Self:
        recipe = self.recipe()
        if recipe.warmup_steps >= recipe.steps and recipe.warmup_steps:
            raise ValueError(
                f"warmup_steps is {recipe.warmup_steps}, the whole run has {recipe.steps} steps; "
                f"try {recipe.steps // 20}"
            )
        return self

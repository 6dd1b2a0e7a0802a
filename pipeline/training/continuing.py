"""What changes of pretraining's settings where it goes on from a foreign model.

The model has its shape already. The learning rate rises anew and falls again over the new text (Ibrahim et
al., 2024, arXiv:2403.08763): a high peak learns more of the new text and forgets more of the old, so it
stays below what a model of that width begins with. The text is read once, unless `steps` says otherwise.
"""

from dataclasses import fields
from typing import Any, ClassVar, Literal, Self

from pydantic import PrivateAttr, model_validator

from pipeline.errors import InputError
from pipeline.models.families import Shape, block_parameters
from pipeline.models.foreign_model import ForeignModel, as_settings
from pipeline.tokens.encode import Tokens
from pipeline.training.pretrain_config import PEAK_LEARNING_RATE, PretrainConfig, batch_tokens_for

SHAPE = (
    "family",
    "positions",
    "noise_share",
    "noise_span",
    "truncation",
    "depth",
    "width",
    "heads",
    "key_value_heads",
    "mlp_width",
    "tied_embeddings",
)
"""Settings of pretraining that a foreign model decides."""
PEAK_SHARE = 0.3
"""Of the peak learning rate that a model of this width would begin with from nothing."""
LEAST_STEPS = 50
"""Smaller batches are chosen rather than fewer steps."""


class RowsTooLongError(InputError):
    """The rows are longer than the foreign model's context."""

    remedy = "Set tokens.row_tokens to at most what the message says."


class ContinuedConfig(PretrainConfig):
    """The settings of pretraining for a model that is there already."""

    optimizer: Literal["muon", "adamw"] = "adamw"
    """What it was made with, in all likelihood: a model that AdamW made gains nothing by a change to Muon
    (Liu et al., 2025, arXiv:2502.16982)."""

    only_told: ClassVar[frozenset[str]] = frozenset(field.name for field in fields(Shape))

    _shape: Shape | None = PrivateAttr(default=None)
    _train_tokens: float | None = PrivateAttr(default=None)
    _row_tokens: int = PrivateAttr(default=1)

    def knowing(self, foreign: ForeignModel | None, train_tokens: float | None, row_tokens: int) -> Self:
        """The same settings, with what the others are derived from, as far as that is known."""
        made = self.model_copy()
        made._shape = foreign.shape if foreign else None
        made._train_tokens, made._row_tokens = train_tokens, row_tokens
        return made

    def shape(self) -> Shape:
        """That of the foreign model. It must be known."""
        assert self._shape is not None
        return self._shape

    def derived(self) -> dict[str, Any]:
        """Depth → batch; width → learning rate; text → steps → warm-up, evaluation. What hangs on a model
        that is not here yet, or on a text that is not, is left open."""
        if self._shape is None:
            return {}
        peak = PEAK_SHARE * PEAK_LEARNING_RATE[self.optimizer]
        found: dict[str, Any] = {"learning_rate": round(peak * min(2.0, 256 / self._shape.width), 8)}
        if self._train_tokens is None:
            return found
        batch = self.batch_tokens or self._batch_tokens(self._shape.depth, self._train_tokens)
        read = self._train_tokens  # once
        if "tokens_per_parameter" in self.model_fields_set:
            read = self.tokens_per_parameter * block_parameters(self._shape)
        steps: int = self.steps or max(1, int(read // batch))
        return found | {
            "batch_tokens": batch,
            "steps": steps,
            "warmup_steps": steps // 20,
            "evaluate_every": max(1, steps // 10),
        }

    def _batch_tokens(self, depth: int, train_tokens: float) -> int:
        """As large as from nothing, unless the text has too little for that: whole rows."""
        fit = max(1, int(train_tokens / LEAST_STEPS) // self._row_tokens)
        return self._row_tokens * max(1, min(batch_tokens_for(depth) // self._row_tokens, fit))

    def resolved(self) -> dict[str, Any]:
        """With the foreign model's shape in place of one that is derived."""
        values = {name: value for name, value in super().resolved().items() if name not in SHAPE}
        if "tokens_per_parameter" not in self.model_fields_set:
            del values["tokens_per_parameter"]  # the text is read once
        return values if self._shape is None else as_settings(self._shape) | values

    def identity(self) -> dict[str, Any]:
        """What was set by hand and is no default. What is derived hangs on inputs that are in the key
        themselves, and need not be there yet."""
        fields = type(self).model_fields
        given = self.model_dump(mode="json", exclude=set(SHAPE))
        if self.general is not None:
            given["general"] = self.general.identity()
        defaults = type(self)().model_dump(mode="json")
        return {name: value for name, value in given.items() if name in fields and value != defaults[name]}

    @model_validator(mode="after")
    def heads_divide_the_width(self) -> Self:
        """In place of the check of a shape that was set."""
        return self

    @model_validator(mode="after")
    def warm_up_ends(self) -> Self:
        if self.steps is not None and self.warmup_steps and self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, the whole run has {self.steps} steps; "
                f"try {self.steps // 20}"
            )
        return self


def continuing(config: PretrainConfig) -> ContinuedConfig:
    """The settings that were made by hand, with the defaults for going on from a model."""
    given = {name: getattr(config, name) for name in config.model_fields_set if name not in SHAPE}
    return ContinuedConfig(**given)


def continued(config: PretrainConfig, foreign: ForeignModel | None, tokens: Tokens) -> ContinuedConfig:
    """All that the training has to know, as far as model and text are known. Raises RowsTooLongError."""
    row_tokens = tokens.row_tokens
    if foreign is not None:
        require_context(foreign, row_tokens)
    rows = tokens.counts().get("train.rows")
    # with general rows between them, that many tokens pass until all rows of the domain were there
    read = rows and rows * row_tokens / (1 - (config.general.share if config.general is not None else 0))
    return continuing(config).knowing(foreign, read, row_tokens)


def require_context(foreign: ForeignModel, row_tokens: int) -> None:
    """Raises RowsTooLongError if the model was not made for rows of this length."""
    longest = foreign.longest_row()
    if row_tokens > longest:
        reason = (
            f"looks {foreign.window_tokens:,} tokens back alone (sliding_window)"
            if foreign.window_tokens == longest
            else f"has positions for {foreign.context_tokens:,} tokens"
        )
        raise RowsTooLongError(
            f"tokens.row_tokens is {row_tokens:,}, and the model of [start] {reason}; set tokens.row_tokens "
            f"to at most {int(longest)}"
        )

"""A general text beside the domain's: its settings, and the check that the model still knows it."""

from typing import Any

from pydantic import Field

from pipeline.config import Config
from pipeline.errors import StageError
from pipeline.store import Artifact

RISE, BEFORE, AFTER = "general_rise", "general_bits_per_byte_before", "general_bits_per_byte"
"""Figures of the record of a training with a general text."""


class GeneralConfig(Config):
    """A text that the model of [start] knew already, mixed into what it learns now."""

    tokens: str
    """Name or key, in this store, of the tokens or the corpus that the text is in, such as quickstart/tokens.
    Tokens of another vocabulary, or in rows of another length, are made anew from their corpus."""
    share: float = Field(default=0.25, ge=0, lt=1)
    """Of the rows of each step, rounded over the steps. At 0 the text is watched and not trained on."""
    limit: float = Field(default=0.05, ge=0)
    """By how much its held-out bits per byte may have risen after the last step, as a share of what they were
    before the first. No part of the key: another limit trains nothing anew."""

    def identity(self) -> dict[str, Any]:
        """The share. Which text it is stands among the inputs; the limit changes no weight."""
        return {name: value for name, value in super().identity().items() if name == "share"}


class GeneralTextForgottenError(StageError):
    """A model learned its domain, and forgot more of the general text than the limit allows."""

    passes = False
    remedy = (
        "Raise pretrain.general.share, or lower pretrain.learning_rate or pretrain.steps. If the model is "
        "good enough as it is, raise pretrain.general.limit: it is in the store, and the run goes on with it."
    )


def require_general_kept(base: Artifact, config: GeneralConfig | None) -> None:
    """Raises GeneralTextForgottenError if the general text's bits per byte rose beyond the limit."""
    figures = base.record.figures
    if config is None or figures[RISE] <= config.limit:
        return
    raise GeneralTextForgottenError(
        f"{base.base}: learning the domain took held-out bits per byte from "
        f"{figures['held_out_bits_per_byte_before']:.4f} to {figures['held_out_bits_per_byte']:.4f} there, "
        f"and from {figures[BEFORE]:.4f} to {figures[AFTER]:.4f} on the general text ({config.tokens}): "
        f"{figures[RISE]:+.2%}, the limit is {config.limit:+.2%}. The model is kept, and nothing was made "
        f"from it: raise pretrain.general.share (now {config.share:g}), lower pretrain.learning_rate "
        f"(now {base.config()['learning_rate']:g}) or pretrain.steps (now {base.config()['steps']}), or set "
        f"pretrain.general.limit to {_above(figures[RISE])} to go on with this one"
    )


def _above(rise: float) -> float:
    """The next hundredth."""
    return round(rise + 0.005, 2)

"""The mixture of a training: which share of its rows each text has, from the first row to the last."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.tokens.encode import Tokens
from pipeline.tokens.mixture import MixedRows, TrainingRows, with_general
from pipeline.tokens.order import Stretch

ROUNDED = 0.01
"""Epochs and tokens may come to so much more or less than the whole training, which has whole steps."""


class MixtureError(InputError):
    """A mixture names texts that the tokens do not have, or asks for more or less than the whole training."""

    remedy = "Set [pretrain.mixture] as the message says; [[tokens.texts]] says which texts there are."


class MixtureStage(Config):
    """Other weights from a moment of the training on."""

    begin: float = Field(gt=0, lt=1)
    """Share of the steps that is done before it; 0.9 begins the last tenth."""
    weights: dict[str, float] = Field(min_length=1)
    """Of the texts; of those that it does not name nothing is drawn any more."""


class MixtureConfig(Config):
    """How much of each text of [[tokens.texts]], and of the `rest`, a training sees."""

    weights: dict[str, float] = Field(default_factory=dict)
    """Share of each text, in proportion to the others'."""
    epochs: dict[str, float] = Field(default_factory=dict)
    """How often each text is gone through, in place of a weight."""
    tokens: dict[str, int] = Field(default_factory=dict)
    """How many tokens are drawn of each text, in place of a weight."""
    stages: tuple[MixtureStage, ...] = ()
    """A curriculum, such as better texts in the last tenth. Only with weights."""

    @model_validator(mode="after")
    def each_text_is_measured_once(self) -> Self:
        names = [*self.weights, *self.epochs, *self.tokens]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} has more than one measure: give it a weight, epochs or tokens"
            )
        if not names:
            raise ValueError(
                "it names no text: set weights, epochs or tokens, such as weights = { rest = 1 }"
            )
        every: list[Mapping[str, float]] = [self.weights, self.epochs, self.tokens]
        every += [stage.weights for stage in self.stages]
        low = sorted({name for values in every for name, value in values.items() if value < 0})
        if low:
            raise ValueError(f"{', '.join(low)} is below 0; a text that is to be left out has 0")
        for weights in (self.weights, *(stage.weights for stage in self.stages)):
            if weights and not any(weights.values()):
                raise ValueError("all weights are 0; give one of them more")
        if self.stages and (self.epochs or self.tokens):
            raise ValueError("stages are there, and epochs or tokens too: with stages all texts have weights")
        begins = [stage.begin for stage in self.stages]
        if begins != sorted(set(begins)):
            raise ValueError(f"stages begin at {begins}; each is to begin after the one before it")
        return self

    def named(self) -> set[str]:
        """The texts that it speaks of."""
        of_stages = {name for stage in self.stages for name in stage.weights}
        return {*self.weights, *self.epochs, *self.tokens, *of_stages}


def plan_of(
    config: MixtureConfig | None, text_rows: Mapping[str, int], total_rows: int, row_tokens: int
) -> tuple[Stretch, ...]:
    """The shares of the texts, in their order, over a training of `total_rows` rows. Without a mixture each
    text has as much as it has rows.

    Raises MixtureError.
    """
    if config is None:
        return (_stretch(0, {name: float(rows) for name, rows in text_rows.items()}, text_rows),)
    unknown = sorted(config.named() - set(text_rows))
    if unknown:
        raise MixtureError(
            f"pretrain.mixture names {', '.join(unknown)}, and the tokens have the texts "
            f"{', '.join(text_rows)}: [[tokens.texts]] says which there are"
        )
    drawn = {name: times * text_rows[name] for name, times in config.epochs.items()}
    drawn |= {name: count / row_tokens for name, count in config.tokens.items()}
    asked, there = sum(drawn.values()) * row_tokens, total_rows * row_tokens
    if asked > there * (1 + ROUNDED) or (not config.weights and asked < there * (1 - ROUNDED)):
        more = "" if asked > there else ", or give a text a weight, which takes what is left"
        raise MixtureError(
            f"pretrain.mixture asks for {asked:,.0f} tokens by epochs and tokens, and the training has "
            f"{there:,}: set pretrain.steps to {asked / there:.4g} times what it is{more}"
        )
    left = max(0.0, 1 - asked / there) / (sum(config.weights.values()) or 1.0)
    shares = {name: rows / total_rows for name, rows in drawn.items()}
    shares |= {name: left * weight for name, weight in config.weights.items()}
    later = [_stretch(int(stage.begin * total_rows), stage.weights, text_rows) for stage in config.stages]
    return (_stretch(0, shares, text_rows), *later)


def _stretch(first_row: int, weights: Mapping[str, float], text_rows: Mapping[str, int]) -> Stretch:
    """Raises MixtureError if a text that has a share has no rows."""
    empty = sorted(name for name, weight in weights.items() if weight > 0 and not text_rows[name])
    if empty:
        raise MixtureError(
            f"pretrain.mixture gives {', '.join(empty)} a share, and no document for training is of that "
            "text: look at the conditions in [[tokens.texts]], or leave it out of the mixture"
        )
    whole = sum(weights.values())
    return Stretch(first_row, tuple(weights.get(name, 0.0) / whole for name in text_rows))


def training_rows(
    tokens: Tokens,
    general: Tokens | None,
    general_share: float,
    mixture: MixtureConfig | None,
    total_rows: int,
) -> TrainingRows:
    """What a training of `total_rows` rows on these tokens learns from: one text, the texts of a mixture, or
    a domain with a share of general rows between its own. Raises MixtureError."""
    rows, text_rows = tokens.rows("train"), tokens.text_rows()
    if mixture is not None and not text_rows:
        raise MixtureError(
            "pretrain.mixture is set, and the tokens are one text: name texts in [[tokens.texts]]"
        )
    if text_rows:
        plan = plan_of(mixture, text_rows, total_rows, tokens.row_tokens)
        return MixedRows((rows,), tuple(text_rows), tuple(text_rows.values()), plan)
    return rows if general is None else with_general(rows, general.rows("train"), general_share)

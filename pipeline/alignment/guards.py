"""Guards of a training against a reward: what its answers look like, and when it has collapsed.

A reward that is learnt can be had by text that nobody wants: always the same words, one word, a text far
from all that the model ever learnt. Guards look at the answers that the model draws, compare them with
those of the first step, and end the training with a reason.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from pipeline.config import Config
from pipeline.store.records import Frozen

GRAM = 4
"""Tokens of a piece whose return counts as repetition."""


class GuardsConfig(Config):
    """How far a model may go from where it began; beyond, training ends, and the last good weights stay."""

    kl_ceiling: float = Field(default=30.0, gt=0)
    """KL divergence from the reference per answer, in nats, at most."""
    length_factor: float = Field(default=4.0, gt=1)
    """Mean answers may become so many times longer or shorter than at the first step."""
    repetition_rise: float = Field(default=0.3, gt=0, le=1)
    """The share of an answer that repeats what it said (pieces of 4 tokens) may rise by so much."""
    entropy_share: float = Field(default=0.1, ge=0, lt=1)
    """Of the first step's entropy per token, so much must be left."""
    patience: int = Field(default=2, ge=1)
    """So many steps in a row must be beyond a limit; one alone may be chance."""


class Vitals(Frozen):
    """What the answers of one step look like on average; None is what was not measured."""

    tokens: float
    """Tokens of an answer."""
    repetition: float
    """Share of an answer that repeats what it said."""
    kl: float | None = None
    """From the reference, in nats per answer."""
    entropy: float | None = None
    """Of the distribution over the next token, in nats."""


class Guards:
    """Judges the answers of step after step. What it remembers is JSON, for checkpoints."""

    def __init__(self, config: GuardsConfig, memory: dict[str, Any] | None = None) -> None:
        """`memory`: of an earlier process, to go on from; it is kept up to date."""
        self.config = config
        self.memory: dict[str, Any] = {} if memory is None else memory
        self.memory.setdefault("first", None)
        self.memory.setdefault("beyond", 0)

    def judge(self, vitals: Vitals) -> list[str]:
        """The limits that this step's answers are beyond, each told with its numbers; mostly none.

        The first step's answers are what later ones are compared with.
        """
        if self.memory["first"] is None:
            self.memory["first"] = vitals.model_dump()
        faults = list(self._faults(vitals, Vitals(**self.memory["first"])))
        self.memory["beyond"] = self.memory["beyond"] + 1 if faults else 0
        return faults

    @property
    def gives_up(self) -> bool:
        """Whether so many steps in a row were beyond a limit that the training has to end."""
        return bool(self.memory["beyond"] >= self.config.patience)

    def _faults(self, now: Vitals, first: Vitals) -> Iterable[str]:
        config = self.config
        if now.kl is not None and now.kl > config.kl_ceiling:
            yield (
                f"KL from the reference is {now.kl:.1f} nats per answer, above guards.kl_ceiling "
                f"({config.kl_ceiling:g})"
            )
        longest, shortest = first.tokens * config.length_factor, first.tokens / config.length_factor
        if not shortest <= now.tokens <= longest:
            yield (
                f"answers have {now.tokens:.1f} tokens on average, at first {first.tokens:.1f}: more than "
                f"guards.length_factor ({config.length_factor:g}) apart"
            )
        if now.repetition > first.repetition + config.repetition_rise:
            yield (
                f"{now.repetition:.0%} of an answer repeats what it said, at first {first.repetition:.0%}: "
                f"risen by more than guards.repetition_rise ({config.repetition_rise:g})"
            )
        if now.entropy is not None and first.entropy is not None:
            least = first.entropy * config.entropy_share
            if now.entropy < least:
                yield (
                    f"the entropy of the next token is {now.entropy:.2g} nats, at first {first.entropy:.2g}: "
                    f"less than guards.entropy_share ({config.entropy_share:g}) of it is left"
                )


def repetition(ids: Sequence[int]) -> float:
    """The share of a text's pieces of 4 tokens that were there before in it; 0 for shorter texts."""
    grams = [tuple(ids[at : at + GRAM]) for at in range(len(ids) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0

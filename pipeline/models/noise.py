"""How much of a text a family hides, in numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Noise:
    """Of a family that tells what was hidden."""

    share: float
    """Of the tokens that are hidden."""
    span: float | None
    """Tokens that are hidden together, on average; None where each is hidden by itself."""

"""What one server of a model takes upon itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of each replica."""

    at_once: int = 8
    """Texts that the model works on at a time."""
    waiting: int = 8
    """Requests that may wait for their turn; further ones are told to come back (429)."""
    max_tokens: int = 1024
    """The longest answer, in tokens."""
    seconds: float = 120.0
    """The longest time that an answer may take, waiting included."""

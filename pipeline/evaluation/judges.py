"""Who says which answer is better: a function of the user's, or a reward model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.store import Artifact

Row = Mapping[str, Any]
"""prompt (messages up to the answer), answer, ended, tokens; and what else is known of the question."""


@dataclass(frozen=True)
class Judge:
    """Gives every answer a score; of two answers to a question that with the higher score is the better."""

    name: str
    """As the pages call it."""
    score: Callable[[Sequence[Row]], list[float]]
    """Sent to Ray tasks, so it must be picklable."""
    identity: str
    """What enters the key, such as the SHA-256 of a function's file."""
    artifact: Artifact | None = None
    """The reward model, where it is one."""

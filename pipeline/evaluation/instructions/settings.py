"""How instructions are asked. Apart from what asks, so that a plan needs no torch."""

from pydantic import Field

from pipeline.config import Config
from pipeline.evaluation.tasks.items import Language


class InstructionsConfig(Config):
    """How instructions are asked."""

    languages: tuple[Language, ...] = ("en", "pt")
    """Of the prompts."""
    items: int = Field(default=66, ge=1)
    """Prompts of each language, at most."""
    answer_tokens: int = Field(default=96, ge=1)
    """Longest answer, in tokens; what is longer is cut, and checked as it stands."""
    shown: int = Field(default=5, ge=0)
    """Prompts that are written out with their answers, of each language."""

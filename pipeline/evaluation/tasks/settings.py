"""Which tasks are asked, and how. Apart from what asks, so that a plan needs no torch."""

from pydantic import Field

from pipeline.config import Config
from pipeline.evaluation.tasks.items import Language
from pipeline.evaluation.tasks.kinds import KINDS, TaskName
from pipeline.evaluation.tasks.sandbox import SandboxConfig


class TasksConfig(Config):
    """Which tasks are asked, and how."""

    names: tuple[TaskName, ...] = tuple(KINDS)
    """Kinds of tasks."""
    languages: tuple[Language, ...] = ("en", "pt")
    """Of the questions; translation has its answers in Portuguese and belongs to it."""
    shots: tuple[int, ...] = (0, 1, 4)
    """Examples before each question."""
    items: int = Field(default=60, ge=1)
    """Questions that are scored, of each task and language, at most."""
    shown: int = Field(default=3, ge=0)
    """Questions that are written out with their answers, of each task and number of examples."""
    seed: int = 0
    """Which examples are shown before a question, and what the bootstrap draws."""
    sandbox: SandboxConfig = SandboxConfig()
    """Where programs are run."""

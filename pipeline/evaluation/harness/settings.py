"""Which of the harness's tasks are asked. Apart from what asks, so that a plan needs no torch."""

from pydantic import Field

from pipeline.config import Config


class HarnessConfig(Config):
    """Which of the harness's tasks are asked, and from where their data come."""

    tasks: tuple[str, ...] = ()
    """Names: assin2_rte, assin2_sts, faquad, enem; those of task files in `folder`; or the harness's own,
    whose data it fetches from the hub."""
    folder: str | None = None
    """The user's own task files (YAML as the harness reads it). Python functions that they name are run."""
    assin2: str | None = None
    """assin2-test.xml, or a folder with it and the training file; None takes it from the hub."""
    faquad: str | None = None
    """dev.json, or a folder with it and train.json; None takes it from the hub."""
    enem: str | None = None
    """A file of questions (JSON lines), or a folder of such; None takes it from the hub."""
    shots: tuple[int, ...] = (0,)
    """Examples before each question."""
    items: int | None = Field(default=None, ge=1)
    """Questions that are scored of each task, at most; None scores all."""
    shown: int = Field(default=3, ge=0)
    """Questions that are written out with their answers."""
    seed: int = 0
    """Which examples are shown, and what the bootstrap draws."""

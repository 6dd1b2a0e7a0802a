"""Trainings of a toy model by Ray Train, in which a worker dies in a given way at a given moment."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.compute_config import ComputeConfig
from pipeline.store import Attempt, File
from pipeline.training import preemption
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.worker import Data, train

Kind = Literal["exit", "SIGKILL", "exception", "hang", "SIGTERM", "waits", "lingers"]
Moment = Literal["between", "committed", "writing"]
LINGER_SECONDS = 3
EVERY_STEPS = 4
"""A checkpoint after so many steps, whatever the clock says."""


@dataclass(frozen=True)
class Death:
    """What befalls a worker, once."""

    kind: Kind
    """`waits`: for the death of another process, such as the driver. `lingers`: takes its time with each step
    from then on, so that something can come in between."""
    rank: int
    step: int
    """The next step when it happens; of the checkpoint that is written then."""
    moment: Moment

    @property
    def resumed_at(self) -> int:
        """Where the training goes on: at the last checkpoint that was finished."""
        if self.kind == "SIGTERM":
            return self.step + 1
        return (self.step - (self.moment == "writing")) // EVERY_STEPS * EVERY_STEPS


@dataclass(frozen=True)
class Toy:
    """A training, and all that will go wrong in it."""

    config: PretrainConfig
    compute: ComputeConfig
    attempt: Attempt
    data: Data
    deaths: tuple[Death, ...]
    markers: Path
    """A file for each death that has been."""

    def next_death(self, moments: tuple[Moment, ...], rank: int, step: int) -> Path | None:
        for number, death in enumerate(self.deaths):
            marker = self.markers / str(number)
            if (death.rank, death.step) == (rank, step) and death.moment in moments and not marker.exists():
                return marker
        return None


def dying_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in every worker; `settings["toy"]` is a Toy."""
    import ray.train
    import ray.train.torch

    toy: Toy = settings["toy"]
    context = ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    step, written = Loop.train_step, Checkpoints._written
    lingers = False

    def train_step(self: Loop) -> Any:
        nonlocal lingers
        self.checkpoints.finish()  # what was begun before counts as done, however fast the steps are
        if marker := toy.next_death(("between", "committed"), group.rank, self.step):
            lingers = toy.deaths[int(marker.name)].kind == "lingers"
            die(toy, marker)
        if lingers:
            time.sleep(LINGER_SECONDS)
        return step(self)

    def write(
        self: Checkpoints, folder: Path, group: Group, state: Any, generators: dict[str, Any]
    ) -> dict[str, File]:
        files = written(self, folder, group, state, generators)
        if marker := toy.next_death(("writing",), group.rank, int(folder.name.split("-")[1])):
            die(toy, marker)
        return files

    Loop.train_step, Checkpoints._written = train_step, write  # type: ignore[method-assign]
    preemption.ASK_SECONDS = 0.5
    train(
        toy.config,
        toy.compute,
        toy.attempt,
        toy.data,
        group,
        preemption=preemption.Preemption(preemption.ask_ray),
        began=settings.get("began"),
    )


def die(toy: Toy, marker: Path) -> None:
    """Do to this process what is written, and leave a note that it was done."""
    death = toy.deaths[int(marker.name)]
    marker.touch()
    if death.kind == "exit":
        os._exit(1)
    elif death.kind == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif death.kind == "exception":
        raise RuntimeError("a worker raises")
    elif death.kind == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2)  # until the main thread has seen it
    elif death.kind != "lingers":
        while True:
            time.sleep(1)

"""Tunings that are killed after some steps or told to leave, and those of several processes."""

import multiprocessing
import os
import signal
import socket
from typing import Any

import pytest
import torch
import torch.distributed

from pipeline import stop_notice
from pipeline.training.group import Group
from pipeline.training.preemption import PreemptedError
from pipeline.training.tuning import Run, tune
from pipeline.training.tuning_config import TuningJob

LONG = 600


def tune_until(job: TuningJob, kill_at: int | None) -> None:
    """Train in a process of its own, which is killed where it would save after so many steps."""
    process = multiprocessing.get_context("spawn").Process(target=_tune_until, args=(job, kill_at))
    process.start()
    process.join(LONG)
    assert process.exitcode == (0 if kill_at is None else -signal.SIGKILL)


def _tune_until(job: TuningJob, kill_at: int | None) -> None:
    save = Run.save

    def save_then_die(self: Run) -> None:
        self.checkpoints.finish()
        if self.done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self)

    Run.save = save_then_die  # type: ignore[method-assign]
    tune(job, Group.alone())


def tune_and_leave(job: TuningJob, told_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process, which is told to leave once so many steps are done."""
    leave_if_told = Run.leave_if_told

    def told(run: Run) -> None:
        if run.done == told_at:
            assert stop_notice.give()  # there is something to save
        leave_if_told(run)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "leave_if_told", told)
        with pytest.raises(PreemptedError, match=f"step {told_at} is saved"):
            tune(job, Group.alone())


def tune_together(job: TuningJob, workers: int) -> None:
    """Train in so many processes, over gloo, as Ray Train starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn: Any = torch.multiprocessing.spawn
    spawn(_tune_together, (job, workers, port), nprocs=workers)


def _tune_together(rank: int, job: TuningJob, workers: int, port: int) -> None:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": workers}
    os.environ |= {name: str(value) for name, value in places.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=workers)
    tune(job, Group(rank, workers, torch.device("cpu")))
    torch.distributed.destroy_process_group()

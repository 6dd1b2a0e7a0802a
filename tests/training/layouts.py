"""Trainings of one toy model, divided among processes in many ways, by gloo and without Ray."""

import json
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from pipeline.compute_config import ComputeConfig
from pipeline.training.checkpoint import Checkpoints, last_checkpoint
from pipeline.training.group import Group
from pipeline.training.worker import assemble
from tests.training.toys import toy_attempt, toy_config, toy_data

STABLE_LEARNING_RATE = 0.003
"""At 0.01 the toy's loss begins to jump after 45 steps, and every last bit becomes a millinat there."""


@dataclass(frozen=True)
class Case:
    """A training that goes on from what lies in one store, on so many processes."""

    name: str
    workers: int = 1
    compute: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    """The case whose last checkpoint it goes on from; its folder lies beside."""
    until: int = 50
    """Step."""


@dataclass(frozen=True)
class Outcome:
    losses: list[float]
    """Of each step that was made."""
    norms: list[float]
    held_out_loss: float
    weights: dict[str, torch.Tensor]


def run(folder: Path, cases: list[Case]) -> dict[str, Outcome]:
    """The cases one after another, all of as many workers, in the same processes."""
    workers = cases[0].workers
    assert all(case.workers == workers for case in cases)
    for case in cases:
        if case.start:
            shutil.copytree(folder / case.start / "store", folder / case.name / "store")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if workers == 1:
        _process(0, port, str(folder), cases)
    else:
        torch.multiprocessing.spawn(_process, (port, str(folder), cases), nprocs=workers)
    return {case.name: _outcome(folder / case.name) for case in cases}


def _outcome(folder: Path) -> Outcome:
    told = json.loads((folder / "outcome.json").read_text())
    return Outcome(**told, weights=torch.load(folder / "weights.pt", weights_only=True))


def _process(rank: int, port: int, folder: str, cases: list[Case]) -> None:
    """One of the processes that train together."""
    threads, workers = torch.get_num_threads(), cases[0].workers
    if workers > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers
        )
    for case in cases:
        _train(Path(folder) / case.name, case, Group(rank, workers, torch.device("cpu")))
    if workers > 1:
        torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)


def _train(folder: Path, case: Case, group: Group) -> None:
    data = toy_data(folder / f"data-{group.rank}")
    attempt = toy_attempt(folder, case.name)
    given = {"precision": "fp32", "learning_rate": STABLE_LEARNING_RATE} | dict(case.config)
    config = toy_config(depth=2, heads=4, key_value_heads=2, steps=50, **given)
    chosen = {"micro_batch_rows": 3, "compile": False, "threads": 1} | dict(case.compute)
    compute = ComputeConfig(**chosen)
    journal = attempt.journal(f"pretrain-{group.rank}")
    checkpoints = Checkpoints(attempt, case.name)
    loop = assemble(
        config, compute, checkpoints, last_checkpoint(checkpoints, group, journal), data, group, journal
    )
    losses, norms = [], []
    with checkpoints:
        while loop.step < case.until:
            update = loop.train_step()
            loop.step, loop.tokens = loop.step + 1, loop.tokens + update.labels
            losses.append(update.loss)
            norms.append(update.gradient_norm)
        loop.save()
    held_out_loss, weights = loop.evaluate(), loop.layout.whole_weights(loop.model)
    if group.is_first:
        torch.save(weights, folder / "weights.pt")
        told = {"losses": losses, "norms": norms, "held_out_loss": held_out_loss}
        (folder / "outcome.json").write_text(json.dumps(told))

"""Fine-tuning on two processes, by gloo and without Ray: the same rows, and the same model up to rounding."""

import json
import os
import socket

import pytest
import torch
import torch.distributed

from pipeline.store import Attempt
from pipeline.training.finetune import FinetuneConfig, Job
from pipeline.training.group import Group
from pipeline.training.tuning import tune
from pipeline.training.tuning_config import RESULT, AdapterConfig
from tests.training.tuned import CONFIG, RESOLVED, Inputs, inputs_in, tuned

COMPUTE = RESOLVED.model_copy(update={"micro_batch_rows": 4, "checkpoint_seconds": 100.0})


def on_two(given: Inputs, config: FinetuneConfig) -> dict[str, float]:
    """The figures of the model that two processes make together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    attempt = Attempt(given.store.storage, "finetune", "two", "1")
    job = Job(attempt, given.base, config, COMPUTE, given.conversations)
    torch.multiprocessing.spawn(_process, (port, job), nprocs=2)
    figures: dict[str, float] = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))["figures"]
    return figures


def _process(rank: int, port: int, job: Job) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in told.items()} | {"MASTER_ADDR": "127.0.0.1"}
    torch.distributed.init_process_group("gloo")
    tune(job, Group(rank, 2, torch.device("cpu")))
    torch.distributed.destroy_process_group()


@pytest.mark.everything
@pytest.mark.parametrize("adapter", [None, AdapterConfig()], ids=["all", "adapter"])
def test_two_processes_learn_what_one_learns(small_vocabulary, compute, tmp_path, adapter):
    given = inputs_in(tmp_path, small_vocabulary, compute)
    config = CONFIG.model_copy(update={"steps": 6, "shown_questions": 0, "adapter": adapter})
    alone = tuned(given, config, COMPUTE).record.figures
    assert on_two(given, config) == pytest.approx(alone, rel=1e-4)

"""What runs in the Ray task of one trial of a sweep: a whole pretraining in this process alone."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.compute_config import ComputeConfig
from pipeline.shards import ShardOutput
from pipeline.store import Attempt
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.pretrain import RESULT, Job
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.steps import STEPS

TRIAL, TRIAL_ENDED = "trial", "trial-ended"
"""Kinds of lines in the sweep's journal: of them the runs of the trials are made in MLflow."""
LEFT_BEHIND = ("checkpoints", "model", RESULT, STEPS)
"""Of an attempt at a trial, what nobody needs when it is done; its journal stays."""


@dataclass(frozen=True)
class TrialJob:
    """All that the task has to know."""

    sweep: Attempt
    identity: str
    name: str
    settings: Mapping[str, Any]
    """What MLflow shows as the trial's parameters: its place on the axes, and what it derives."""
    tokens: Tokens
    vocabulary: Vocabulary
    config: PretrainConfig
    compute: ComputeConfig

    def attempt(self) -> Attempt:
        """A new try at this trial. Its checkpoints lie where a later one finds them."""
        key = f"{self.sweep.key}/scratch/{self.identity}"
        return Attempt(self.sweep.storage, self.sweep.stage, key, f"{self.sweep.id}-{secrets.token_hex(2)}")


def run_trial(job: TrialJob, output: ShardOutput) -> dict[str, int]:
    """Train, from the last checkpoint if there is one, and write what it came to as `<identity>.json`:
    bits per byte, loss, steps, tokens, parameters, seconds of this try.

    A loss that becomes infinite or NaN, or that jumps again and again, is a result as well: then
    `bits_per_byte` is null.
    """
    import torch

    from pipeline.training.group import Group
    from pipeline.training.update import LossSpikesError, NonFiniteLossError
    from pipeline.training.worker import Data, train

    torch.compiler.reset()  # this process may have compiled other trials' models, and there is a limit
    start, attempt = time.monotonic(), job.attempt()
    earlier = attempt.storage.list(f"{attempt.base}/attempts")
    journal = job.sweep.journal(f"trial-{job.identity}")
    folders = [f"{attempt.base}/attempts/{id}/journal" for id in (*earlier, attempt.id)]
    journal.write(TRIAL, name=job.name, identity=job.identity, settings=dict(job.settings), journals=folders)
    data = Data.of(Job(attempt, job.tokens, job.vocabulary, job.config, job.compute))
    found: dict[str, Any] = {"bits_per_byte": None, "fault": None, "tokens": 0}
    try:
        train(job.config, job.compute, attempt, data, Group.alone(_device()))
        found |= _found(attempt)
    except (NonFiniteLossError, LossSpikesError) as error:
        found["fault"] = str(error)
    found["seconds"] = round(time.monotonic() - start, 3)
    journal.write(TRIAL_ENDED, identity=job.identity, found=found)
    output.path(f"{job.identity}.json").write_text(json.dumps(found, indent=1) + "\n")
    for id in (*earlier, attempt.id):
        for name in LEFT_BEHIND:
            attempt.storage.remove(f"{attempt.base}/attempts/{id}/{name}")
    attempt.forget_copies()
    return {"tokens": found["tokens"]}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _found(attempt: Attempt) -> dict[str, Any]:
    """From the result that the training published."""
    result = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    return {
        "bits_per_byte": result["figures"]["held_out_bits_per_byte"],
        "held_out_loss": result["figures"]["held_out_loss"],
        **{name: result["counts"][name] for name in ("steps", "tokens", "parameters")},
    }

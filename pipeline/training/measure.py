"""What this machine takes for a training's work: a few steps of small models, in a real training worker.

The seconds of a handful of shapes are resolved into seconds for each quantity of cost.py by least
squares, none below zero; so a plan can foretell shapes that never ran here.
"""

import importlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.compute import Compute
from pipeline.hardware import products
from pipeline.models.cost import generation, passes, updates
from pipeline.models.families import HEAD_WIDTH, Shape, TokenIds, mlp_width_for
from pipeline.store import Attempt, Work

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from pipeline.training.group import Group

RESULT = "measured.json"
ROW_TOKENS = 256
REPEATS = 5
GENERATED_TOKENS = 16
PRECISIONS = ("bf16", "fp32")


@dataclass(frozen=True)
class Trial:
    """A small model that is trained on noise."""

    depth: int
    width: int
    pieces: int
    """Size of the vocabulary."""
    rows: int

    @property
    def shape(self) -> Shape:
        heads = self.width // HEAD_WIDTH
        return Shape(self.depth, self.width, heads, heads, mlp_width_for(self.width), tied_embeddings=True)


TRIALS = (
    Trial(depth=1, width=128, pieces=1024, rows=8),
    Trial(depth=4, width=128, pieces=1024, rows=8),
    Trial(depth=4, width=128, pieces=1024, rows=1),
    Trial(depth=1, width=128, pieces=8192, rows=8),
    Trial(depth=2, width=256, pieces=4096, rows=8),
    Trial(depth=1, width=768, pieces=1024, rows=8),
)
"""Few and many layers, passes, scores, weights: so that each quantity's share can be told."""
MANY_LAYERS, MANY_SCORES, MANY_WEIGHTS = TRIALS[1], TRIALS[3], TRIALS[5]


def measure(compute: Compute, attempt: Attempt) -> dict[str, Any]:
    """Start Ray and a training worker that tries. What it found, in seconds and bytes:

    `seconds` of each quantity of cost.py; `starts`: of Ray, of a training worker (until it is entered,
    and after it is left), and of what `pretrain` and `finetune` import; `memory_bytes` of such a worker
    before it has a model; `device`.
    """
    begun = time.time()
    compute.start()
    ray_there = time.time()
    compute.train(measure_worker, {"attempt": attempt}, attempt)
    ended = time.time()
    found: dict[str, Any] = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
    around = found.pop("entered") - ray_there + ended - found.pop("left")
    found["starts"] |= {"ray": ray_there - begun, "worker": around}
    return found


def measure_worker(settings: dict[str, Any]) -> None:
    """The function that Ray Train calls in the worker: import what trainings import, try, tell."""
    entered = time.time()
    import ray.train.torch

    from pipeline.training.group import Group

    group = Group(0, 1, ray.train.torch.get_device())
    pretrain = _imported("pipeline.training.worker", group)
    finetune = _imported("pipeline.training.sft", group)
    found = {
        "device": group.device.type,
        "seconds": rates(group.device),
        "starts": {"pretrain": pretrain[0], "finetune": pretrain[0] + finetune[0]},
        "memory_bytes": {"pretrain": pretrain[1], "finetune": finetune[1]},
        "entered": entered,
        "left": time.time(),
    }
    attempt: Attempt = settings["attempt"]
    attempt.storage.create(f"{attempt.folder}/{RESULT}", json.dumps(found).encode())


def _imported(module: str, group: "Group") -> tuple[float, int]:
    """The seconds that it took, and the memory that the process has had at most by then."""
    from pipeline.training.memory import peak_memory

    start = time.monotonic()
    importlib.import_module(module)
    return time.monotonic() - start, peak_memory(group)["peak_memory_bytes"]


def rates(device: "torch.device") -> dict[str, float]:
    """Seconds of each quantity of cost.py on this device."""
    import torch

    from pipeline.training.worker import compute_repeatably

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    compute_repeatably(device)
    found: dict[str, float] = {}
    for precision in dict.fromkeys(products(asked, device.type) for asked in PRECISIONS):
        found |= solve([_step(trial, precision, device) for trial in TRIALS])
    found |= solve([_update(trial, "muon", device) for trial in (MANY_SCORES, MANY_WEIGHTS)])
    return found | solve([_generation(MANY_LAYERS, device)])


def solve(samples: Sequence[tuple[Work, float]]) -> dict[str, float]:
    """Seconds of each quantity that explain the samples' seconds best, by their relative errors."""
    from scipy.optimize import nnls

    quantities = list(samples[0][0])
    amounts = np.array([[work[quantity] for quantity in quantities] for work, _ in samples])
    largest = amounts.max(axis=0)
    seconds = np.array([[seconds] for _, seconds in samples])
    found, _ = nnls(amounts / largest / seconds, np.ones(len(samples)))
    return dict(zip(quantities, (found / largest).tolist(), strict=True))


def _step(trial: Trial, precision: str, device: "torch.device") -> tuple[Work, float]:
    """The work of forward and backward, and their seconds."""
    import torch

    from pipeline.training.forward import loss_function

    model = _model(trial, device)
    loss_of = loss_function(model, precision, device)
    tokens = torch.randint(trial.pieces, (trial.rows, ROW_TOKENS), device=device)
    documents = torch.zeros_like(tokens)
    positions = torch.arange(ROW_TOKENS, device=device).expand_as(tokens)

    def step() -> None:
        loss_of(tokens, documents, positions, tokens).backward()  # type: ignore[no-untyped-call]

    way, count = f"eager.{precision}", trial.rows * ROW_TOKENS
    return passes(way, trial.shape, trial.pieces, ROW_TOKENS, count, 1), _seconds(step, device)


def _update(trial: Trial, optimizer: str, device: "torch.device") -> tuple[Work, float]:
    import torch

    from pipeline.training.optimizer import muon

    model = _model(trial, device)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    members = muon(model, 1e-3, 0.1).members

    def update() -> None:
        for member in members:
            member.step()

    return updates(optimizer, trial.shape, trial.pieces, 1), _seconds(update, device)


def _generation(trial: Trial, device: "torch.device") -> tuple[Work, float]:
    import torch

    generate: Callable[..., object] = _model(trial, device).generate  # type: ignore[misc]
    given = torch.ones((1, 8), dtype=torch.long, device=device)

    def run() -> None:
        generate(given, min_new_tokens=GENERATED_TOKENS, max_new_tokens=GENERATED_TOKENS)

    return generation(trial.shape, GENERATED_TOKENS), _seconds(run, device)


def _model(trial: Trial, device: "torch.device") -> "LlamaForCausalLM":
    import torch
    from transformers import LlamaForCausalLM

    from pipeline.models.architectures import llama_config

    config = llama_config(trial.shape, TokenIds(trial.pieces, 1, 2, 3), ROW_TOKENS)
    model = LlamaForCausalLM(config)
    torch.nn.Module.to(model, device)
    return model


def _seconds(run: Callable[[], None], device: "torch.device") -> float:
    """Of one run, the first not counted: the quickest of a few, since whatever else the machine does
    only adds to it."""
    import torch

    taken = []
    for _ in range(1 + REPEATS):
        start = time.monotonic()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.monotonic() - start)
    return min(taken[1:])

"""The random generators of a training process: written beside the weights, and set again on resume."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch


def random_file(rank: int) -> str:
    """The file of a checkpoint that holds the generators of this rank."""
    return f"random-{rank:05}.pt"


def random_state() -> dict[str, Any]:
    """Where Python's, numpy's and torch's generators are, of tensors and numbers alone."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(path: Path) -> None:
    """Set this process's generators to what `path` holds."""
    state = torch.load(path, weights_only=True)
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

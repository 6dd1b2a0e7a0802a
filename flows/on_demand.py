"""What is made when it is first asked for, and shown meanwhile."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from flows.display import Display
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Artifact, PlanningStore, Store

A = TypeVar("A", bound=Artifact)


def found_or_made(root: str, make: Callable[[Store, Compute], A], console: Console) -> A:
    """What `make` finds in the store at `root`, or makes there; Ray is started for that, and stopped."""
    compute, store = Compute(ComputeConfig(store=root)), Store(root)
    is_there = make(PlanningStore(root), compute).exists()
    with contextlib.ExitStack() as closing:
        closing.callback(compute.stop)
        if not is_there:
            store.listeners = [closing.enter_context(Display(console))]
        return make(store, compute)

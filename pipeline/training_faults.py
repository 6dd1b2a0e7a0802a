"""What ended a training: left on record by the worker that met it, found again by the driver."""

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

from pipeline.errors import MoinhoError, StageError
from pipeline.stop_wish import heard, was_wished
from pipeline.store import Attempt, fault_of_machine, faults_told, flush_journals

TRAINING_FAULT = "training-fault.json"
OUR_PACKAGES = ("pipeline", "crawler", "flows")


class TrainingFailedError(StageError):
    """Training workers died more often than compute.training_restarts allows."""

    remedy = "Read the log that the run names; running again goes on from the last checkpoint."


def run_training_worker(given: dict[str, Any]) -> None:
    """In a training worker: run the loop with its settings, to which `given["work"]` refers; leave a
    fault that a restart would only meet again on record.

    Ray Train restarts workers whatever they died of; finding the record, or the driver's wish to stop, they
    leave at once.
    """
    import ray
    import ray.train

    attempt: Attempt = given["attempt"]
    path = f"{attempt.folder}/{TRAINING_FAULT}"
    if attempt.storage.exists(path) or was_wished(attempt):
        return
    is_first = ray.train.get_context().get_world_rank() == 0
    try:
        with faults_told(attempt.storage.local("")), heard(attempt) if is_first else contextlib.nullcontext():
            loop, settings = ray.get(given["work"])
            loop(settings)
    except MoinhoError as error:
        told = {"module": type(error).__module__, "name": type(error).__name__, "message": str(error)}
        with contextlib.suppress(OSError):  # where not even this has room, Ray Train's restarts end it
            attempt.storage.create(path, json.dumps(told).encode())
        raise
    finally:
        flush_journals()


def told_fault(attempt: Attempt) -> MoinhoError | None:
    """The error that a training worker left on record, if one did."""
    try:
        told = json.loads(attempt.storage.read(f"{attempt.folder}/{TRAINING_FAULT}"))
    except FileNotFoundError:
        return None
    return _error_class(told["module"], told["name"])(told["message"])


def _error_class(module: str, name: str) -> type[MoinhoError]:
    """The class of ours, or StageError: what a file in a store names is neither imported nor called else."""
    if module.partition(".")[0] not in OUR_PACKAGES:
        return StageError
    kind = getattr(importlib.import_module(module), name, None)
    return kind if isinstance(kind, type) and issubclass(kind, MoinhoError) else StageError


def training_fault(error: Exception, store: Path | None) -> MoinhoError:
    """The error that a user can act on, dug out of Ray Train's wrappers."""
    causes: list[BaseException] = [error, *getattr(error, "worker_failures", {}).values()]
    for cause in causes:
        fault = getattr(cause, "cause", cause)
        fault = fault_of_machine(fault, store) or fault
        if isinstance(fault, MoinhoError):
            return fault
    last = causes[-1]
    return TrainingFailedError(f"training failed and was not restarted again: {type(last).__name__}: {last}")


def one_line(error: BaseException, characters: int = 160) -> str:
    """An error's kind and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = ": ".join([type(error).__name__, *lines[:1]])
    return text if len(text) <= characters else f"{text[:characters]}…"
